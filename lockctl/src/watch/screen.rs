//! The list in place: a screen of its own, as of `top`, so that the shell's is as before afterwards.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write, stdin, stdout},
};

use jiff::Timestamp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::News;
use crate::{
    duration, list,
    store::Settings,
    style::{Paint, Style},
};

/// The other screen, without a cursor; lines that are too long are cut off.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// Back to where the shell was.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// A terminal that does not tell its size.
const SIZE: (u16, u16) = (80, 24);

/// A terminal that the list is shown on; it is given back when this is dropped.
pub(super) struct Screen<'a> {
    settings: &'a Settings,
    paint: Paint,
    /// How its keyboard was before, if there is one.
    keyboard: Option<Termios>,
    entered: bool,
}

impl<'a> Screen<'a> {
    pub(super) fn new(settings: &'a Settings) -> io::Result<Self> {
        let keyboard = stdin().is_terminal().then(|| tcgetattr(stdin())).transpose()?;
        let paint = Paint::on(&stdout());
        let mut screen = Self { settings, paint, keyboard, entered: false };
        screen.enter();
        Ok(screen)
    }

    pub(super) fn reads_keys(&self) -> bool {
        self.keyboard.is_some()
    }

    /// Takes the terminal; a key is told when it is pressed, and not shown.
    pub(super) fn enter(&mut self) {
        if let Some(before) = &self.keyboard {
            let mut now = before.clone();
            now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(stdin(), OptionalActions::Now, &now);
        }
        let _ = write_all(ENTER);
        self.entered = true;
    }

    /// Gives the terminal back as it was.
    pub(super) fn leave(&mut self) {
        if !std::mem::take(&mut self.entered) {
            return;
        }
        let _ = write_all(LEAVE);
        if let Some(before) = &self.keyboard {
            // What is typed already is the shell's.
            let _ = tcsetattr(stdin(), OptionalActions::Drain, before);
        }
    }

    /// Writes over what is there, line by line, so that nothing flickers.
    pub(super) fn show(&mut self, news: &News) -> io::Result<()> {
        let size = tcgetwinsize(stdout()).map_or(SIZE, |size| (size.ws_col, size.ws_row));
        let (columns, rows) = if size.0 == 0 || size.1 == 0 { SIZE } else { size };
        let mut lines = self.lines(news, columns);
        let room = usize::from(rows).max(2);
        if lines.len() > room {
            let hidden = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(format!("… {hidden} more lines: lockctl list shows all"));
        }
        let mut text = String::from("\x1b[H");
        for (at, line) in lines.iter().enumerate() {
            let end = if at + 1 < lines.len() { "\r\n" } else { "" };
            let _ = write!(text, "\x1b[K{line}{end}");
        }
        text.push_str("\x1b[J");
        write_all(&text)
    }

    fn lines(&self, news: &News, columns: u16) -> Vec<String> {
        let time = Timestamp::now().strftime("%H:%M:%SZ").to_string();
        let store = self.settings.describe();
        let room = usize::from(columns).saturating_sub(time.len() + 1);
        let shown: String = store.chars().take(room).collect();
        let mut lines = vec![format!("{shown:<room$} {time}")];
        if let Some((since, error)) = &news.trouble {
            let age = duration::age(since.elapsed());
            let trouble = format!("the store cannot be used, for {age} now: {error}");
            lines.extend(wrapped(&trouble, columns).map(|l| self.paint.text(Style::Red, l)));
            if news.listing.is_some() {
                lines.push("this is how it was before:".into());
            }
        }
        let Some(listing) = &news.listing else { return lines };
        let (held, waits) = (listing.holds.len(), listing.waiting.len());
        lines.push(match (held, waits) {
            (0, 0) => "nothing is held".into(),
            (held, 0) => format!("{held} held"),
            (held, waits) => format!("{held} held, {waits} waiting"),
        });
        if let Some(rows) = list::rows(listing, Some(columns)) {
            lines.push(String::new());
            let mut rows = rows.lines();
            lines.extend(rows.next().map(|head| self.paint.text(Style::Bold, head)));
            lines.extend(rows.map(str::to_owned));
        }
        lines
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A text in lines of so many characters.
fn wrapped(text: &str, columns: u16) -> impl Iterator<Item = String> {
    let chars: Vec<char> = text.chars().collect();
    let lines: Vec<String> =
        chars.chunks(usize::from(columns).max(1)).map(|line| line.iter().collect()).collect();
    lines.into_iter()
}
