//! The units in `examples/systemd`: systemd understands them, and lockctl understands what they start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");

/// The units, by name, with the `lockctl` of this build, and without what their hosts have to have.
fn units() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/systemd");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let unit = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    let mut units: Vec<_> = entries.map(unit).collect();
    units.sort();
    assert_eq!(units.len(), 3, "{units:?}");
    units
}

/// What a unit starts, word by word.
fn command(unit: &str) -> Option<Vec<&str>> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="))?;
    Some(line.split_whitespace().collect())
}

/// Skipped where there is no `systemd-analyze`, but failed where `CI` is `true`: there everything has to be.
#[test]
fn systemd_understands_the_units() {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|place| place.join("systemd-analyze").is_file()) {
        assert!(!lock_servers::is_ci(), "there is no systemd-analyze");
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, unit) in units() {
        let program = command(&unit).map(|words| words[words.len() - 1].to_owned());
        let unit = unit.replace("/usr/bin/lockctl", LOCKCTL);
        let unit = program.map_or(unit.clone(), |program| unit.replace(&program, "/bin/true"));
        let file = directory.path().join(name);
        fs::write(&file, unit).unwrap();
        files.push(file);
    }
    let mut verify = Command::new("systemd-analyze");
    // No pages, which may not be installed.
    let output = verify.args(["verify", "--man=no"]).args(&files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // What it finds in the units of this machine is not ours, and does not make it fail.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| ["backup", "update"].iter().any(|name| line.contains(name)))
        .collect();
    assert!(output.status.success() && ours.is_empty(), "{}: {said}", output.status);
}

#[test]
fn lockctl_understands_what_the_units_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("locks.db").display());
    let mut ran = 0;
    for (name, unit) in units() {
        let Some(words) = command(&unit) else { continue };
        assert_eq!(words[0], "/usr/bin/lockctl", "{name}");
        assert!(unit.contains("KillMode=mixed"), "{name}");
        let end = words.iter().position(|word| *word == "--").expect(&name);
        let mut run = Command::new(LOCKCTL);
        run.args(&words[1..=end]).arg("true").env("LOCKCTL_STORE", &store);
        let output = run.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert_eq!(ran, 2);
}
