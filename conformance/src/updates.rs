//! Updates of a plain file that are only right under a lock: read, wait a little, write.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use lock_core::Locks;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::scene::LIVENESS;

/// A writer of lines to a file that many write to, under one lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    /// The lock.
    pub lock: String,
    /// The file that all update. It must exist.
    pub file: PathBuf,
    /// Where this writer notes which of its lines are written.
    pub notes: PathBuf,
    /// Who it is; of three characters.
    pub writer: String,
    /// How many lines it writes.
    pub times: usize,
}

impl Update {
    /// Writes the lines.
    ///
    /// # Errors
    ///
    /// A text, when a lock or the file cannot be had.
    ///
    /// # Cancel safety
    ///
    /// If dropped, the lines that were not written yet are not written.
    pub async fn run(&self, locks: &Locks) -> Result<(), String> {
        let (file, mut notes) = self.open().map_err(|error| error.to_string())?;
        let mut task = locks.task(&*self.writer);
        for time in 0..self.times {
            let guard = timeout(LIVENESS / 2, task.acquire(&self.lock)).await;
            let guard = guard.map_err(|_| "it waits for ever")?.map_err(|e| e.to_string())?;
            // All lines are of the same length, so that a lost one is overwritten as a whole.
            let line = format!("{:>3} {time:>4}\n", self.writer);
            let mut text = fs::read_to_string(&self.file).map_err(|error| error.to_string())?;
            if time % 2 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            text += &line;
            file.write_all_at(text.as_bytes(), 0).map_err(|error| error.to_string())?;
            notes.write_all(line.as_bytes()).map_err(|error| error.to_string())?;
            guard.release().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn open(&self) -> std::io::Result<(File, File)> {
        let file = OpenOptions::new().write(true).open(&self.file)?;
        let notes = OpenOptions::new().create(true).append(true).open(&self.notes)?;
        Ok((file, notes))
    }
}

/// How often each line is in a text.
pub(crate) fn lines(text: &str) -> HashMap<&str, usize> {
    text.lines().fold(HashMap::new(), |mut lines, line| {
        *lines.entry(line).or_default() += 1;
        lines
    })
}
