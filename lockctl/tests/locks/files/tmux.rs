//! A terminal as people have one: tmux, which tells what is on the screen, not only what was written to it.

use std::process::{Command, Output};

use crate::{
    scene::Scene,
    world::{poll, stderr, stdout},
};

/// A tmux server with one window, in which a shell runs.
pub(super) struct Tmux<'a> {
    scene: &'a Scene,
}

impl<'a> Tmux<'a> {
    /// One of so many columns and rows; none where there is no tmux.
    pub(super) fn new(scene: &'a Scene, columns: u16, rows: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(!lock_servers::is_ci(), "there is no tmux");
            eprintln!("skipped: there is no tmux");
            return None;
        }
        let tmux = Tmux { scene };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = "env --default-signal PS1='$ ' bash --norc";
        let size = ["-x", &columns, "-y", &rows];
        tmux.tmux(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[shell]].concat());
        poll("the shell is there", || tmux.screen().contains('$').then_some(()));
        Some(tmux)
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        self.scene.world.furnish(&mut command);
        command.env_remove("TMUX").env_remove("NO_COLOR").env("LANG", "C.UTF-8").arg("-S");
        let output = command.arg(self.scene.path("tmux")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        output
    }

    /// Types text and the enter key.
    pub(super) fn enter(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.key("Enter");
    }

    /// Presses a key by its name, such as `C-c`.
    pub(super) fn key(&self, name: &str) {
        self.tmux(&["send-keys", name]);
    }

    /// Makes the window larger or smaller.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows]);
    }

    /// What is to be seen, line by line, without trailing blanks.
    pub(super) fn screen(&self) -> String {
        stdout(&self.tmux(&["capture-pane", "-p"]))
    }

    /// The same with the escape sequences of its colours.
    pub(super) fn coloured(&self) -> String {
        stdout(&self.tmux(&["capture-pane", "-p", "-e"]))
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub(super) fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            poll(what, || {
                last = self.screen();
                is_so(&last).then(|| last.clone())
            })
        }));
        seen.unwrap_or_else(|_| panic!("never was it so that {what}; the screen:\n{last}"))
    }

    #[track_caller]
    pub(super) fn shows(&self, text: &str) -> String {
        self.until(&format!("{text:?} is shown"), |screen| screen.contains(text))
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        let _ = command.arg("-S").arg(self.scene.path("tmux")).arg("kill-server").output();
    }
}
