//! The command line: commands, options and their help.

#![expect(
    clippy::doc_markdown,
    reason = "clap shows these comments as they are: help is no Markdown"
)]

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};

use lock_core::{LockName, LockSet, Request};

use crate::{
    acquire::KEEPER_OPTION,
    duration,
    help::{ACQUIRE_HELP, COMPLETIONS_HELP, EXAMPLES, KILL_HELP, RUN_HELP, SURROUNDINGS},
    keeper::Patience,
    launch::SHIM_COMMAND,
    store::Lease,
};

/// Runs commands under named locks that are kept in a store you already have.
#[derive(Debug, Parser)]
#[command(name = "lockctl", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{SURROUNDINGS}"))]
pub(crate) struct Cli {
    /// The store's URL, such as sqlite:/var/lib/lockctl/locks.db, redis://USER@HOST,
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
    /// Shows what ran when, what waited for what, and for how long
    ///
    /// `run` and `acquire` write it to a journal on their host, as it happens: beside a store in
    /// files, else in /var/lib/lockctl or the user's ~/.local/state/lockctl. So it also tells of
    /// those that were killed. The last 4 MiB and the 4 MiB before are kept.
    History(History),
    /// Says what would have to happen for locks to be granted
    ///
    /// Ends with 0 if they would be granted at once, and with 75 if not. It takes nothing and does not
    /// queue.
    Why(Why),
    /// Shows the list live: in place on a terminal, one line per change elsewhere
    ///
    /// q and Ctrl-C end it.
    Watch(Watch),
    /// Waits until locks are free, without taking them
    Wait(Wait),
    /// Takes locks for a process that runs already, such as a script, until it gives them back or ends
    #[command(after_long_help = ACQUIRE_HELP)]
    Acquire(Acquire),
    /// Gives back the locks of a process, or frees those of a task
    ///
    /// With --pid it gives back what `acquire` took for that process: everything, or what was taken
    /// with exactly these locks. It ends with 74 if the process does not hold that, for it was lost.
    ///
    /// With --task it frees the locks of a task, and takes it out of the queue; its processes are not
    /// ended. Its holder finds its locks lost: `lockctl run` ends its command then. Ends with 1 if
    /// there is no such task.
    #[command(
        override_usage = "lockctl release --pid PID [LOCKS]\n       lockctl release --task NAME"
    )]
    Release(Release),
    /// Ends the processes of a task, and then frees its locks
    #[command(after_long_help = KILL_HELP)]
    Kill(Kill),
    /// Creates the store, so that it is there before its first use
    ///
    /// A file is also created when it is first used; a table on a server only by this.
    Init(Init),
    /// Checks the store and its surroundings, and says what to do about what is not well
    ///
    /// Ends with 0 if all is well, with 1 if there are warnings, and as other commands do if the store
    /// cannot be used: with 69 if it cannot be reached, with 78 if something has to be mended.
    Doctor(Doctor),
    /// Prints completions for a shell
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions(Completions),
    /// Prints the manual page, or writes those of all commands to a directory
    Man(Man),
    /// Waits to become a command (started by `run`, not by people)
    #[command(name = SHIM_COMMAND, hide = true)]
    Shim(Shim),
}

/// The options of all who ask for locks.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) locks: Locks,
    /// The task's name, by which people see who holds the locks [default: the command and its pid]
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Does not wait: ends with 75 if the locks are not free
    #[arg(short, long, conflicts_with = "wait")]
    no_wait: bool,
    /// Waits for at most this long, then ends with 75 [default: as long as it takes]
    #[arg(short, long, value_name = "DUR", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// The exit status to use instead of 75 if the locks are not free, or not in time
    #[arg(short = 'E', long, value_name = "N")]
    pub(crate) busy_status: Option<u8>,
    /// How long others who cannot see this host wait before they may take it for dead; "none": for
    /// ever [default: 60s]
    #[arg(long, value_name = "DUR")]
    pub(crate) lease: Option<Lease>,
    /// How long processes have between TERM and KILL when they must be ended, for a lock is lost
    /// [default: 10s]
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) kill_grace: Option<Duration>,
    /// A note that people see in the list
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// The journal to which what happens is written, for `history`; "none": nowhere
    /// [default: beside the store, or of this user] [env: LOCKCTL_JOURNAL]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Says nothing about waiting, nor of locks that are not free if the status for that is 0
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl Command {
    /// The journal that was chosen for what is asked for.
    pub(crate) fn journal(&self) -> Option<&Path> {
        match self {
            Self::Run(Run { asking, .. }) | Self::Acquire(Acquire { asking, .. }) => {
                asking.journal.as_deref()
            }
            _ => None,
        }
    }
}

