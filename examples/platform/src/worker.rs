//! The workers: processes that do a task, and write down when.
//!
//! A worker of a large task holds only `task/TYPE` all the time. For each of its parts it has `lockctl run`
//! start a process that holds the lock of that part and of nothing else.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};

use crate::{
    plan::{APPS, Work},
    record::{Log, Part},
};

/// What a worker is told.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Its log file.
    log: PathBuf,
    /// The name of its task.
    task: String,
    what: What,
    /// The app, where it is about one.
    #[arg(long)]
    app: Option<String>,
    /// How long a part takes, in milliseconds.
    #[arg(long)]
    ms: u64,
    /// The lockctl that starts the parts; without it, they are done under the locks of the task.
    #[arg(long)]
    lockctl: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    App,
    FullBackup,
    Update,
    UpdatePart,
    PlatformStart,
}

/// The arguments of a worker that does this.
pub(crate) fn arguments(log: &Path, task: &str, work: Work, part: Duration) -> Vec<String> {
    let (what, app) = match work {
        Work::App(app) => ("app", Some(app)),
        work => (work.kind(), None),
    };
    let app = app.map(|app| format!("--app={app}"));
    let fixed = [
        "worker".to_owned(),
        log.display().to_string(),
        task.to_owned(),
        what.to_owned(),
        format!("--ms={}", part.as_millis()),
    ];
    fixed.into_iter().chain(app).collect()
}

impl Worker {
    pub(crate) fn run(&self) -> io::Result<()> {
        let mut log = Log::open(&self.log)?;
        match self.what {
            What::App => self.on_app(&mut log, self.app.as_deref().unwrap_or("none")),
            What::UpdatePart => self.work(&mut log, Part::Update),
            What::FullBackup => log.during(Part::Task("full-backup".into()), |log| {
                APPS.iter().try_for_each(|app| self.part(log, app))
            }),
            What::PlatformStart => log.during(Part::Task("platform-start".into()), |log| {
                APPS.iter().try_for_each(|app| self.part(log, app))
            }),
            What::Update => log.during(Part::Task("update".into()), |log| {
                // It is fetched and unpacked while the apps go on.
                thread::sleep(2 * self.length());
                match &self.lockctl {
                    Some(_) => self.nested("app", What::UpdatePart, None),
                    None => self.work(log, Part::Update),
                }
            }),
        }
    }

    fn on_app(&self, log: &mut Log, app: &str) -> io::Result<()> {
        self.work(log, Part::App(app.to_owned()))
    }

    /// One app's part of a large task.
    fn part(&self, log: &mut Log, app: &str) -> io::Result<()> {
        match &self.lockctl {
            Some(_) => self.nested(&format!("app/{app}"), What::App, Some(app)),
            None => self.on_app(log, app),
        }
    }

    /// Has a part done by a process of its own, under the part's lock.
    fn nested(&self, lock: &str, what: What, app: Option<&str>) -> io::Result<()> {
        let lockctl = self.lockctl.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
        let mut run = Command::new(lockctl);
        run.args(["run", "--quiet", "--task", &self.task, "-l", lock, "--"]);
        run.arg(env::current_exe()?).arg("worker").arg(&self.log).arg(&self.task);
        run.arg(if what == What::App { "app" } else { "update-part" });
        run.arg(format!("--ms={}", self.ms)).args(app.map(|app| format!("--app={app}")));
        // One that was killed is no reason to leave the others undone.
        run.status().map(drop)
    }

    /// Stands for the work.
    fn work(&self, log: &mut Log, part: Part) -> io::Result<()> {
        log.during(part, |_| {
            thread::sleep(self.length());
            Ok(())
        })
    }

    fn length(&self) -> Duration {
        Duration::from_millis(self.ms)
    }
}
