//! The platform for some seconds, with processes that are killed; and that a rule which is broken is noticed.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// The `lockctl` that was built with this, or else is built now.
fn lockctl() -> &'static Path {
    static LOCKCTL: OnceLock<PathBuf> = OnceLock::new();
    LOCKCTL.get_or_init(|| {
        let lockctl = Path::new(env!("CARGO_BIN_EXE_platform")).with_file_name("lockctl");
        if !lockctl.exists() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let status =
                Command::new(cargo).args(["build", "--locked", "-p", "lockctl"]).status().unwrap();
            assert!(status.success(), "lockctl cannot be built");
        }
        lockctl
    })
}

fn platform(options: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_platform"));
    let command = command.arg("--lockctl").arg(lockctl()).args(options);
    let output = command.env_remove("LOCKCTL_NAMESPACE").env_remove("SUDO_UID").output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{said}");
    (output, said)
}

#[test]
fn no_rule_is_broken_whoever_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("platform.svg");
    let (output, said) = platform(&["--seconds", "7", "--svg", svg.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("no rule was broken"), "{said}");
    assert!(!said.contains(" 0 hit by kill -9"), "nobody was killed: {said}");
    assert!(!said.contains("up to 1 at once"), "nothing ran beside anything: {said}");
    if said.contains("no task runs under another user") {
        eprintln!("in part skipped: it takes root, sudo, and a folder that others may enter");
    } else {
        assert!(!said.contains(" 0 under another user"), "{said}");
    }
    let picture = std::fs::read_to_string(svg).unwrap();
    assert!(picture.contains("app/blog") && picture.contains("full-backup"), "{picture}");
}

#[test]
fn nor_with_stores_that_are_directories() {
    for strategy in ["flock", "excl"] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let store = format!("file:{}/locks?strategy={strategy}", dir.path().display());
        let (output, said) = platform(&["--seconds", "4", "--store", &store]);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let are_others = !said.contains("no task runs under another user");
        assert!(!are_others || !said.contains(" 0 under another user"), "{said}");
    }
}

#[test]
fn one_global_lock_breaks_none_either() {
    let (output, said) = platform(&["--seconds", "2", "--one-lock", "--no-kills"]);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn a_rule_that_is_broken_is_noticed() {
    // All app tasks at the same times, and many more than there are apps.
    let (output, said) =
        platform(&["--seconds", "6", "--seed", "7", "--without-locks", "--no-kills"]);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("BROKEN: the same app twice at once"), "{said}");
    let kept = said.lines().find_map(|line| line.strip_prefix("records and history are in "));
    let kept = Path::new(kept.expect("it says where the evidence is"));
    assert!(kept.join("history.jsonl").exists());
    std::fs::remove_dir_all(kept).unwrap();
}
