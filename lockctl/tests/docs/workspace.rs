//! Commands of cargo, in blocks and in tables of what to type: each is run as it is written, at the root
//! of a copy of the repository, for some write into it.
//!
//! They build, measure, fuzz and test clusters, which takes an hour: `cargo xtask check` runs them, for a
//! release. A command that serves until somebody ends it says that Ctrl-C ends it: then what follows in its
//! block is run, and after that it is ended so.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    blocks,
    page::{Block, Language, comments},
    root,
    shell::of_lockctl,
    tree::{Page, files, text},
};

/// What is not run here, and why.
const LEFT_OUT: [(&str, &str); 3] = [
    ("cargo xtask test", "each change has to pass it, and it runs the other tests of this program"),
    (".ci/run", "each change has to pass it, and it begins with the former"),
    ("cargo xtask check", "it runs this test"),
];

/// Commands in a line of text that nobody can type as they stand, or not here.
const IN_PASSING: [(&str, &str); 6] = [
    ("cargo publish --workspace", "it publishes"),
    ("cargo test --test conformance", "in the reader's crate, as xtask does it in the example"),
    ("cargo test --test conformance -- ::contract::", "the same"),
    ("LOCK_CONFORMANCE_SEED=1234 cargo test --test conformance -- --exact NAME", "the same"),
    ("LOCK_CONFORMANCE_SOAK_SECONDS=3600 cargo test --test conformance", "the same"),
    ("cargo run … -p lockctl --", "how commands of this program may begin"),
];

/// Chooses the commands that have this in them, to try one.
const ONLY: &str = "INTERLOCK_COMMANDS";

/// Commands that belong together.
struct Typed {
    place: String,
    commands: Vec<String>,
}

/// What came of a command.
enum Outcome {
    Ended(std::process::ExitStatus),
    Serves(Serving),
}

/// A command that serves; what it reads and prints stays open.
struct Serving {
    child: Child,
    _stdin: ChildStdin,
    _stdout: BufReader<ChildStdout>,
}

/// Whether a block is for here.
pub(crate) fn has_commands_of_cargo(block: &Block) -> bool {
    let is_of_cargo = |command: &str| of_lockctl(command).split_whitespace().any(|w| w == "cargo");
    match block.language {
        Language::Console => block.steps().iter().any(|step| is_of_cargo(&step.command)),
        Language::Script => block.text.lines().any(is_of_cargo),
        Language::Sql | Language::Other => false,
    }
}

#[test]
#[ignore = "it takes an hour, and is for releases: cargo xtask check"]
fn commands_of_cargo() {
    let copy = copy();
    let only = env::var(ONLY).unwrap_or_default();
    let (mut ran, mut failed) = (BTreeSet::new(), Vec::new());
    for typed in typed() {
        let mut serving = Vec::new();
        for command in typed.commands.iter().filter(|command| command.contains(&only)) {
            if let Some((_, why)) = LEFT_OUT.iter().find(|(left_out, _)| left_out == command) {
                println!("==> not {command}: {why}");
                continue;
            }
            if !ran.insert(command.clone()) {
                continue;
            }
            println!("==> {}: {command}", typed.place);
            match run(command, &copy) {
                Outcome::Serves(server) => serving.push((command, server)),
                Outcome::Ended(status) if status.success() => {}
                Outcome::Ended(status) => {
                    failed.push(format!("{}: {command}: {status}", typed.place));
                }
            }
        }
        for (command, server) in serving {
            if let Err(why) = server.interrupt() {
                failed.push(format!("{}: {command}: {why}", typed.place));
            }
        }
    }
    assert!(!ran.is_empty(), "no page has such a command");
    assert!(failed.is_empty(), "not as the pages say:\n{}", failed.join("\n"));
}

#[test]
fn commands_of_cargo_in_passing_are_run_too() {
    let run: Vec<String> = typed().into_iter().flat_map(|typed| typed.commands).collect();
    // A command may be named without its options.
    let is_run =
        |code: &str| run.iter().any(|run| format!("{run} ").starts_with(&format!("{code} ")));
    let in_passing = |code: &str| IN_PASSING.iter().any(|(passing, _)| *passing == code);
    let mut unknown = Vec::new();
    let pages = files("md").into_iter().map(|path| (text(&path), path));
    let comments = files("rs").into_iter().map(|path| (comments(&text(&path)), path));
    for (page, path) in pages.chain(comments) {
        for (code, line) in Page::read(&page).codes {
            let is_command = code.contains("cargo ") || code.starts_with(".ci/");
            if is_command && !is_run(&code) && !in_passing(&code) {
                unknown.push(format!("{}:{line}: {code}", path.display()));
            }
        }
    }
    assert!(run.len() > 10, "only {} commands were found", run.len());
    assert!(unknown.is_empty(), "nobody runs:\n{}", unknown.join("\n"));
}

/// All of them, as they belong together.
fn typed() -> Vec<Typed> {
    let mut all = Vec::new();
    for block in blocks().into_iter().filter(has_commands_of_cargo) {
        let commands = match block.language {
            Language::Console => block.steps().into_iter().map(|step| step.command).collect(),
            _ => vec![block.text],
        };
        all.push(Typed { place: block.place, commands });
    }
    for path in files("md") {
        let text = text(&path);
        let table = text.lines().skip_while(|line| *line != "| to | type |").skip(2);
        let rows = table.take_while(|line| line.starts_with('|'));
        let commands = rows.map(|row| row.split('`').nth(1).expect(row).to_owned()).collect();
        all.push(Typed { place: path.display().to_string(), commands });
    }
    all
}

/// The repository as it is now, with a folder of its own for what is built, which stays.
///
/// It is always in the same place: cargo does not notice that what it has built was somewhere else.
fn copy() -> PathBuf {
    let copy = root().join("target/commands");
    fs::create_dir_all(&copy).unwrap();
    let copy = copy.canonicalize().unwrap();
    let script = "
        set -eo pipefail
        find \"$0\" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
        tar --exclude=target --exclude=.git -cf - . | tar -xmf - -C \"$0\"";
    let copied = Command::new("bash").args(["-c", script]).arg(&copy).current_dir(root()).status();
    assert!(copied.unwrap().success());
    copy
}

/// Runs a command until it ends, or serves.
fn run(command: &str, copy: &Path) -> Outcome {
    let mut shell = Command::new("bash");
    // What cargo tells this test of its crate.
    let of_cargo =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars().filter(|(name, _)| of_cargo(name)) {
        shell.env_remove(name);
    }
    let mut child = shell
        .args(["-c", command])
        .current_dir(copy)
        .env_remove("CARGO_TARGET_DIR")
        // What it shows and installs is not for this user.
        .env("BROWSER", "true")
        .env("CARGO_INSTALL_ROOT", copy.join("installed"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).unwrap() > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        if text.contains("Ctrl-C ends") {
            return Outcome::Serves(Serving { child, _stdin: stdin, _stdout: stdout });
        }
        line.clear();
    }
    Outcome::Ended(child.wait().unwrap())
}

impl Serving {
    /// Ends it as Ctrl-C does. It is the shell's child no more: both became what they were to run.
    fn interrupt(mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        let status = self.child.wait().unwrap();
        match status.signal() {
            Some(signal) if signal == Signal::INT.as_raw() => Ok(()),
            _ => Err(status.to_string()),
        }
    }
}
