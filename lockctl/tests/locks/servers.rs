//! What is true of stores in MySQL and MariaDB, and of nothing else: the table and the rights.

mod doctor;

use std::fs;

use crate::{
    passwords::{ALL, assert_ends, on},
    scene::Scene,
    store::{SECRET, Store},
    world::{stderr, stdout},
};

#[test]
fn what_the_server_or_the_url_refuses_is_78_and_says_what_to_do() {
    let scene = Scene::new();
    let store = &scene.world.store;
    let good = store.url_with_password();
    let nowhere = good.replace("/lockctl_", "/none_");
    let wrong_password = store.url_as("test", &format!("{SECRET}-not"));
    for (url, words) in [
        (wrong_password, "check user, password and host"),
        (nowhere, "there is no such database"),
        (store.url_of_user_with("SELECT"), "GRANT SELECT, INSERT, UPDATE ON `lockctl_"),
        (format!("{good}?tabel=x"), "\"tabel\""),
        (format!("{good}?table=a-b"), "\"a-b\""),
        (format!("{good}?password-file=/p"), "password-file"),
        (format!("{good}?ssl-mode=maybe"), "ssl-mode"),
    ] {
        let message = assert_ends(&scene, &url, "run -l one -- touch started", 78);
        assert!(message.contains(words), "no {words} in {message}");
    }
    assert!(!scene.path("started").exists());
    scene.assert_free();
}

#[test]
fn only_init_creates_the_table() {
    let scene = Scene::new();
    let dir = scene.path("other");
    fs::create_dir(&dir).unwrap();
    let store = Store::without_table(&dir);
    for rest in ALL.into_iter().filter(|rest| *rest != "init") {
        let message = assert_ends(&scene, store.url(), rest, 78);
        assert!(message.contains("there is no table interlock"), "{message}");
        assert!(message.contains("`lockctl init`"), "{message}");
    }
    assert!(!scene.path("started").exists());
    // Who may use it need not be allowed to create it.
    let user = store.url_of_user_with("SELECT, INSERT, UPDATE");
    let message = assert_ends(&scene, &user, "init", 78);
    assert!(message.contains("cannot create the table"), "{message}");
    for url in [store.url(), store.url(), &user] {
        let output = on(&scene, url, "init");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).ends_with(" is ready\n"), "{}", stdout(&output));
    }
    assert_ends(&scene, &user, "run -l one -- true", 0);
}

#[test]
fn init_creates_the_table_that_the_url_names() {
    let scene = Scene::new();
    let url = format!("{}&table=locks_2", scene.world.store.url());
    assert_ends(&scene, &url, "list", 78);
    assert_ends(&scene, &url, "init", 0);
    let mut holder = scene.hold("--task holder -l one");
    // Another table is another store.
    assert_ends(&scene, &url, "run -n -l one -- true", 0);
    let by_another_name = scene.world.store.url().replace("mysql:", "mariadb:");
    assert_ends(&scene, &by_another_name, "run -n -l one -- true", 75);
    holder.end();
}

#[test]
fn a_table_that_is_not_understood_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    scene.assert_ends("run -l one -- true", 0);
    for broken in ["{\"format\":999}", "nonsense", "{}"] {
        scene.world.store.execute(&format!("UPDATE interlock SET data = '{broken}'"));
        for rest in ALL.into_iter().filter(|rest| *rest != "init") {
            scene.assert_ends(rest, 78);
        }
        // It fails if the text is not what it was.
        let same = format!("SELECT IF(data = '{broken}', 1, (SELECT 1 UNION SELECT 2))");
        scene.world.store.execute(&format!("{same} FROM interlock"));
    }
    assert!(!scene.path("started").exists());
}
