//! Measures how fast locks are, on real servers by real processes, and writes the report of it.

mod approaches;
mod command;
mod compare;
mod contention;
mod counters;
mod floor;
mod handoff;
mod machine;
mod report;
mod rest;
mod results;
mod run;
mod store;
mod tasks;
mod text;
mod versus;
mod waiting;
mod worker;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures locks on real servers, side by side.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// What to measure; everything, if nothing is named.
    #[arg(value_parser = run::FIGURES)]
    figures: Vec<String>,
    /// In which stores.
    #[arg(long, value_delimiter = ',', value_name = "NAME", default_values = store::Store::ALL)]
    stores: Vec<String>,
    /// More arguments for the servers.
    #[arg(long, allow_hyphen_values = true)]
    argument: Vec<String>,
    /// Fewer samples, and fewer stores where a figure is about one of them.
    #[arg(long)]
    quick: bool,
    /// So many runs, one after the other; all but the last are of the figures alone.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Writes a report into this folder: a page, its plots, and all results as data.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Writes the figures in short into this page, between its two marks.
    #[arg(long, value_name = "FILE", requires = "report")]
    summary: Option<PathBuf>,
    /// Measures nothing, and writes the report of the results that are in its folder.
    #[arg(long, requires = "report")]
    again: bool,
}

fn main() -> ExitCode {
    let result = match env::var(worker::VARIABLE) {
        Ok(approach) => worker::run(&approach),
        Err(_) => run::measure(&Arguments::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
