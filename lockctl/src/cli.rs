//! The command line: commands, options and their help.

#![expect(
    clippy::doc_markdown,
    reason = "clap shows these comments as they are: help is no Markdown"
)]

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};

use lock_core::{LockSet, Request};

use crate::{duration, launch::SHIM_COMMAND, store::Lease};

/// Runs commands under named locks that are kept in a store you already have.
#[derive(Debug, Parser)]
#[command(name = "lockctl", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The store's URL, such as sqlite:/var/lib/lockctl/locks.db,
    /// file:/var/lib/lockctl/locks?strategy=flock (or excl) or
    /// mysql://USER@HOST/DATABASE?password-file=PATH [env: LOCKCTL_STORE]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) store: Option<String>,
    /// The namespace in the store: locks of different namespaces have nothing to do with each other
    /// [env: LOCKCTL_NAMESPACE]
    #[arg(long, value_name = "NS", global = true)]
    pub(crate) namespace: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Takes locks, runs a command under them, and gives them back
    #[command(after_long_help = RUN_HELP)]
    Run(Run),
    /// Lists who holds what, and who waits for whom
    List(List),
    /// Waits until locks are free, without taking them
    Wait(Wait),
    /// Frees the locks of a task, and takes it out of the queue; its processes are not ended
    ///
    /// Its holder finds its locks lost: `lockctl run` ends its command then. Ends with 1 if there is
    /// no such task.
    Release(Release),
    /// Creates the store, so that it is there before its first use
    ///
    /// A file is also created when it is first used; a table on a server only by this.
    Init(Init),
    /// Waits to become a command (started by `run`, not by people)
    #[command(name = SHIM_COMMAND, hide = true)]
    Shim(Shim),
}

/// What a newcomer needs to see once.
const EXAMPLES: &str = "\
Examples:
  lockctl run -l app/blog -- tar cf blog.tar /srv/blog   waits as long as it takes
  lockctl run -l app/blog --wait 5m -- ./restart.sh      gives up after five minutes
  lockctl run -l update -s app -n -- ./update.sh         several locks at once, or none
  lockctl run --limit backup=2 -- ./backup.sh            at most two at a time
  lockctl list                                           who holds what, who waits for whom
  lockctl release --task backup-17                       frees the locks of a task

A lock covers everything below it: app/blog and app/shop have nothing to do with each other, and
app waits for both.";

/// What `run` promises.
const RUN_HELP: &str = "\
A lock covers everything below it: \"app\" waits for \"app/blog\", and \"app/blog\" for \"app\".
All locks are granted at once or not at all, in the order in which they were asked for.

The command gets LOCKCTL_TASK (the task's name), LOCKCTL_TASK_ID and LOCKCTL_FENCE (a number that
grows with every hold, for targets that refuse writers that are out of date). A lockctl run by the
command is not blocked by the locks of this one.

The locks stay held as long as any process of the command's group lives, also if lockctl is killed.

Exit status: that of the command; if a signal ended it, lockctl ends by the same signal. Besides:
   64  wrong command line                  75  busy, timed out, or a deadlock
   69  the store cannot be reached         78  wrong configuration, or unreadable store
   71  the system refused a process       126  the command cannot be executed
   74  a lock was lost, and the           127  the command was not found
       command was ended for it

Examples:
  lockctl run -l app/blog -- tar cf blog.tar /srv/blog
  lockctl run --task backup-17 -l app/blog -s mail --wait 10m --log-file backup.log -- ./backup.sh
  lockctl run -l job/cleanup --no-wait -E 0 -- ./cleanup.sh     # skip it if it already runs
  lockctl run --limit backup=2 --note \"nightly\" -- ./backup.sh";

/// The options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) locks: Locks,
    /// The task's name, by which people see who holds the locks [default: CMD and the pid]
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Does not wait: ends with 75 if the locks are not free
    #[arg(short, long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,
    /// Waits for at most this long, then ends with 75 [default: as long as it takes]
    #[arg(short, long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,
    /// The exit status to use instead of 75 if the locks are not free, or not in time
    #[arg(short = 'E', long, value_name = "N")]
    pub(crate) busy_status: Option<u8>,
    /// Appends what the command prints (stdout and stderr) to a file, which is created with mode 0640
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// How long the command has between TERM and KILL when it must be ended, for a lock is lost
    /// [default: 10s]
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) kill_grace: Option<Duration>,
    /// How long others who cannot see this host wait before they may take it for dead; "none": for
    /// ever [default: 60s]
    #[arg(long, value_name = "DUR")]
    pub(crate) lease: Option<Lease>,
    /// Keeps the locks for at least this long, however soon the command ends
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) at_least: Option<Duration>,
    /// A note that people see in the list
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Says nothing about waiting
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// Which locks, in which modes.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Locks {
    /// A lock to hold exclusively (may be given several times)
    #[arg(short = 'l', long = "lock", value_name = "NAME")]
    exclusive: Vec<String>,
    /// A lock to share with others who share it (may be given several times)
    #[arg(short, long, value_name = "NAME")]
    shared: Vec<String>,
    /// A lock to hold with at most N holders at a time (may be given several times)
    #[arg(long, value_name = "NAME=N", value_parser = limit)]
    limit: Vec<(String, u32)>,
}

impl Locks {
    /// All of them as one request.
    pub(crate) fn request(&self) -> Request {
        let request = Request::from(LockSet::new());
        let request = self.exclusive.iter().fold(request, Request::and_exclusive);
        let request = self.shared.iter().fold(request, Request::and_shared);
        self.limit.iter().fold(request, |request, (name, limit)| request.and_limit(name, *limit))
    }
}

fn limit(text: &str) -> Result<(String, u32), String> {
    let (name, limit) = text.rsplit_once('=').ok_or("write NAME=N, such as backup=2")?;
    let limit = limit.parse().map_err(|_| format!("\"{limit}\" is not a number of holders"))?;
    Ok((name.to_owned(), limit))
}

/// The options of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Prints JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The locks: each free of everybody, as if it were to be held exclusively
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Waits for at most this long, then ends with 75 [default: as long as it takes]
    #[arg(short = 'w', long = "wait", value_name = "DUR", value_parser = duration::parse)]
    pub(crate) limit: Option<Duration>,
    /// Says nothing about waiting
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// The options of `release`.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The task's name, as `list` shows it
    #[arg(long, value_name = "NAME")]
    pub(crate) task: String,
}

/// The options of `init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Lets the members of this group use the store too, which must be a file
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

/// What the shim is to become.
#[derive(Debug, Args)]
pub(crate) struct Shim {
    /// The command and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl Cli {
    /// Reads the command line; what is wrong with it, or help, comes as the error.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let cli = Self::try_parse()?;
        // clap takes any unknown option before CMD for CMD itself.
        if let Command::Run(run) = &cli.command
            && let Some(option) = run.command.first().filter(|first| is_option(first))
        {
            let message = format!(
                "unexpected argument '{}' found; a command of this name is to be written as ./{0}",
                option.display()
            );
            return Err(Self::command().error(ErrorKind::UnknownArgument, message));
        }
        Ok(cli)
    }
}

fn is_option(text: &OsStr) -> bool {
    text.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
