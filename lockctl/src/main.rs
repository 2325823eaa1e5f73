//! `lockctl` runs commands under named locks, and shows who holds what and who waits for whom.
//!
//! The locks are in a store that is there already: an SQLite file, plain files, MySQL or MariaDB, Redis or
//! Valkey. If nothing is said, it is an SQLite file of the user.
//!
//! ```console
//! $ lockctl run --task backup-17 -l app/blog -- sleep 60 &
//! $ lockctl list
//! sqlite:… (chosen by …)
//! TASK       LOCKS           FOR  WHERE             STATE  NOTE
//! backup-17  app/blog  held  2 s  pid 4242 on web1  alive
//! $ lockctl run -l app/blog --no-wait -- ./restart.sh
//! lockctl: busy: app/blog: held by backup-17 (pid 4242 on web1, 2 s)
//! $ echo $?
//! 75
//! ```
//!
//! # Documentation
//!
//! `lockctl help` lists the commands, and `lockctl help run` tells all about one. `lockctl man` prints the manual
//! page, or writes those of all commands to a directory, and `lockctl completions` is for shells. `lockctl doctor`
//! looks at a store and its surroundings, and says what to do.
//!
//! # Features
//!
//! Both are on by default:
//!
//! - `mysql`: stores in MySQL and MariaDB.
//! - `redis`: stores in Redis and Valkey.
//!
//! It is for Linux, and needs Rust 1.94.

// Here is only the way from the command line to a command.

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