impl Asking {
    /// How long to wait.
    pub(crate) fn patience(&self) -> Patience {
        match self.wait {
            _ if self.no_wait => Patience::None,
            Some(limit) => Patience::For(limit),
            None => Patience::Endless,
        }
    }
}

/// The options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// Appends what the command prints (stdout and stderr) to a file, which is created with mode 0640
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// Keeps the locks for at least this long from the grant, however soon the command ends by itself
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) at_least: Option<Duration>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// The options of `acquire`.
#[derive(Debug, Args)]
pub(crate) struct Acquire {
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// The process that holds the locks: $$ in a shell script
    #[arg(long, value_name = "PID")]
    pub(crate) pid: u32,
    /// What happens to the process when its locks are lost
    #[arg(long, value_name = "WHAT", default_value = "nothing")]
    pub(crate) on_lost: OnLost,
    /// What to print when the locks are granted [default: nothing]
    #[arg(long, value_name = "WHAT")]
    pub(crate) print: Option<Print>,
    /// Makes it the process that stays behind, for a PID that was started then.
    #[arg(long = KEEPER_OPTION, hide = true)]
    pub(crate) keeper_since: Option<u64>,
}

/// What becomes of a process whose locks are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnLost {
    /// It goes on; `release --pid` ends with 74
    Nothing,
    /// It is ended with what it runs: TERM, and KILL after the kill grace
    Kill,
}

/// What can be printed of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Print {
    /// The fencing token, a number that grows with every hold
    Fence,
    /// The id of the task, as LOCKCTL_TASK_ID of `run`
    TaskId,
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
    fn is_empty(&self) -> bool {
        self.exclusive.is_empty() && self.shared.is_empty() && self.limit.is_empty()
    }

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

/// The options of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only what waited, held or ended within this time
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) since: Option<Duration>,
    /// Only requests for this lock, one above or one below (may be given several times)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) lock: Vec<LockName>,
    /// Only those of tasks of this name (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Vec<String>,
    /// Prints JSON, for programs
    #[arg(long, conflicts_with = "svg")]
    pub(crate) json: bool,
    /// Draws it into this file: a bar for each task, pale while it waited and solid while it held
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// What to write above the picture
    #[arg(long, value_name = "TEXT", requires = "svg")]
    pub(crate) title: Option<String>,
    /// The time that the picture spans at least, so that several have one scale
    #[arg(long, value_name = "DUR", value_parser = duration::parse, requires = "svg")]
    pub(crate) span: Option<Duration>,
    /// A journal to read instead of the store's own (may be given several times)
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Vec<PathBuf>,
}

/// The options of `why`.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Locks, as if they were to be held exclusively
    #[arg(value_name = "NAME", group = "Locks")]
    names: Vec<String>,
    #[command(flatten)]
    locks: Locks,
    /// Prints JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

impl Why {
    /// All of the locks as one request.
    pub(crate) fn request(&self) -> Request {
        self.names.iter().fold(self.locks.request(), Request::and_exclusive)
    }
}

