//! `lockctl completions` and `lockctl man`: what is made of the definition of the command line.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{cli::Cli, exit::Exit, notice};

/// Prints the completions for a shell.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "lockctl", &mut script);
    print(&script)
}

/// Prints the manual page, or writes that of each command to a directory.
pub(crate) fn man(out: Option<&Path>) -> Exit {
    let done = match out {
        None => {
            return page(Cli::command()).map_or_else(|error| failed(&error), |page| print(&page));
        }
        Some(dir) => write_all(dir),
    };
    done.map_or_else(|error| failed(&error), |()| Exit::Status(0))
}

/// What people type: without the commands that `lockctl` starts itself, which completions would offer.
fn visible() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("lockctl")
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(commands)
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

fn print(text: &[u8]) -> Exit {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
        _ => Exit::Status(0),
    }
}

fn failed(error: &io::Error) -> Exit {
    notice::say(format_args!("cannot write the pages: {error}"));
    Exit::System
}
