//! `lockctl`: runs commands under named locks. Here is only the way from the command line to a command.

mod acquire;
mod admin;
mod cli;
mod doctor;
mod duration;
mod ending;
mod exit;
mod group;
mod help;
mod history;
mod json;
mod keeper;
mod kill;
mod kin;
mod launch;
mod list;
mod notice;
mod open;
mod pages;
mod processes;
mod run;
mod signals;
mod store;
mod strays;
mod style;
mod supervise;
mod wait;
mod waiting;
mod warnings;
mod watch;
mod why;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, Released},
    exit::Exit,
    store::{Settings, Surroundings},
};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed on stdout and are no error; a closed pipe is none either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Status(0) }.finish();
        }
    };
    if let Command::Shim(shim) = &cli.command {
        return launch::run_shim(&shim.command);
    }
    match &cli.command {
        Command::Completions(options) => return pages::completions(options.shell).finish(),
        Command::Man(options) => return pages::man(options.out.as_deref()).finish(),
        _ => {}
    }
    let found =
        Settings::find(cli.store.as_deref(), cli.namespace.as_deref(), &Surroundings::of_process());
    if let Command::Doctor(options) = &cli.command {
        return doctor::examine(&found, options).finish();
    }
    let settings = match found {
        Ok(settings) => settings.with_journal(cli.command.journal()),
        Err(error) => {
            notice::say_error(&error);
            return Exit::Config.finish();
        }
    };
    let done = match &cli.command {
        Command::Run(options) => return run::run(options, &settings).finish(),
        Command::List(options) => list::list(&settings, options.json),
        Command::History(options) => return history::history(&settings, options).finish(),
        Command::Why(options) => return why::why(&settings, options).finish(),
        Command::Watch(options) => return watch::watch(&settings, options).finish(),
        Command::Wait(options) => wait::wait(&settings, options),
        Command::Acquire(options) => {
            return match options.keeper_since {
                Some(since) => acquire::keep(options, since, &settings),
                None => acquire::acquire(options),
            }
            .finish();
        }
        Command::Release(options) => {
            return match options.what() {
                Released::Task(task) => admin::release(&settings, task),
                Released::Process(pid, request) => {
                    acquire::release(&settings, pid, request.as_ref())
                }
            }
            .finish();
        }
        Command::Kill(options) => return kill::kill(&settings, options).finish(),
        Command::Init(options) => return admin::init(&settings, options.group.as_deref()).finish(),
        Command::Shim(_) | Command::Doctor(_) | Command::Completions(_) | Command::Man(_) => Ok(()),
    };
    match done {
        Ok(()) => Exit::Status(0),
        Err(error) => {
            error.say();
            error.exit()
        }
    }
    .finish()
}
