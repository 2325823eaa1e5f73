//! The workers' records: when who did what that is not to be done twice at once.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    process,
    str::FromStr,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// What a lock protects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    /// Something is done to this app.
    App(String),
    /// A task of this type runs.
    Task(String),
    /// What all apps run on is replaced.
    Update,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) => write!(f, "app/{name}"),
            Self::Task(kind) => write!(f, "task/{kind}"),
            Self::Update => f.write_str("update"),
        }
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once('/') {
            Some(("app", name)) => Ok(Self::App(name.to_owned())),
            Some(("task", kind)) => Ok(Self::Task(kind.to_owned())),
            None if text == "update" => Ok(Self::Update),
            _ => Err(()),
        }
    }
}

/// One line of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Whether the part begins here; else it ends.
    pub(crate) begins: bool,
    pub(crate) part: Part,
    pub(crate) pid: u32,
    pub(crate) at: Duration,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.begins { "begin" } else { "end" };
        write!(f, "{word} {} {} {}", self.part, self.pid, self.at.as_nanos())
    }
}

impl FromStr for Line {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let [word, part, pid, at] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(());
        };
        Ok(Self {
            begins: match word {
                "begin" => true,
                "end" => false,
                _ => return Err(()),
            },
            part: part.parse()?,
            pid: pid.parse().map_err(drop)?,
            at: Duration::from_nanos(at.parse().map_err(drop)?),
        })
    }
}

/// A worker's log file.
#[derive(Debug)]
pub(crate) struct Log(File);

impl Log {
    /// Opens the one that the supervisor made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).open(path).map(Self)
    }

    /// Does something and writes down its begin and end, each by one write that no buffer keeps.
    pub(crate) fn during<T>(
        &mut self,
        part: Part,
        work: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        let pid = process::id();
        self.write(&Line { begins: true, part: part.clone(), pid, at: now() })?;
        let done = work(self)?;
        self.write(&Line { begins: false, part, pid, at: now() })?;
        Ok(done)
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())
    }
}

/// The time that all processes of the host agree on.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or_default(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_written() {
        for part in [Part::App("blog".into()), Part::Task("update".into()), Part::Update] {
            let line = Line { begins: true, part, pid: 7, at: Duration::from_nanos(9) };
            assert_eq!(line.to_string().parse(), Ok(line));
        }
        for text in
            ["", "begin", "begin app/x 1", "begin box 1 2", "stop app/x 1 2", "end app/x y 2"]
        {
            assert_eq!(text.parse::<Line>(), Err(()), "{text}");
        }
    }
}
