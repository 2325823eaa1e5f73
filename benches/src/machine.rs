//! What the numbers were measured on.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use lock_bench_worker::Failure;

use crate::results::{Crate, Machine, Spread};

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
    // What follows is of the kind of machine, of which nobody else may have one.
    let release = release.split('-').next().unwrap_or_default();
    Ok(Machine {
        processor: line(&of("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: kib.unwrap_or(0.0) / f64::from(1 << 20),
        system: format!("{system} {release}"),
        rust: said("rustc", &["--version"]),
        revision: said("git", &["describe", "--always", "--dirty"]),
        disk: disk(&of("/proc/self/mountinfo"), &env::temp_dir()),
        load: of("/proc/loadavg").split(' ').take(2).collect::<Vec<_>>().join(", "),
        sync: sync()?,
    })
}

/// The file system that a folder is in, and what that is on.
fn disk(mounts: &str, folder: &Path) -> String {
    let mount = |line: &str| {
        let (place, system) = line.split_once(" - ")?;
        let point = Path::new(place.split(' ').nth(4)?);
        let mut words = system.split(' ');
        let told = format!("{} on {}", words.next()?, words.next()?);
        folder.starts_with(point).then(|| (point.components().count(), told))
    };
    // Of several at one place the last is seen.
    let innermost = mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth);
    innermost.map(|(_, told)| told).unwrap_or_default()
}

/// What this program and that of the peers were built with, of all that reaches a store.
pub(crate) fn crates() -> Vec<Crate> {
    const OURS: &str = include_str!("../../Cargo.lock");
    const PEERS: &str = include_str!("../peers/Cargo.lock");
    let of = |lock: &str, is_of_peers: bool, names: &[&str]| -> Vec<Crate> {
        let entry = |entry: &str| {
            let value = |key: &str| {
                let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
                Some(line.trim_matches([' ', '=', '"']).to_owned())
            };
            let (name, version) = (value("name")?, value("version")?);
            names.contains(&&*name).then_some(Crate { is_of_peers, name, version })
        };
        lock.split("[[package]]").filter_map(entry).collect()
    };
    let peers =
        ["distributed-lock-file", "distributed-lock-mysql", "distributed-lock-redis", "rslock"];
    let drivers = ["fred", "redis", "rusqlite", "sqlx"];
    [of(OURS, false, &drivers), of(PEERS, true, &[&peers[..], &drivers].concat())].concat()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_is_the_one_of_a_folder() {
        let mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      28 27 0:25 / /tmp rw,relatime shared:1 - tmpfs tmpfs rw\n\
                      29 27 0:26 / /tmpfiles rw - proc proc rw\n";
        assert_eq!(disk(mounts, Path::new("/tmp/a")), "tmpfs on tmpfs");
        assert_eq!(disk(mounts, Path::new("/var/tmp")), "ext4 on /dev/vda");
        assert_eq!(disk("", Path::new("/")), "");
    }

    #[test]
    fn the_versions_of_both_programs_are_known() {
        let crates = crates();
        let of = |is_of_peers: bool, name: &str| {
            crates.iter().filter(|one| one.is_of_peers == is_of_peers && one.name == name).count()
        };
        assert!(of(false, "sqlx") == 1 && of(true, "sqlx") > 0 && of(true, "rslock") == 1);
        assert!(crates.iter().all(|one| one.version.starts_with(|c: char| c.is_ascii_digit())));
    }
}
