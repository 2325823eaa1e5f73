//! `doctor` on a server: rights, durability, packets, and servers that are behind.

use std::{net::TcpListener, process::Output};

use lock_servers::Instance;

use crate::passwords::{assert_ends, assert_secret, configure, on};
use crate::{
    scene::Scene,
    store::Store,
    world::{stderr, stdout},
};

/// What `doctor` says of this store.
#[track_caller]
fn doctor(scene: &Scene, url: &str, status: i32) -> String {
    // What other stores there are does not matter to a user who has chosen this one.
    configure(scene, url);
    let output: Output = on(scene, url, "doctor");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(status), "{text}{}", stderr(&output));
    // Columns are for the eye.
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in:\n{text}");
}

#[test]
fn with_the_rights_that_it_needs_all_is_well() {
    let scene = Scene::new();
    let url = scene.world.store.url_of_user_with("SELECT, INSERT, UPDATE");
    let mut run = scene.hold("-l one");
    let text = doctor(&scene, &url, 0);
    assert!(text.lines().all(|line| line.starts_with("ok ")), "{text}");
    for part in [
        "ok connect the store can be read",
        "ok table 1 held, 0 waiting, ",
        "ok server 127.0.0.1:",
        "may do what is needed",
        "ok durability a crash of the server forgets nothing",
        "ok packet max_allowed_packet has room for ",
        "ok network ",
    ] {
        has(&text, part);
    }
    run.end();
}

#[test]
fn rights_that_are_missing_or_too_many_are_told_as_what_to_type() {
    let scene = Scene::new();
    let store = &scene.world.store;
    for (rights, lacking) in [("SELECT", "INSERT and UPDATE"), ("SELECT, INSERT", "UPDATE")] {
        let text = doctor(&scene, &store.url_of_user_with(rights), 78);
        has(&text, "FAIL rights u");
        has(&text, &format!(" lacks {lacking}: GRANT SELECT, INSERT, UPDATE ON `lockctl_"));
    }
    let text = doctor(&scene, &store.url_with_password(), 1);
    has(
        &text,
        "warn rights test@% may do anything, also write a server that is read-only: use an account",
    );
    let text = doctor(&scene, &store.url_of_user_with("INSERT"), 78);
    has(&text, "FAIL connect ");
}

#[test]
fn a_table_of_another_engine_is_named() {
    let scene = Scene::new();
    let url = scene.world.store.url_of_user_with("SELECT, INSERT, UPDATE");
    scene.assert_ends("run -l one -- true", 0);
    scene.world.store.execute("ALTER TABLE interlock ENGINE = MyISAM");
    let text = doctor(&scene, &url, 78);
    has(&text, "FAIL durability the table is kept by MyISAM");
}

#[test]
fn a_packet_that_the_table_is_about_to_fill_is_named() {
    let scene = Scene::new();
    let server = Instance::start_with(crate::SERVER, &["--max-allowed-packet=16k"]).unwrap();
    server.create("shop").unwrap();
    let url = format!("{}/shop", server.url());
    assert_ends(&scene, &url, "init", 0);
    has(&doctor(&scene, &url, 1), "ok packet max_allowed_packet has room for 12288 bytes, ");
    // Names that take more than half of that.
    let long = "x".repeat(500);
    let locks: Vec<String> = (0..14).map(|number| format!("-l {long}-{number}")).collect();
    let doctor_inside = format!("run {} -- {} doctor", locks.join(" "), crate::world::LOCKCTL);
    let output = on(&scene, &url, &doctor_inside);
    let text = stdout(&output);
    let line = text.lines().find(|line| line.contains(" packet ")).unwrap_or_default();
    assert!(line.starts_with("warn ") && line.contains("raise max_allowed_packet"), "{text}");
}

#[test]
fn a_binary_log_that_is_not_synced_is_named() {
    let scene = Scene::new();
    let options = ["--log-bin=log", "--server-id=1", "--sync-binlog=0"];
    let server = Instance::start_with(crate::SERVER, &options).unwrap();
    server.create("shop").unwrap();
    let url = format!("{}/shop", server.url());
    assert_ends(&scene, &url, "init", 0);
    let warning = "warn durability sync_binlog is 0: a power cut forgets what was granted last";
    has(&doctor(&scene, &url, 1), warning);
}

#[test]
fn what_is_not_there_fails_as_elsewhere() {
    let scene = Scene::new();
    let dir = scene.path("other");
    std::fs::create_dir(&dir).unwrap();
    let store = Store::without_table(&dir);
    let text = doctor(&scene, store.url(), 78);
    has(&text, "there is no table interlock: create it with `lockctl init`");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let text = doctor(&scene, &format!("mysql://u:s3cr3t@127.0.0.1:{port}/db"), 69);
    has(&text, "FAIL connect ");
    has(&text, "does the server run, with this address and port");
    assert_secret(&text);
}

#[test]
fn the_dead_are_swept_there_too() {
    let scene = Scene::new();
    let url = scene.world.store.url_of_user_with("SELECT, INSERT, UPDATE");
    let dead = scene.hold("--task crashed -l one");
    dead.kill_all();
    crate::world::poll("its death is seen", || {
        let output = on(&scene, &url, "doctor");
        stdout(&output).contains("1 client is dead").then_some(())
    });
    let output = on(&scene, &url, "doctor --repair");
    has(&stdout(&output), "1 dead client was swept: they held one of crashed");
    scene.assert_free();
}
