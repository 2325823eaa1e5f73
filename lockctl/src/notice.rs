//! What `lockctl` says to people: one line on stderr each, so that stdout stays CMD's own.

use std::{fmt::Display, io::Write};

/// Says something on stderr; a stderr that cannot be written stops nothing.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "lockctl: {text}");
}

/// Says an error with all its causes, and what to look at, if the error does not.
pub(crate) fn say_error(error: &dyn std::error::Error) {
    let text = with_causes(error);
    say(&text);
    if let Some(todo) = todo(&text) {
        say(todo);
    }
}

/// What to look at when a server cannot be reached: its library only tells what happened.
pub(crate) fn todo(text: &str) -> Option<&'static str> {
    text.contains("cannot connect to ").then_some(
        "does the server run, with this address and port, and may this host reach it? Once it does, \
         `lockctl doctor` checks the rest",
    )
}

/// An error with all its causes, each once: some errors tell their cause themselves.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // One line: some libraries write several.
        let reason = error.to_string();
        let reason = reason.lines().map(str::trim).filter(|line| !line.is_empty());
        let reason = reason.collect::<Vec<_>>().join(", ");
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}
