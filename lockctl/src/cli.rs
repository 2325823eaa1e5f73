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

use crate::{duration, launch::SHIM_COMMAND};

/// Runs commands under named locks that are kept in a store you already have.
#[derive(Debug, Parser)]
#[command(name = "lockctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The store's URL, such as sqlite:/var/lib/lockctl/locks.db [env: LOCKCTL_STORE]
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
    /// Takes the locks, runs a command under them, and gives them back
    Run(Run),
    /// Waits to become a command (started by `run`, not by people)
    #[command(name = SHIM_COMMAND, hide = true)]
    Shim(Shim),
}

/// The options of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The task's name, by which people see who holds the locks [default: CMD and the pid]
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Option<String>,
    /// Appends what the command prints (stdout and stderr) to a file, which is created with mode 0640
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// How long the command has between TERM and KILL when it must be ended, for a lock is lost
    /// [default: 10s]
    #[arg(long, value_name = "DUR", value_parser = duration::parse)]
    pub(crate) kill_grace: Option<Duration>,
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
