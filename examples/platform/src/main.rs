//! The platform example: a self-hosting platform whose tasks run side by side under fine locks.
//!
//! Once such a platform had one global lock, and who restarted one app was told "waiting for backup to
//! finish". Here are its tasks as real processes, each started by `lockctl run`:
//!
//! | task | locks |
//! |---|---|
//! | an app task, such as a restart | `app/NAME` |
//! | the full backup | `task/full-backup`, and `app/NAME` only while it saves that app |
//! | the update | `task/update`, and `app`, which covers all apps, only while it replaces what they run on |
//! | the platform's start | `task/platform-start`, and `app/NAME` only while it starts that app |
//!
//! A supervisor starts them, kills some with `kill -9`, frees what they held, and starts them again. Every
//! worker writes down when it did what. In the end it is checked from these records that no rule was broken:
//! the same app never twice at once, the update's part never beside an app task, and one task of each type.

mod check;
mod plan;
mod record;
mod supervisor;
mod tree;
mod worker;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Runs a platform's tasks under fine locks, kills some, and checks that no rule was broken.
///
/// Ends with 0 if none was, with 1 if one was, and with 2 if it could not run.
#[derive(Debug, Parser)]
#[command(name = "platform", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How it is run.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
struct Options {
    /// The store, as lockctl takes it [default: an SQLite file of its own]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// For how long tasks are started
    #[arg(long, value_name = "N", default_value_t = 12, conflicts_with = "minutes")]
    seconds: u64,
    /// The same in minutes
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// What chance begins with: the same seed starts the same tasks at the same times
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Does the same work under one global lock, to see the difference
    #[arg(long)]
    one_lock: bool,
    /// Kills nobody
    #[arg(long)]
    no_kills: bool,
    /// Leaves out the locks of app tasks, to see that it is noticed
    #[arg(long)]
    without_locks: bool,
    /// Draws what ran when into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The time that the picture spans at least
    #[arg(long, value_name = "DUR", requires = "svg")]
    span: Option<String>,
    /// The lockctl to use [default: the one beside this program, or that of PATH]
    #[arg(long, value_name = "FILE")]
    lockctl: Option<PathBuf>,
    /// Keeps the records also if no rule was broken
    #[arg(long)]
    keep: bool,
}

impl Options {
    fn duration(&self) -> Duration {
        self.minutes.map_or(Duration::from_secs(self.seconds), Duration::from_mins)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Does a task (started by the supervisor under lockctl, not by people)
    #[command(hide = true)]
    Worker(worker::Worker),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Worker(worker)) => worker.run().map(|()| true),
        None => supervisor::run(&cli.options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("platform: {error}");
            ExitCode::from(2)
        }
    }
}
