//! The project's own commands: what `cargo xtask` understands, and of which steps each consists.

mod bench;
mod check;
mod downstream;
mod failures;
mod fuzz;
mod matrix;
mod metadata;
mod msrv;
mod packages;
mod platform;
mod servers;
mod soak;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::steps::{Step, a_cargo, run, test_threads};

/// The commands of `cargo xtask`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands")]
enum Task {
    /// Passes all tests: needs the Rust toolchain and a C compiler, and gets the rest if it may.
    Test,
    /// What a release has to pass besides: needs cargo-hack and cargo-deny.
    Check {
        /// Without the commands of the documentation that take long.
        #[arg(long)]
        quick: bool,
    },
    /// Runs the conformance suite on every backend with random seeds, for a long time, and on clusters.
    Soak {
        /// How long, all backends together.
        #[arg(long, value_name = "N", default_value_t = 60)]
        minutes: u64,
    },
    /// Starts a MariaDB, a MySQL, a Redis and a Valkey on loopback, prints their URLs, and ends them with Ctrl-C.
    Servers,
    /// Runs the platform example with the lockctl of this tree; `-- --help` tells its options.
    Platform {
        /// Its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        options: Vec<String>,
    },
    /// Measures how fast it is beside other approaches, on real servers, and writes the report of it.
    Bench {
        /// Few samples: within two minutes, once all is built.
        #[arg(long)]
        quick: bool,
        /// So many runs, one after the other; all but the last are of the figures alone.
        #[arg(long, default_value_t = 1, value_name = "N")]
        runs: u8,
        /// The folder of the report, instead of `benches/report`.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Fuzzes what reads bytes of strangers: needs a C++ compiler besides.
    Fuzz {
        /// Only this target.
        #[arg(value_parser = fuzz::TARGETS)]
        target: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
    },
}

fn main() -> ExitCode {
    match Task::parse() {
        Task::Test => run(&[
            ("each crate's rust-version covers its dependencies", &msrv::check),
            ("programs that tests need", &packages::install),
            ("servers that tests need", &servers::prepare),
            ("unit, integration and documentation tests", &|| {
                matrix::clear()?;
                let threads = format!("--test-threads={}", test_threads());
                let options = ["--workspace", "--all-features", "--locked", "--no-fail-fast"];
                failures::test(a_cargo().arg("test").args(options), &[&threads])
            }),
            ("every backend has a verdict on every trial", &|| {
                matrix::write(soak::suites()?.len())
            }),
            ("a crate of somebody else", &downstream::test),
            ("what the README has a newcomer write", &downstream::readme),
        ]),
        Task::Check { quick } => {
            let steps: [Step; 8] = [
                ("every combination of features compiles", &check::features),
                ("the oldest dependencies that are allowed", &check::oldest_dependencies),
                ("documentation as docs.rs builds it", &check::documentation),
                ("licences and sources of dependencies", &check::dependencies),
                ("the workspaces beside this one", &check::beside),
                ("every crate can be packaged", &check::packages),
                ("lockctl is small", &check::lockctl),
                ("commands of the documentation that take long", &check::commands),
            ];
            run(&steps[..steps.len() - usize::from(quick)])
        }
        Task::Soak { minutes } => run(&[
            ("programs that tests need", &packages::install),
            ("servers that tests need", &servers::prepare),
            ("clusters that tests need", &servers::prepare_clusters),
            ("the conformance suite", &|| soak::run(minutes)),
            ("the platform example on every store", &|| platform::soak(minutes)),
        ]),
        Task::Servers => run(&[("servers", &servers::serve)]),
        Task::Platform { options } => run(&[("the platform", &|| platform::run(&options))]),
        Task::Bench { quick, runs, out } => run(&[
            ("programs that tests need", &packages::install),
            ("servers that tests need", &servers::prepare),
            ("what is measured, and what it is compared with", &bench::build),
            ("the report", &|| bench::run(quick, runs, out.as_deref())),
        ]),
        Task::Fuzz { target, minutes } => {
            run(&[("no target is broken", &|| fuzz::run(target.as_deref(), minutes))])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use clap::Parser;

    use super::Task;
    use crate::steps::{a_cargo, root};

    /// They are run by a test of `lockctl`, which takes too long for every day.
    #[test]
    fn what_the_pages_say_of_cargo_xtask_is_understood() {
        let mut found = 0;
        for page in pages(root()).into_iter().chain(pages(&root().join("docs"))) {
            let text = fs::read_to_string(&page).expect("there is such a page");
            let commands = text.split("cargo xtask ").skip(1);
            let commands = commands.filter_map(|rest| rest.split(['`', '\n', '#']).next());
            for command in commands {
                let words = ["cargo xtask"].into_iter().chain(command.split_whitespace());
                if let Err(error) = Task::try_parse_from(words) {
                    panic!("{}: cargo xtask {command}: {error}", page.display());
                }
                found += 1;
            }
        }
        assert!(found > 10, "only {found} were found");
    }

    /// With them a variable of the environment could switch exclusion off.
    #[test]
    fn what_is_built_if_nothing_is_said_has_no_failpoints() {
        let tree = |more: &[&str]| {
            let arguments = ["tree", "--locked", "--offline", "-e", "normal,features"];
            let mut cargo = a_cargo();
            // There, and not in a member's folder, all default members are meant.
            cargo.current_dir(root());
            let output = cargo.args(arguments).args(more).output().expect("there is cargo");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("it is text")
        };
        let plain = tree(&[]);
        assert!(plain.contains("lockctl v") && plain.contains("lock-mysql v"), "{plain}");
        assert!(!plain.contains("lock-core feature \"failpoints\""), "{plain}");
        assert!(tree(&["--workspace"]).contains("lock-core feature \"failpoints\""));
    }

    fn pages(folder: &Path) -> Vec<PathBuf> {
        let files = fs::read_dir(folder).expect("it can be read").map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|ext| ext == "md")).collect()
    }
}
