//! Work at random under locks, by a worker that may be killed or stopped at any moment of it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_core::process::{Liveness, Process, ProcessSet};
use lock_core::{AcquireError, Guard, Locks, Reach, Request};

/// The file that has a byte for each lock that was taken.
pub(crate) const TAKEN: &str = "taken";
/// The file that has a byte for each lock that was taken after its holder had died with it.
pub(crate) const INHERITED: &str = "inherited";

/// Takes some of the locks again and again until `rests`; returns how often it had them.
///
/// `Err`: what should never be.
pub(super) async fn work(
    locks: &Locks,
    seed: u64,
    names: &[String],
    directory: &Path,
    rests: &AtomicBool,
) -> Result<u64, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let marks = Marks::new(directory)?;
    let mut times = 0;
    while !rests.load(Ordering::Relaxed) {
        let number = random.usize(1..=2.min(names.len()));
        let chosen = random.choose_multiple(names, number);
        let mut wanted = chosen.iter().map(|name| Request::exclusive(name.as_str()));
        let first = wanted.next().expect("at least one was chosen");
        let request = chosen.iter().skip(1).fold(first, Request::and_exclusive);
        let micros = Duration::from_micros(random.u64(0..5_000));
        let mut task = locks.task(format!("work of {}", std::process::id()));
        let granted = match random.u8(0..6) {
            0 => task.try_acquire(request).await,
            1 => task.acquire_timeout(request, micros).await,
            // Dropped wherever it is then.
            2 => match tokio::time::timeout(micros, task.acquire(request)).await {
                Ok(granted) => granted,
                Err(_) => continue,
            },
            // Not for ever: the test rests while others may be stopped.
            _ => task.acquire_timeout(request, Duration::from_secs(1)).await,
        };
        match granted {
            Ok(guard) => {
                times += 1;
                marks.put(&chosen)?;
                // Longer than it takes to get them: whoever is killed mostly holds something.
                tokio::time::sleep(micros * 3).await;
                marks.take(&chosen)?;
                give_back(guard, random.bool()).await?;
            }
            Err(AcquireError::Busy(_) | AcquireError::TimedOut(_)) => {}
            Err(error) => return Err(format!("{chosen:?} cannot be asked for: {error}")),
        }
    }
    Ok(times)
}

async fn give_back(guard: Guard, wait: bool) -> Result<(), String> {
    guard.check().map_err(|error| format!("while its process ran: {error}"))?;
    if wait {
        guard.release().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Files that name the holders of locks.
struct Marks {
    /// This process, in a file that is linked to wherever it holds something.
    own: PathBuf,
    directory: PathBuf,
}

impl Marks {
    fn new(directory: &Path) -> Result<Self, String> {
        let Some(Process { pid, start }) = Process::current() else {
            return Err("this process cannot be named".into());
        };
        let own = directory.join(format!("process-{pid}-{start}"));
        std::fs::write(&own, format!("{pid} {start}")).map_err(|error| error.to_string())?;
        Ok(Self { own, directory: directory.into() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name.replace('/', "-"))
    }

    fn put(&self, names: &[&String]) -> Result<(), String> {
        for name in names {
            let mark = self.path(name);
            // Appears whole, and only if there is none.
            while let Err(error) = std::fs::hard_link(&self.own, &mark) {
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(format!("{}: {error}", mark.display()));
                }
                let other = std::fs::read_to_string(&mark)
                    .map_err(|error| format!("{name} is held, and was by another: {error}"))?;
                if liveness(&other) != Some(Liveness::Dead) {
                    return Err(format!("{name} is held, and so it is by process {other}"));
                }
                std::fs::remove_file(&mark).map_err(|error| format!("{name}: {error}"))?;
                self.note(INHERITED)?;
            }
            self.note(TAKEN)?;
        }
        Ok(())
    }

    /// Counts something for the trial: this process may not live to report it.
    fn note(&self, what: &str) -> Result<(), String> {
        let file = OpenOptions::new().create(true).append(true).open(self.directory.join(what));
        file.and_then(|mut file| file.write_all(b".")).map_err(|error| format!("{what}: {error}"))
    }

    fn take(&self, names: &[&String]) -> Result<(), String> {
        for name in names {
            let text = std::fs::read_to_string(self.path(name)).ok();
            let own = std::fs::read_to_string(&self.own).ok();
            if text.is_none() || text != own {
                return Err(format!("{name} was held by this process, and then by {text:?}"));
            }
            std::fs::remove_file(self.path(name)).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }
}

fn liveness(text: &str) -> Option<Liveness> {
    let (pid, start) = text.split_once(' ')?;
    let process = Process { pid: pid.parse().ok()?, start: start.parse().ok()? };
    let processes = vec![process];
    Some(ProcessSet { processes, ..ProcessSet::current() }.probe(Reach::Network))
}
