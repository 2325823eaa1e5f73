//! Installs what tests need of the system, where that may be done without asking.

use std::fs;
use std::path::Path;
use std::process::Command;

use lock_servers::{find_program, is_ci};

use crate::steps::Failure;

/// Programs that trials use, and Debian's packages with them.
const PROGRAMS: [(&str, &str); 13] = [
    ("faketime", "faketime"),
    ("flock", "util-linux"),
    ("ip", "iproute2"),
    ("man", "man-db"),
    ("mount", "mount"),
    ("ps", "procps"),
    ("setpriv", "util-linux"),
    ("sqlite3", "sqlite3"),
    ("strace", "strace"),
    ("sudo", "sudo"),
    ("systemd-analyze", "systemd"),
    ("tmux", "tmux"),
    ("unshare", "util-linux"),
];

/// Names the packages that are missing, without which some trials are skipped. Where `CI` is `true` they
/// would fail: there the packages are installed, if this is root on a Debian system.
pub(crate) fn install() -> Result<(), Failure> {
    let missing = |program: &str| find_program(program, None).is_none();
    let programs = PROGRAMS.iter().filter(|(program, _)| missing(program));
    let mut packages: Vec<&str> = programs.map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let is_debian = !missing("apt-get") && Path::new("/etc/debian_version").exists();
    if !is_ci() || !is_root() || !is_debian {
        println!("xtask: not installed here, so that some trials skip: {}", packages.join(" "));
        if is_debian {
            println!("xtask: to have them: apt-get install {}", packages.join(" "));
        }
        return Ok(());
    }
    println!("xtask: installing {}", packages.join(" "));
    // Lists of packages may be there already, and good.
    if apt_get("install", &packages).is_err() {
        apt_get("update", &[])?;
        apt_get("install", &packages)?;
    }
    Ok(())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn apt_get(verb: &str, packages: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-y", "--no-install-recommends", verb]).args(packages);
    let output = command.env("DEBIAN_FRONTEND", "noninteractive").output();
    let output = output.map_err(|e| format!("apt-get: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("apt-get {verb}: {}: {}", output.status, said.trim()))
}
