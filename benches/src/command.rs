//! Command lines from start to end: `lockctl run` against `flock` and against the bare command.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use lock_bench_worker::Failure;

use crate::results::{Command, Spread};
use crate::store::Store;

/// The command that is run under the lock, and by itself.
pub(crate) const BARE: &str = "true";

/// In turns, each so often; stores in order.
pub(crate) fn measure(
    stores: &[Store],
    lockctl: &Path,
    count: usize,
) -> Result<Vec<Command>, Failure> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("lock");
    let mut commands = vec![(BARE.to_owned(), process::Command::new(BARE), None)];
    if process::Command::new("flock").arg("--version").output().is_ok() {
        let mut flock = process::Command::new("flock");
        flock.arg(&file).arg(BARE);
        commands.push(("flock(1)".into(), flock, None));
    }
    for store in stores {
        let url = store.for_lockctl();
        let run = lockctl_run(lockctl, &url, &[BARE]);
        let memory = memory_kib(lockctl_run(lockctl, &url, &["cat"]))?;
        commands.push((format!("lockctl run, {}", store.name), run, Some(memory)));
        if store.name == "sqlite" {
            // What the journal costs.
            let mut run = lockctl_run(lockctl, &url, &[BARE]);
            run.env("LOCKCTL_JOURNAL", "none");
            commands.push(("lockctl run, sqlite, no journal".into(), run, None));
        }
    }
    let mut samples = vec![Vec::new(); commands.len()];
    for index in 0..=count {
        for ((_, command, _), samples) in commands.iter_mut().zip(&mut samples) {
            let took = time(command)?;
            // The first ones read the programs from the disk and make the stores.
            if index > 0 {
                samples.push(took);
            }
        }
    }
    Ok(commands
        .into_iter()
        .zip(samples)
        .map(|((name, _, memory_kib), samples)| Command {
            name,
            took: Spread::of(samples),
            memory_kib,
        })
        .collect())
}

fn lockctl_run(lockctl: &Path, url: &str, command: &[&str]) -> process::Command {
    let mut run = process::Command::new(lockctl);
    run.env("LOCKCTL_STORE", url).args(["run", "-l", "x", "--"]).args(command);
    run
}

fn time(command: &mut process::Command) -> Result<Duration, Failure> {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).status()?;
    let took = start.elapsed();
    if status.success() { Ok(took) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The most that it ever had in memory, asked while it holds: it runs `cat`, which says what it is told.
fn memory_kib(mut run: process::Command) -> Result<u64, Failure> {
    let mut process = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = process.stdin.take().expect("it is piped");
    let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
    writeln!(input, "held")?;
    output.read_line(&mut String::new())?;
    let status = fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    drop(input);
    process.wait()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(kib.ok_or("the system does not tell it")?)
}
