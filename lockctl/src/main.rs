//! `lockctl`: runs commands under named locks. Here is only the way from the command line to a command.

mod cli;
mod duration;
mod exit;
mod group;
mod launch;
mod notice;
mod run;
mod signals;
mod store;
mod supervise;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command},
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
    let settings = || {
        let (store, namespace) = (cli.store.as_deref(), cli.namespace.as_deref());
        Settings::find(store, namespace, &Surroundings::of_process())
    };
    match &cli.command {
        Command::Run(options) => run::run(options, settings()).finish(),
        Command::Shim(shim) => launch::run_shim(&shim.command),
    }
}
