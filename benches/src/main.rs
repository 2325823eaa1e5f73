//! Measures how fast locks are: starts real servers and real processes, and prints one table for each figure.

mod contention;
mod files;
mod floor;
mod growth;
mod handoff;
mod single;
mod statistics;
mod store;
mod worker;

use std::env;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::store::Server;

/// Why a measurement could not be made.
type Failure = Box<dyn Error + Send + Sync>;

/// Measures locks on real servers, side by side.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// What to measure; everything, if nothing is named.
    #[arg(value_parser = FIGURES)]
    figures: Vec<String>,
    /// On which servers, and in which files.
    #[arg(
        long,
        value_delimiter = ',',
        default_values = ["memory", "flock", "excl", "sqlite", "mariadb", "mysql", "redis", "valkey"]
    )]
    servers: Vec<String>,
    /// More arguments for the servers.
    #[arg(long, allow_hyphen_values = true)]
    argument: Vec<String>,
    /// Fewer samples.
    #[arg(long)]
    quick: bool,
}

const FIGURES: [&str; 7] =
    ["single", "tasks", "handoff", "recovery", "waiting", "contention", "growth"];

fn main() -> ExitCode {
    if env::var_os(worker::VARIABLE).is_some() {
        return report(worker::run());
    }
    report(measure(&Arguments::parse()))
}

fn report(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if arguments.servers.iter().any(|name| name == "memory") {
        runtime.block_on(growth::measure_memory(arguments.quick))?;
    }
    let is_wanted = |figure: &str| {
        arguments.figures.is_empty() || arguments.figures.iter().any(|name| name == figure)
    };
    for kind in files::Kind::ALL {
        if arguments.servers.iter().any(|name| name == kind.name()) {
            runtime.block_on(files::measure(kind, is_wanted, arguments.quick))?;
        }
    }
    for name in Server::ALL {
        if !arguments.servers.iter().any(|wanted| wanted == name) {
            continue;
        }
        let more: Vec<&str> = arguments.argument.iter().map(String::as_str).collect();
        let server = runtime.block_on(Server::start(name, &more))?;
        println!("# {}", server.name);
        for figure in FIGURES {
            if !is_wanted(figure) {
                continue;
            }
            runtime.block_on(async {
                match figure {
                    "single" => single::measure(&server, arguments.quick).await,
                    "tasks" => single::measure_tasks(&server, arguments.quick).await,
                    "handoff" => handoff::measure(&server, arguments.quick).await,
                    "waiting" => handoff::measure_waiting(&server, arguments.quick).await,
                    "contention" => contention::measure(&server, arguments.quick).await,
                    "recovery" => handoff::measure_recovery(|| server.fresh().0, arguments.quick),
                    _ => growth::measure(&server, arguments.quick).await,
                }
            })?;
        }
    }
    Ok(())
}
