//! Power cuts: a worker is watched by strace, and what a cut at any of its steps may leave is opened.

mod change;
mod cut;
mod judge;
mod recording;
mod script;
#[cfg(test)]
mod tests;
mod trace;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use fastrand::Rng;

use crate::scene::Scene;
use crate::trial::{Failure, Verdict};
use crate::worker::{Report, WorkerOptions};

use change::Step;
use cut::Left;
use judge::Judge;
use recording::Recording;
pub(crate) use script::perform;
use script::{Action, environment, payload};

/// Everything by which a process can change files or learn of descriptors; `?`: if there is such a call.
const CALLS: &str = "trace=?open,?creat,openat,close,?dup,?dup2,dup3,fcntl,read,readv,lseek,write,\
    writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,\
    ?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?symlink,\
    symlinkat,mmap,clone,clone3,?fork,?vfork,io_uring_setup,copy_file_range,sendfile";

/// Longer than anything that is written at once.
const STRING_BYTES_MAX: &str = "134217728";

/// Does sessions, each by a worker of its own, and cuts the power in them as often as it is told.
pub(crate) struct Power<'a> {
    scene: &'a Scene,
    recording: Recording,
    judge: Judge<'a>,
}

/// Builds sessions whose versions rise by one.
#[derive(Debug, Default)]
pub(crate) struct Script {
    sessions: Vec<Vec<Action>>,
    /// How many bytes each version has, the first being 1.
    sizes: Vec<usize>,
}

impl Script {
    /// A new process.
    pub(crate) fn session(&mut self) {
        self.sessions.push(Vec::new());
    }

    fn add(&mut self, action: Action) {
        self.sessions.last_mut().expect("a session has begun").push(action);
    }

    /// Opens a client.
    pub(crate) fn open(&mut self, client: usize) {
        self.add(Action::Open(client));
    }

    /// Swaps this many bytes in.
    pub(crate) fn swap(&mut self, client: usize, bytes: usize) {
        self.sizes.push(bytes);
        self.add(Action::Swap { client, version: self.sizes.len() as u64, bytes });
    }

    /// Closes a client.
    pub(crate) fn close(&mut self, client: usize) {
        self.add(Action::Close(client));
    }

    /// The process is killed.
    pub(crate) fn die(&mut self) {
        self.add(Action::Die);
    }
}

impl<'a> Power<'a> {
    /// Has the script done on a new store.
    pub(crate) fn record(scene: &'a Scene, script: &Script) -> Result<Self, Failure> {
        let store = scene.other_store()?;
        let Some(directory) = store.directory() else {
            return Err(Failure::skipped("the store is not made of files"));
        };
        if store.spec_in(directory).is_none() {
            return Err(Failure::skipped("the store cannot be opened in another directory"));
        }
        needs_strace()?;
        let recording = watch(scene, directory, &store.spec(), &script.sessions)?;
        let sent = (1..).zip(&script.sizes).map(|(version, size)| payload(version, *size));
        let judge = Judge::new(scene, store.into(), sent.collect())?;
        Ok(Self { scene, recording, judge })
    }

    /// Cuts the power after every step, and opens what is left by every rule.
    pub(crate) fn cut_everywhere(&mut self) -> Verdict {
        for at in 0..=self.recording.steps.len() {
            let cut = self.recording.cut(at);
            for left in cut.choices() {
                self.judge.judge(&cut, &left)?;
            }
        }
        Ok(())
    }

    /// Cuts the power at random, and opens what is left at random.
    pub(crate) fn cut_at_random(&mut self, cuts: usize, random: &mut Rng) -> Verdict {
        let at_syncs = self.at_syncs();
        for _ in 0..cuts {
            // Of many writes in a row most are alike, so half of the cuts are where it matters.
            let at = if random.bool() {
                random.usize(..=self.recording.steps.len())
            } else {
                at_syncs[random.usize(..at_syncs.len())]
            };
            let cut = self.recording.cut(at);
            self.judge.judge(&cut, &by_chance(random))?;
            if random.u8(..4) == 0 {
                self.judge.judge(&cut, &Left::Nothing)?;
                self.judge.judge(&cut, &Left::Everything)?;
            }
        }
        Ok(())
    }

    /// Cuts the power once, and has what recovers from that recorded, to be cut in its turn.
    pub(crate) fn recover(&mut self, random: &mut Rng, bytes: usize) -> Result<Self, Failure> {
        let at_syncs = self.at_syncs();
        let cut = self.recording.cut(at_syncs[random.usize(..at_syncs.len())]);
        let left = by_chance(random);
        let found = self.judge.judge(&cut, &left)?;
        let directory = tempfile::tempdir()?;
        cut.files(&left).build(directory.path())?;
        let mut judge = self.judge.after(found)?;
        let version = judge.will_send(bytes);
        let mut session = vec![Action::Open(0), Action::Swap { client: 0, version, bytes }];
        session.push(if random.bool() { Action::Close(0) } else { Action::Die });
        let spec = judge.spec_in(directory.path()).map_err(Failure::Failed)?;
        let recording = watch(self.scene, directory.path(), &spec, &[session])?;
        Ok(Self { scene: self.scene, recording, judge })
    }

    fn at_syncs(&self) -> Vec<usize> {
        let all = 0..=self.recording.steps.len();
        all.filter(|at| self.recording.is_at_sync(*at)).collect()
    }
}

fn by_chance(random: &mut Rng) -> Left {
    Left::Random(random.u64(..), if random.bool() { 512 } else { 4096 })
}

/// Has sessions done, each by a worker under strace, and takes down what they do.
fn watch(
    scene: &Scene,
    directory: &Path,
    spec: &str,
    sessions: &[Vec<Action>],
) -> Result<Recording, Failure> {
    let mut recording = Recording::of(directory).map_err(Failure::Failed)?;
    for (number, session) in sessions.iter().enumerate() {
        let trace = scene.evidence().join(format!("strace-{number}"));
        let (name, value) = environment(session)?;
        let wrapper = ["strace", "-f", "-qq", "-y", "-xx", "-s", STRING_BYTES_MAX, "-e", CALLS];
        let options = WorkerOptions::new("watched")
            .spec(spec)
            .env(name, &value)
            .wrapped_in(wrapper)
            .wrapped_in(["-o".into(), trace.display().to_string()]);
        let mut worker = scene.worker_with(&options)?;
        for action in session {
            let Action::Swap { version, .. } = action else { continue };
            match worker.report(*version)? {
                Report::Done => {}
                other => return Err(Failure::failed(format!("swap {version}: {other:?}"))),
            }
        }
        worker.ended()?;
        let calls = trace::parse(&fs::read_to_string(trace)?).map_err(Failure::Failed)?;
        recording.add_process(&calls).map_err(Failure::Failed)?;
        recording.compare(directory).map_err(Failure::Failed)?;
    }
    let swaps = sessions.iter().flatten();
    let swaps = swaps.filter(|action| matches!(action, Action::Swap { .. })).count();
    let told = recording.steps.iter().filter(|step| matches!(step, Step::Acknowledged(_))).count();
    if told != swaps {
        return Err(Failure::failed(format!("of {swaps} answers, strace shows {told}")));
    }
    scene.count("operations", recording.steps.len());
    Ok(recording)
}

/// Skips the trial where no process can be watched.
fn needs_strace() -> Verdict {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .output();
    let reason = match tried {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("strace cannot be started: {error}"),
    };
    Err(Failure::missing(format!("a strace that works ({reason})")))
}
