//! What is true of stores on a server, whichever it is: above all that the password never shows.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Output};

use rustix::process::Pid;

use crate::{
    scene::{List, Scene},
    store::{PASSWORD, SCHEME, SECRET},
    world::{poll, stderr, stdout},
};

/// Every command that uses a store.
pub(crate) const ALL: [&str; 10] = [
    "run -l one -- touch started",
    "acquire --pid 1 -l one",
    "list",
    "list --json",
    "why one",
    "wait one",
    "release --task x",
    "release --pid 1",
    "kill --task x",
    "init",
];

/// What `lockctl` with these arguments comes to on this store; the password never shows.
#[track_caller]
pub(crate) fn on(scene: &Scene, url: &str, arguments: &str) -> Output {
    let output = scene.lockctl(arguments).env("LOCKCTL_STORE", url).output().unwrap();
    assert_secret(&(stdout(&output) + &stderr(&output)));
    output
}

#[track_caller]
pub(crate) fn assert_ends(scene: &Scene, url: &str, arguments: &str, status: i32) -> String {
    let output = on(scene, url, arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments}: {}", stderr(&output));
    stderr(&output)
}

#[track_caller]
pub(crate) fn assert_secret(text: &str) {
    assert!(!text.contains(SECRET), "the password shows: {text}");
}

/// All that the system shows of a process.
fn shown_of(pid: Pid) -> String {
    let file = |name| {
        String::from_utf8_lossy(&fs::read(format!("/proc/{}/{name}", pid.as_raw_pid())).unwrap())
            .into_owned()
    };
    file("cmdline") + "\n" + &file("environ")
}

fn child_of(parent: Pid) -> Option<Pid> {
    let id = parent.as_raw_pid();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    Pid::from_raw(children.split_whitespace().next()?.parse().unwrap())
}

pub(crate) fn configure(scene: &Scene, url: &str) {
    fs::create_dir_all(scene.path(".config")).unwrap();
    fs::write(scene.path(".config/lockctl.toml"), format!("store = '{url}'")).unwrap();
}

#[test]
fn a_password_in_the_variable_reaches_neither_the_command_nor_those_who_look_at_it() {
    let scene = Scene::new();
    let url = scene.world.store.url_with_password();
    let start = |options: &str| {
        let script = "echo $$; \"$LOCKCTL\" list; echo $?; exec cat";
        scene.start(scene.script_command(options, script).env("LOCKCTL_STORE", &url))
    };
    let mut holder = start("--task holder -l one");
    let command = holder.command_pid();
    // A lockctl in the command cannot use the store, and says so and why.
    assert_eq!(holder.line(1), "78");
    let refusal = format!("lockctl: store given by LOCKCTL_STORE: the password of {SCHEME}://");
    for word in [&*refusal, "password-file"] {
        assert!(holder.err().contains(word), "no {word} in {}", holder.err());
    }
    let waiter = start("--task waiter -l one");
    waiter.says("waiting for one: held by holder");
    let shim = poll("its shim is there", || child_of(waiter.pid()));
    for pid in [command, shim] {
        assert_secret(&shown_of(pid));
    }
    let shown = format!("{SCHEME}://test:***@");
    let variable = format!("LOCKCTL_STORE={shown}");
    assert!(shown_of(command).contains(&variable), "{}", shown_of(command));
    for text in [holder.out(), holder.err(), waiter.err()] {
        assert_secret(&text);
    }
    let list = on(&scene, &url, "list --json");
    assert!(stdout(&list).contains(&format!("\"store\": \"{shown}")), "{}", stdout(&list));
    let table = on(&scene, &url, "list");
    assert!(stdout(&table).contains("holder"), "{}", stdout(&table));
    holder.end();
    drop(waiter);
}

#[test]
fn a_password_in_the_configuration_is_found_by_the_command_itself() {
    let scene = Scene::new();
    configure(&scene, &scene.world.store.url_with_password());
    let script = "cd /; echo $$; echo ${LOCKCTL_STORE-none} $LOCKCTL_TASK_ID; \
                  \"$LOCKCTL\" run -n -l one -- sh -c 'echo $LOCKCTL_TASK_ID'; echo $?; exec cat";
    let mut command = scene.script_command("--task outer -l one", script);
    let mut run = scene.start(command.env_remove("LOCKCTL_STORE"));
    assert_secret(&shown_of(run.command_pid()));
    let (first, inner) = (run.line(1), run.line(2));
    let (store, outer) = first.split_once(' ').unwrap();
    assert_eq!(store, "none");
    assert!(inner.starts_with(outer) && inner != outer, "{inner} is not below {outer}");
    assert_eq!(run.line(3), "0");
    let list = List::of(scene.lockctl("list --json").env_remove("LOCKCTL_STORE"));
    assert_eq!(list.holders(), ["outer"]);
    assert_secret(&list.0.to_string());
    run.end();
}

