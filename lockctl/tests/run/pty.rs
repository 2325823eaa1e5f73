//! A pseudo terminal with a bash in it, and the keys that a user presses there.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::world::{World, poll};

/// Ctrl-C.
pub(crate) const CTRL_C: &str = "\x03";
/// Ctrl-Z.
pub(crate) const CTRL_Z: &str = "\x1a";

/// A bash that leads the session of a terminal.
pub(crate) struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    pub(crate) bash: Child,
}

impl Terminal {
    pub(crate) fn bash(world: &World, arguments: &[&str]) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let path = OsStr::from_bytes(name.as_bytes());
        let slave: OwnedFd = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)
            .unwrap()
            .into();
        let mut command = Command::new("setsid");
        world.furnish(&mut command);
        // Whatever signals the test was started to ignore, a user's shell does not.
        command.args(["--ctty", "env", "--default-signal", "bash", "--norc"]).args(arguments);
        command.env("PS1", "$ ").env_remove("PROMPT_COMMAND");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let bash = command.spawn().unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut reader, shown) = (keyboard.try_clone().unwrap(), screen.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Terminal { keyboard, screen, bash }
    }

    /// Runs a script file, as a user does from a terminal.
    pub(crate) fn script(world: &World, text: &str) -> Self {
        fs::write(world.path("script"), text).unwrap();
        Self::bash(world, &["script"])
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn shows(&self, text: &str) {
        poll(&format!("{text:?} is shown"), || self.screen().contains(text).then_some(()));
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        poll("bash ends", || self.bash.try_wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
        if thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
    }
}
