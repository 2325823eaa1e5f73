//! Colour, for people who look at a terminal and have not said `NO_COLOR`.

use std::{env, fmt, io::IsTerminal};

/// How a word is to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// The head of a table.
    Bold,
    /// All is well.
    Green,
    /// Somebody should look at it.
    Yellow,
    /// It is broken.
    Red,
}

/// Whether what goes to this stream is coloured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// For a stream: a terminal that understands colours, unless `NO_COLOR` (<https://no-color.org>) is set.
    pub(crate) fn on(stream: &impl IsTerminal) -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb)
    }

    /// The text in this style, if there is colour.
    pub(crate) fn text(self, style: Style, text: impl fmt::Display) -> String {
        let code = match style {
            Style::Bold => 1,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Red => 31,
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