/// The options of `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// How often to look
    #[arg(short = 'n', long, value_name = "DUR", value_parser = duration::parse, default_value = "1s")]
    pub(crate) interval: Duration,
    /// Prints what `list --json` does in one line, again whenever it has changed
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Frees the locks of those who are proven dead
    #[arg(long)]
    pub(crate) repair: bool,
    /// Prints JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// The options of `man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Writes lockctl.1, lockctl-run.1 and so on to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
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
    #[arg(
        long,
        value_name = "NAME",
        group = "Locks",
        conflicts_with_all = ["pid", "exclusive", "shared", "limit"]
    )]
    task: Option<String>,
    /// The process that `acquire` took locks for: $$ in a shell script
    #[arg(long, value_name = "PID", group = "Locks")]
    pid: Option<u32>,
    #[command(flatten)]
    locks: Locks,
}

/// What is to be released.
#[derive(Debug)]
pub(crate) enum Released<'a> {
    /// Everything of the tasks of this name.
    Task(&'a str),
    /// What was acquired for a process: everything, or what was acquired by this request.
    Process(u32, Option<Request>),
}

impl Release {
    /// What is meant.
    pub(crate) fn what(&self) -> Released<'_> {
        match (&self.task, self.pid) {
            (Some(task), _) => Released::Task(task),
            (None, Some(pid)) => {
                Released::Process(pid, (!self.locks.is_empty()).then(|| self.locks.request()))
            }
            (None, None) => unreachable!("it is refused when the command line is read"),
        }
    }
}

/// The options of `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// The task's name as `list` shows it, or its id as `list --json` does
    #[arg(long, value_name = "NAME")]
    pub(crate) task: String,
    /// How long the processes have between TERM and KILL [default: 10s]
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) grace: Option<Duration>,
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
        Self::read_from(std::env::args_os())
    }

    fn read_from(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(words)?;
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
        if let Command::Release(Release { task: None, pid: None, .. }) = &cli.command {
            let message = "whose locks? Write --pid $$, or --task NAME";
            return Err(Self::command().error(ErrorKind::MissingRequiredArgument, message));
        }
        Ok(cli)
    }
}

fn is_option(text: &OsStr) -> bool {
    text.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pulldown_cmark::{Event, Options, Parser as Markdown};

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
    /// Those in blocks are run by the tests of the pages.
    #[test]
    fn what_the_pages_say_of_lockctl_in_passing_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = [root.clone(), root.join("docs")].map(|folder| fs::read_dir(folder).unwrap());
        let files = files.into_iter().flatten().map(|file| file.unwrap().path());
        let (mut found, mut wrong) = (0, Vec::new());
        for page in files.filter(|file| file.extension().is_some_and(|ext| ext == "md")) {
            let text = fs::read_to_string(&page).unwrap();
            for event in Markdown::new_ext(&text, Options::ENABLE_TABLES) {
                if let Event::Code(code) = event
                    && code.starts_with("lockctl ")
                {
                    found += 1;
                    let error = misunderstood(&code);
                    wrong.extend(error.map(|error| format!("{}: {code}: {error}", page.display())));
                }
            }
        }
        assert!(found > 40, "only {found} were found");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What is wrong with a command that need not be all of one.
    fn misunderstood(command: &str) -> Option<clap::Error> {
        let words = command.split_whitespace().flat_map(|word| match word {
            // Else what comes next is the command to run, whatever it is, and the locks are missing.
            "run" => vec!["run", "-l", "NAME"],
            "$$" | "PID" | "N" => vec!["1"],
            "DUR" => vec!["1s"],
            _ => vec![word],
        });
        let error = Cli::read_from(words).err()?;
        let is_fine =
            [ErrorKind::MissingRequiredArgument, ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
        (!is_fine.contains(&error.kind())).then_some(error)
    }

    #[test]
    fn a_part_of_a_command_is_understood_and_a_wrong_one_is_not() {
        for command in ["lockctl run", "lockctl acquire --print fence", "lockctl kill --grace DUR"]
        {
            assert!(misunderstood(command).is_none(), "{command}");
        }
        let wrong = ["run --no", "acquire --no", "list --lock app", "lists", "kill --grace soon"];
        for command in wrong {
            assert!(misunderstood(&format!("lockctl {command}")).is_some(), "{command}");
        }
    }
}
