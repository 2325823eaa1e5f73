//! What the numbers were measured on.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use lock_bench_worker::Failure;

use crate::results::{Machine, Spread};

/// How often a page is written and synced.
const SYNCS: usize = 100;

pub(crate) fn look() -> Result<Machine, Failure> {
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_start_matches([':', ' ', '\t']).trim().to_owned()
    };
    let kib = line(&of("/proc/meminfo"), "MemTotal").split(' ').next().unwrap_or("0").parse();
    let uname = rustix::system::uname();
    let (system, release) = (uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
    Ok(Machine {
        processor: line(&of("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
        system: format!("{system} {release}"),
        rust: said("rustc", &["--version"]),
        revision: said("git", &["describe", "--always", "--dirty"]),
        load: of("/proc/loadavg").split(' ').take(2).collect::<Vec<_>>().join(", "),
        sync: sync()?,
    })
}

/// What a program says in one line, or nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let output = output.filter(|output| output.status.success());
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn sync() -> Result<Spread, Failure> {
    let folder = tempfile::tempdir()?;
    let mut file = File::create_new(folder.path().join("synced"))?;
    let mut samples = Vec::new();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        samples.push(start.elapsed());
    }
    Ok(Spread::of(samples))
}
