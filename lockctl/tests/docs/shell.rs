//! A shell in a directory of its own, with what the pages take for granted.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    page::{Block, Language, Step, matches},
    server::Server,
};

const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");
/// The scripts that are under locks in the pages; they are the reader's own.
const SCRIPTS: [&str; 6] =
    ["backup.sh", "restart.sh", "update.sh", "cleanup.sh", "report.sh", "upload.sh"];
/// What ends what a command prints.
const MARK: &str = "\u{1e}";
/// How the pages call this host.
const HOST: &str = "web1";
/// What root's commands find where root's store and journals are: nothing, whatever this host has there.
const EMPTY_STATE: &str = "mkdir -p /var/lib/lockctl && mount -t tmpfs none /var/lib/lockctl \
                           && mount -t tmpfs none /var/log";
/// How long a block may take at most.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct Shell<'s> {
    dir: tempfile::TempDir,
    server: Option<&'s Server>,
}

impl<'s> Shell<'s> {
    /// One in which this server stands for that of the pages.
    pub(crate) fn new(server: Option<&'s Server>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        for name in SCRIPTS {
            script(name, "#!/bin/sh\n");
        }
        for folder in ["bin", "blog", "home"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("blog/index.html"), "").unwrap();
        std::os::unix::fs::symlink(LOCKCTL, dir.path().join("bin/lockctl")).unwrap();
        for (name, text) in server.iter().flat_map(|server| &server.clients) {
            script(&format!("bin/{name}"), text);
        }
        Shell { dir, server }
    }

    /// Runs a block; panics if it does not come to what is shown.
    pub(crate) fn run(&self, block: &Block) {
        match block.language {
            Language::Console => self.console(block),
            Language::Script => {
                let lines = block.text.lines().filter(|line| !line.trim().is_empty());
                let script: String = lines.map(|line| self.line(line) + "\n").collect();
                let strict = "set -eE; trap 'echo \"it is this: $BASH_COMMAND\"' ERR";
                let (output, status) = self.bash(&format!("{strict}\n{script}"));
                assert_eq!(status, Some(0), "{}: {output}", block.place);
            }
            Language::Sql | Language::Other => {}
        }
    }

    fn console(&self, block: &Block) {
        let steps = block.steps();
        let mark = format!("\n__status=$?; printf '\\n{MARK}%s\\n' $__status; (exit $__status)\n");
        let mut script = String::new();
        for step in &steps {
            script += &self.line(&step.command);
            script.push_str(&mark);
        }
        let (output, _) = self.bash(&script);
        let mut parts = output.split('\u{1e}');
        let mut printed = parts.next().unwrap_or_default().to_owned();
        for (at, step) in steps.iter().enumerate() {
            let after = parts
                .next()
                .unwrap_or_else(|| panic!("{}: no end of {step:?}: {output}", block.place));
            let (status, next) = after.split_once('\n').unwrap();
            let is_asked = steps.get(at + 1).is_some_and(|next| next.command == "echo $?");
            assert!(
                status == "0" || is_asked,
                "{}: `{}` ended with {status}:\n{printed}",
                block.place,
                step.command
            );
            check(block, step, &printed);
            next.clone_into(&mut printed);
        }
    }

    /// A command as it is typed here.
    fn line(&self, command: &str) -> String {
        let command = self.typed(command);
        let Some(beside) = command.strip_suffix(" &") else { return command };
        if !beside.starts_with("lockctl ") {
            return format!("{beside} >/dev/null 2>&1 &");
        }
        // It is known when it is in the list.
        let count = "lockctl list --json | grep -c '\"task_id\"' || true";
        format!(
            "__before=$({count}); {beside} >/dev/null 2>&1 & while [ \"$({count})\" = \"$__before\" ]; \
             do sleep 0.05; done; true"
        )
    }

    fn typed(&self, command: &str) -> String {
        let command = of_lockctl(command).replace("--at-least 2m", "--at-least 1s");
        match self.server {
            Some(server) => command.replace(server.named, &server.url),
            None => command,
        }
    }

    /// Runs a script, and whatever it left running is ended with it.
    fn bash(&self, script: &str) -> (String, Option<i32>) {
        let out = self.dir.path().join("out");
        let mut script = format!(
            "exec >{out} 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}",
            out = out.display()
        );
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("setsid");
        command.arg("--wait");
        if is_root_apart() {
            command.args(["unshare", "--mount"]);
            script = format!("{EMPTY_STATE} || exit\n{script}");
        }
        command
            .args(["bash", "--norc", "-c", &script])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()))
            // Pages write to the home of their reader.
            .env("HOME", self.dir.path())
            .env("LOCKCTL_STORE", format!("sqlite:{}", self.store().display()))
            .env_remove("LOCKCTL_NAMESPACE")
            .env_remove("SUDO_UID")
            .env("NO_COLOR", "1");
        if self.server.is_some() {
            // That of a server would be the whole host's.
            command.env("LOCKCTL_JOURNAL", self.dir.path().join("history.jsonl"));
        }
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                panic!("it does not end:\n{script}\n{}", fs::read_to_string(&out).unwrap());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        (fs::read_to_string(&out).unwrap(), status.code())
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("locks.db")
    }
}

/// A command, in which `lockctl` needs no cargo.
pub(crate) fn of_lockctl(command: &str) -> String {
    ["cargo run --release -p lockctl -- ", "cargo run -p lockctl -- "]
        .iter()
        .fold(command.to_owned(), |command, prefix| command.replace(prefix, "lockctl "))
}

/// Whether this is root, and the machine lets it have mounts of its own; containers may not.
pub(crate) fn is_root_apart() -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", EMPTY_STATE]);
    command.output().is_ok_and(|output| output.status.success())
}

fn check(block: &Block, step: &Step, printed: &str) {
    if step.output.is_empty() {
        return;
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let printed = printed.replace(&format!("on {host}"), &format!("on {HOST}"));
    let lines: Vec<String> =
        printed.lines().map(str::to_owned).filter(|line| !line.trim().is_empty()).collect();
    let shown: Vec<String> =
        step.output.iter().filter(|line| !line.trim().is_empty()).cloned().collect();
    assert!(
        matches(&shown, &lines),
        "{}: `{}` is to print\n{}\nand prints\n{printed}",
        block.place,
        step.command,
        shown.join("\n")
    );
}
