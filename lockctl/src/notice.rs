//! What `lockctl` says to people: one line on stderr each, so that stdout stays CMD's own.

use std::{fmt::Display, io::Write};

/// Says something on stderr; a stderr that cannot be written stops nothing.
pub(crate) fn say(text: impl Display) {
    // At once: others write there too, and some read it.
    let _ = std::io::stderr().write_all(format!("lockctl: {text}\n").as_bytes());
}

/// Says an error with all its causes, and what to look at, if the error does not.
pub(crate) fn say_error(error: &dyn std::error::Error) {
    let text = with_causes(error);
    say(&text);
    if let Some(todo) = todo(&text) {
        say(todo);
    }
}

/// What to look at when a server cannot be reached: the system only tells what happened. What a server
/// answers, such as that it knows no such user, has its own advice.
pub(crate) fn todo(text: &str) -> Option<&'static str> {
    let (_, why) = text.split_once("cannot connect to ")?;
    let is_of_the_way = ["os error", "no answer within"].iter().any(|word| why.contains(word));
    is_of_the_way.then_some(
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

#[cfg(test)]
mod tests {
    use super::todo;

    #[test]
    fn only_who_is_not_reached_is_to_be_looked_for() {
        let why = |why: &str| todo(&format!("cannot connect to mysql://db/shop: {why}")).is_some();
        assert!(why("error communicating with database: Connection refused (os error 111)"));
        assert!(why("cannot reach db: 192.0.2.5:3306: no answer within 10.0 s"));
        assert!(!why("1045 (28000): Access denied for user: check user, password and host"));
        assert!(todo("cannot write to mysql://db/shop: no answer within 5.0 s").is_none());
    }
}
