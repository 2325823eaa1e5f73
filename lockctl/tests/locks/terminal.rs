//! Ctrl-C in a terminal: it stops the script, and gives back or withdraws what the run has asked for.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt, process::ExitStatusExt},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    scene::Scene,
    world::{content, poll},
};

const CTRL_C: &[u8] = b"\x03";

/// A script that runs in the foreground of a terminal of its own.
struct Script {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    bash: Child,
}

impl Script {
    fn start(scene: &Scene, text: &str) -> Self {
        fs::write(scene.path("script"), text).unwrap();
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        let mut command = Command::new("setsid");
        scene.world.furnish(&mut command);
        command.args(["--ctty", "env", "--default-signal", "bash", "--norc", "script"]);
        command.stdin(terminal.try_clone().unwrap());
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
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
        Script { keyboard, screen, bash }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        poll("bash ends", || self.bash.try_wait().unwrap())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
        if thread::panicking() {
            eprintln!("the screen:\n{}", self.screen());
        }
    }
}

#[test]
fn ctrl_c_stops_the_script_and_gives_back_the_lock() {
    let scene = Scene::new();
    let text = "\"$LOCKCTL\" run --task job -l one -- sh -c 'echo $$ >child; exec sleep 600'\n\
                echo went on >after\n";
    let mut script = Script::start(&scene, text);
    content(&scene.path("child"));
    assert_eq!(scene.list().holders(), ["job"]);
    let mut waiter = scene.queue("waiter", "-l one");
    script.press(CTRL_C);
    assert_eq!(script.wait().signal(), Some(2));
    waiter.command_pid();
    assert!(!scene.path("after").exists());
    waiter.end();
    scene.assert_free();
}

#[test]
fn ctrl_c_while_waiting_stops_the_script_and_leaves_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = "\"$LOCKCTL\" run --task job -l one -- touch started\necho went on >after\n";
    let mut script = Script::start(&scene, text);
    scene.until_waiting("job");
    script.press(CTRL_C);
    assert_eq!(script.wait().signal(), Some(2));
    assert_eq!(scene.list().waiting(), Vec::<String>::new());
    assert!(!scene.path("after").exists() && !scene.path("started").exists());
    holder.end();
    scene.assert_free();
}

#[test]
fn the_waiting_line_is_written_in_place_and_taken_away() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let text = "\"$LOCKCTL\" run --task job -l one -- echo it runs\n";
    let mut script = Script::start(&scene, text);
    // It is written again with another age.
    poll("the line is updated", || {
        (script.screen().matches("\r\x1b[Klockctl: waiting for one: held by holder").count() >= 2)
            .then_some(())
    });
    holder.end();
    assert!(script.wait().success());
    poll("the line is taken away", || {
        script.screen().ends_with("\r\x1b[Kit runs\r\n").then_some(())
    });
    assert_eq!(script.screen().matches('\n').count(), 1, "{:?}", script.screen());
    scene.assert_free();
}
