//! What CMD gets, as if `lockctl` were not there: stdin, arguments, environment, signals, files.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    process::Stdio,
};

use crate::world::{World, code, stderr, stdout};

#[test]
fn stdin_and_stdout_are_the_commands_own() {
    let world = World::new();
    let mut command = world.run_job(["cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hi\0there").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"hi\0there");
}

#[test]
fn every_argument_arrives_as_it_is() {
    let arguments: [OsString; 8] = [
        "".into(),
        "--".into(),
        "-x".into(),
        "--help".into(),
        "--store".into(),
        "a b\n".into(),
        "__shim".into(),
        OsString::from_vec(vec![0xff, b'=']),
    ];
    let expected: Vec<u8> =
        arguments.iter().flat_map(|a| [a.clone().into_vec(), vec![0]].concat()).collect();
    let world = World::new();
    for separator in [Some("--"), None] {
        let mut command = world.run_job(separator);
        command.args(["printf", "%s\\0"]).args(&arguments);
        let output = command.output().unwrap();
        assert_eq!(output.stdout, expected, "{}", stderr(&output));
    }
}

#[test]
fn the_environment_names_the_task_and_the_store_but_no_password() {
    let world = World::new();
    let script = r#"echo "$LOCKCTL_TASK $LOCKCTL_STORE ${LOCKCTL_NAMESPACE-none} $MORE""#;
    let mut command =
        world.run_job(["--store", "sqlite:here.db", "--task", "job", "sh", "-c", script]);
    command.env("MORE", "more").env("LOCKCTL_STORE", "mysql://u:secret@h");
    let output = command.env("LOCKCTL_NAMESPACE", "").output();
    let here = fs::canonicalize(world.path(".")).unwrap().join("here.db");
    let expected = format!("job sqlite:{} none more\n", here.display());
    assert_eq!(stdout(&output.unwrap()), expected);
    let unnamed = world.run_job(["--namespace", "web", "sh", "-c", script]).output().unwrap();
    let text = stdout(&unnamed);
    assert!(text.starts_with("sh-") && text.contains(" web "), "{text}");
}

#[test]
fn signals_files_and_limits_are_as_without_lockctl() {
    let world = World::new();
    let look =
        "grep -E 'Sig(Blk|Ign)|ShdPnd' /proc/self/status; ls /proc/self/fd; ulimit -a; umask";
    let with = |program: &str| {
        // As much core as may be: the shim takes it away for a while.
        let script = format!("ulimit -S -c $(ulimit -H -c); exec {program} sh -c \"$LOOK\"");
        world.program("sh").args(["-c", &script]).env("LOOK", look).output().unwrap()
    };
    let (plain, under) = (with("env"), with(r#""$LOCKCTL" run -l job"#));
    assert_ne!(stdout(&plain), "");
    assert_eq!(stdout(&under), stdout(&plain));
    let piped = world.run_job(["sh", "-c", "yes | head -1"]).output().unwrap();
    assert_eq!((stdout(&piped).as_str(), stderr(&piped).as_str()), ("y\n", ""));
}

#[test]
fn signals_ignored_at_start_stay_ignored() {
    let world = World::new();
    let script =
        r#"trap "" HUP USR1 TSTP; exec "$LOCKCTL" run -l job grep SigIgn /proc/self/status"#;
    let output = world.program("sh").args(["-c", script]).output().unwrap();
    let text = stdout(&output);
    let ignored = u64::from_str_radix(text.split_whitespace().last().unwrap(), 16).unwrap();
    for signal in [1, 10, 20] {
        assert_ne!(ignored & (1 << (signal - 1)), 0, "{signal} is not in {text}");
    }
}

#[test]
fn a_log_file_gets_both_streams_appended() {
    let world = World::new();
    for line in ["one", "two"] {
        let script = format!("echo {line}; echo {line}! >&2");
        let arguments = ["--log-file", "log", "--", "sh", "-c", &script];
        let output = world.run_job(arguments).output().unwrap();
        assert_eq!(code(output.status), 0);
        assert_eq!(stdout(&output) + &stderr(&output), "");
    }
    assert_eq!(fs::read_to_string(world.path("log")).unwrap(), "one\none!\ntwo\ntwo!\n");
    let mode = fs::metadata(world.path("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    let failed = world.run_job(["--log-file", "log", "--", "./none"]).output().unwrap();
    assert!(stderr(&failed).contains("./none"), "why nothing ran is for who started it");
}