#[test]
fn a_password_in_a_configuration_that_everybody_can_read_is_warned_of() {
    let scene = Scene::new();
    let store = &scene.world.store;
    let told = |url: &str, mode: u32| {
        configure(&scene, url);
        let config = scene.path(".config/lockctl.toml");
        fs::set_permissions(config, fs::Permissions::from_mode(mode)).unwrap();
        let mut doctor = scene.lockctl("doctor");
        let text = stdout(&doctor.env_remove("LOCKCTL_STORE").output().unwrap());
        assert_secret(&text);
        assert!(text.contains("ok    connect "), "{text}");
        text.lines().any(|line| line.starts_with("warn  password "))
    };
    let open = store.url_with_password();
    assert!(told(&open, 0o644));
    assert!(!told(&open, 0o600));
    assert!(!told(store.url(), 0o644), "it names a file");
}

#[test]
fn a_password_in_a_file_serves_the_command_too_wherever_it_goes() {
    let scene = Scene::new();
    let url = scene.world.store.url().replace(&scene.path("").display().to_string(), "");
    assert!(url.ends_with("?password-file=password"), "{url}");
    let script = "cd /; echo $$; echo $LOCKCTL_TASK_ID; \
                  \"$LOCKCTL\" run -n -l one -- sh -c 'echo $LOCKCTL_TASK_ID'; echo $?; exec cat";
    let mut run = scene.start_script(&format!("--store {url} --task outer -l one"), script);
    assert_secret(&shown_of(run.command_pid()));
    let (outer, inner) = (run.line(1), run.line(2));
    assert!(inner.starts_with(&outer) && inner != outer, "{inner} is not below {outer}");
    assert_eq!(run.line(3), "0");
    assert_eq!(scene.list().holders(), ["outer"]);
    run.end();
}

#[test]
fn a_password_in_the_arguments_is_refused() {
    let scene = Scene::new();
    let url = scene.world.store.url_with_password();
    for rest in ALL {
        let mut command = scene.lockctl("--store");
        let output = command.arg(&url).args(rest.split_whitespace()).output().unwrap();
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("password-file=PATH"), "{said}");
        assert_secret(&said);
    }
    assert!(!scene.path("started").exists());
}

#[test]
fn a_password_file_that_others_can_read_is_78() {
    let scene = Scene::new();
    let url = scene.world.store.url().to_owned();
    let file = scene.path("password");
    for mode in [0o604, 0o602] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        for rest in ALL {
            let message = assert_ends(&scene, &url, rest, 78);
            assert!(message.contains("/password: every user"), "{message}");
        }
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&file, "wrong\n").unwrap();
    assert_ends(&scene, &url, "list", 78);
    // Only the first line counts.
    fs::write(&file, format!("{PASSWORD}\nand more\n")).unwrap();
    assert_ends(&scene, &url, "list", 0);
    fs::remove_file(&file).unwrap();
    assert_ends(&scene, &url, "list", 78);
    assert!(!scene.path("started").exists());
}

#[test]
fn groups_are_for_files() {
    let scene = Scene::new();
    let message = scene.assert_ends("init --group root", 64);
    assert!(message.contains("--group is for stores that are files"), "{message}");
}

#[test]
fn two_namespaces_at_once_are_one_too_many() {
    let scene = Scene::new();
    let url = format!("{}&namespace=web", scene.world.store.url());
    let mut holder = scene.hold("--namespace web --task holder -l one");
    for rest in ["run -n -l one -- true", "--namespace web run -n -l one -- true"] {
        assert_ends(&scene, &url, rest, 75);
    }
    for rest in ALL {
        let message = assert_ends(&scene, &url, &format!("--namespace other {rest}"), 78);
        assert!(message.contains("\"web\"") && message.contains("\"other\""), "{message}");
    }
    assert!(!scene.path("started").exists());
    // The command of a run is in the namespace of its URL too.
    let script = "\"$LOCKCTL\" list --json";
    let mut run = scene.script_command("--task inside -l two", script);
    let list = List::of(run.env("LOCKCTL_STORE", &url));
    assert_eq!(list.holders(), ["holder", "inside"]);
    holder.end();
}

#[test]
fn a_server_that_is_not_there_is_69() {
    let scene = Scene::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let url = format!("{SCHEME}://test:{SECRET}@127.0.0.1:{port}/1");
    for rest in ["run -l one --wait 500ms -E 0 -- touch started", "init"] {
        let message = assert_ends(&scene, &url, rest, 69);
        assert!(message.contains(&format!("127.0.0.1:{port}/1")), "{message}");
    }
    assert!(!scene.path("started").exists());
}
