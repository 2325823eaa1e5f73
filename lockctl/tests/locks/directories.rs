//! What is true of stores in plain files, and of nothing else: their modes, their strategy, damage, restores.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    STRATEGY, program,
    scene::{Scene, skip},
    world::{LOCKCTL, poll, stderr, stdout},
};

const SHORT: &str = "--lease 4s --kill-grace 0s";

fn namespace(scene: &Scene) -> PathBuf {
    scene.path("locks/default")
}

/// The file that the cell is in.
fn cell(scene: &Scene) -> PathBuf {
    let number = |path: &Path| -> u64 {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.strip_prefix("after-").map_or(0, |number| number.parse().unwrap())
    };
    let files = fs::read_dir(namespace(scene)).unwrap().map(|entry| entry.unwrap().path());
    let is_cell =
        |path: &PathBuf| path.ends_with("cell") || path.to_str().unwrap().contains("/after-");
    files.filter(is_cell).max_by_key(|path| number(path)).unwrap()
}

#[test]
fn init_makes_a_store_for_oneself() {
    let scene = Scene::new();
    let store = scene.world.store.url();
    for _ in 0..2 {
        assert_eq!(stdout(&scene.output("init")), format!("{store} is ready\n"));
    }
    scene.assert_ends("run -l one -- true", 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for path in [scene.path("locks"), namespace(&scene)] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    for path in [scene.path("locks/interlock.json"), cell(&scene)] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn the_history_is_in_the_directory() {
    let scene = Scene::new();
    let mut run = scene.lockctl("run --task job -l one -- true");
    assert!(run.env_remove("LOCKCTL_JOURNAL").status().unwrap().success());
    let journal = scene.path("locks/interlock-history.jsonl");
    assert_eq!(fs::metadata(&journal).unwrap().mode() & 0o777, 0o600);
    let output = scene.lockctl("history").env_remove("LOCKCTL_JOURNAL").output().unwrap();
    assert!(stdout(&output).contains("job"), "{}", stderr(&output));
    scene.assert_ends("run -n -l one -- true", 0);
    assert!(scene.list().is_empty(), "it is no namespace");
}

#[test]
fn cat_shows_who_holds_what() {
    let scene = Scene::new();
    let mut run = scene.hold("--task backup-17 -l app/blog");
    let text = fs::read_to_string(cell(&scene)).unwrap();
    assert!(text.contains("backup-17") && text.contains("\"app/blog\":\"x\""), "{text}");
    run.end();
}

#[test]
fn the_strategy_is_that_of_the_store() {
    let scene = Scene::new();
    scene.assert_ends("init", 0);
    let directory = scene.path("locks").display().to_string();
    scene.assert_ends(&format!("--store file:{directory} run -n -l one -- true"), 0);
    let other = if STRATEGY == "flock" { "excl" } else { "flock" };
    let url = format!("file:{directory}?strategy={other}");
    for rest in ["run -l one -- touch started", "list", "init"] {
        let message = scene.assert_ends(&format!("--store {url} {rest}"), 78);
        assert!(message.contains(&format!("it was made for {STRATEGY}")), "{message}");
    }
    assert!(!scene.path("started").exists());
}

#[test]
fn a_directory_that_is_no_store_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    fs::create_dir(scene.path("mine")).unwrap();
    fs::write(scene.path("mine/notes"), "mine").unwrap();
    fs::write(scene.path("file"), "").unwrap();
    fs::create_dir(scene.path("open")).unwrap();
    fs::set_permissions(scene.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::create_dir(scene.path("empty")).unwrap();
    std::os::unix::fs::symlink(scene.path("empty"), scene.path("link")).unwrap();
    for store in ["mine", "file", "file/locks", "open", "link", "/dev/null"] {
        for rest in ["run -l one -- touch started", "list", "wait one", "release --task x", "init"]
        {
            let url = format!("file:{store}?strategy={STRATEGY}");
            let message = scene.assert_ends(&format!("--store {url} {rest}"), 78);
            assert!(message.contains(store), "{message}");
        }
    }
    assert_eq!(fs::read_dir(scene.path("mine")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(scene.path("empty")).unwrap().count(), 0);
    assert!(!scene.path("started").exists());
}

#[test]
fn a_cell_that_is_none_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    scene.assert_ends("run -l one -- true", 0);
    let cell = cell(&scene);
    let good = fs::read(&cell).unwrap();
    for bad in [&b""[..], b"my notes\n", &good[..good.len() / 2], b"{\"interlock\":2}\nnew\n"] {
        fs::write(&cell, bad).unwrap();
        for rest in ["run -l one -- touch started", "list", "wait one", "release --task x"] {
            let message = scene.assert_ends(rest, 78);
            assert!(message.contains(cell.to_str().unwrap()), "{message}");
        }
        assert_eq!(fs::read(&cell).unwrap(), bad);
    }
    fs::write(&cell, good).unwrap();
    scene.assert_ends("run -n -l one -- true", 0);
    assert!(!scene.path("started").exists());
}

#[test]
fn a_full_disk_is_69_and_loses_nothing() {
    // It takes a file system of one's own: this test runs what follows in a namespace where it may mount one.
    let scene = Scene::new();
    let script = r#"
        mkdir small && mount -t tmpfs -o size=256k none small || exit 99
        LOCKCTL_STORE="file:$PWD/small/locks?strategy=$1"; export LOCKCTL_STORE
        "$0" run -l one -- true || exit 98
        dd if=/dev/zero of=small/filler bs=1k 2>/dev/null
        "$0" run -l one --wait 2s -- touch started; echo "full $?"
        [ -e started ] && echo "it ran all the same"
        rm small/filler
        "$0" run -n -l one -- true; echo "then $?"
        "$0" list --json | grep -c fence
    "#;
    let mut command = scene.world.program("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, LOCKCTL, STRATEGY]);
    let output = command.output().unwrap();
    let text = stdout(&output);
    if matches!(output.status.code(), Some(99)) || text.is_empty() {
        return skip(&format!("no mount namespace: {}", stderr(&output)));
    }
    assert_eq!(text, "full 69\nthen 0\n0\n", "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk is full"), "{}", stderr(&output));
}

/// How `doctor` ends, and what it says with blanks put together; the user has chosen this store for good.
fn doctor(scene: &Scene, arguments: &str) -> (i32, String) {
    fs::create_dir_all(scene.path(".config")).unwrap();
    let config = format!("store = '{}'", scene.world.store.url());
    fs::write(scene.path(".config/lockctl.toml"), config).unwrap();
    let output = scene.output(&format!("doctor {arguments}"));
    let text = stdout(&output);
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    (output.status.code().unwrap(), lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn doctor_looks_at_the_directory() {
    let scene = Scene::new();
    let (status, text) = doctor(&scene, "");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("warn file ") && text.contains("does not exist yet"), "{text}");
    assert!(!scene.path("locks").exists(), "it makes none");

    scene.assert_ends("init", 0);
    let dead = scene.hold("--task crashed -l one");
    dead.kill_all();
    poll("its death is seen", || {
        doctor(&scene, "").1.contains("1 client is dead and hold one of crashed").then_some(())
    });
    let (status, text) = doctor(&scene, "--repair");
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("1 dead client was swept"), "{text}");
    let (status, text) = doctor(&scene, "");
    assert_eq!(status, 0, "{text}");
    assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");
    assert!(text.contains("ok file only "), "{text}");

    fs::write(cell(&scene), "my notes\n").unwrap();
    let (status, text) = doctor(&scene, "");
    assert_eq!(status, 78, "{text}");
    assert!(text.contains("FAIL connect cannot use "), "{text}");
}

#[test]
fn doctor_tells_who_may_only_read() {
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be another user");
    }
    let scene = Scene::new();
    let program = program::for_all(&scene);
    scene.assert_ends("run -l one -- true", 0);
    // Somebody was generous by hand: others may look, and not write.
    let files = fs::read_dir(namespace(&scene)).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.chain([scene.path("locks/interlock.json")]).collect();
    let folders = [scene.path("locks"), namespace(&scene)];
    for (paths, mode) in [(&folders[..], 0o755), (&files[..], 0o644)] {
        for path in paths {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    let mut command = scene.world.program("setpriv");
    command.args(["--reuid", "1003", "--regid", "1003", "--clear-groups"]);
    let output = command.arg(&program).arg("doctor").output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("FAIL  rights     this user may not write to "), "{text}");
}

#[test]
fn a_store_that_is_deleted_takes_the_locks_along() {
    let scene = Scene::new();
    let mut run = scene.hold(&format!("--task job -l one {SHORT}"));
    fs::rename(scene.path("locks"), scene.path("gone")).unwrap();
    // Nobody can be kept out any more, so the command has to end.
    assert_eq!(run.wait().code(), Some(74), "{}", run.err());
    scene.assert_ends("run -n -l one -- true", 0);
}

#[test]
fn a_restored_store_ends_those_runs_that_it_does_not_know() {
    let scene = Scene::new();
    let mut early = scene.hold(&format!("--task early -l two {SHORT}"));
    let copy = |from: &str, to: &str| {
        let status = scene.world.program("cp").args(["-a", from, to]).status().unwrap();
        assert!(status.success());
    };
    copy("locks", "copy");
    let mut late = scene.hold(&format!("--task late -l one {SHORT}"));
    let fence = scene.list().entry("late")["fence"].as_u64().unwrap();
    // As the documentation says: both moves at once, or a client makes a new store in between.
    let (copy, locks) = (scene.path("copy"), scene.path("locks"));
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, copy, rustix::fs::CWD, locks, exchange).unwrap();
    assert_eq!(late.wait().code(), Some(74), "{}", late.err());
    early.end();
    // Fences rise over the restore.
    let output = scene.script("-n -l one", "echo $LOCKCTL_FENCE");
    assert!(stdout(&output).trim().parse::<u64>().unwrap() > fence);
    scene.assert_free();
}

#[test]
fn users_of_a_group_exclude_each_other_and_others_have_no_access() {
    const GROUP: &str = "adm";
    let group = nix::unistd::Group::from_name(GROUP).unwrap();
    let Some(group) = group.filter(|_| rustix::process::geteuid().is_root()) else {
        return skip(&format!("it takes root and the group {GROUP} to be several users"));
    };
    let scene = Scene::new();
    let program = program::for_all(&scene);
    let by = |user: u32, groups: &str, arguments: &str| {
        let mut command = scene.world.program("setpriv");
        let id = user.to_string();
        command.args(["--reuid", &id, "--regid", &id, groups]).arg(&program);
        command.args(arguments.split_whitespace());
        command
    };
    let groups = format!("--groups={}", group.gid);
    scene.assert_ends(&format!("init --group {GROUP}"), 0);
    assert_eq!(fs::metadata(scene.path("locks")).unwrap().mode() & 0o7777, 0o2770);

    let hold = "run --task ann -l one -- sh -c";
    let ann = scene.start(by(1001, &groups, hold).arg(crate::scene::UNTIL_EOF));
    ann.command_pid();
    let file = fs::metadata(cell(&scene)).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (1001, group.gid.as_raw(), 0o660));
    let wait = "run --task bob -l one -- sh -c";
    let mut bob = scene.start(by(1002, &groups, wait).arg(crate::scene::UNTIL_EOF));
    poll("he waits for her", || bob.err().contains("held by ann").then_some(()));
    // Also in a namespace that one of them makes.
    for user in [1002, 1001] {
        let output = by(user, &groups, "--namespace new run -n -l one -- true").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    let output = by(1003, "--clear-groups", "run -l one -- true").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    assert!(stderr(&output).contains("lacks the right"), "{}", stderr(&output));
    ann.kill_all();
    bob.command_pid();
    bob.end();
    scene.assert_free();
}
