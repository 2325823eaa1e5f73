//! What is true of stores in Redis, and of nothing else: its key, its rights, and what it may lose.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use lock_servers::RedisServer;

use crate::{
    SERVER,
    passwords::{ALL, assert_ends, on},
    scene::Scene,
    store::SECRET,
    world::{stderr, stdout},
};

/// The key of the namespace `default`.
const KEY: &str = "interlock:{default}";

#[test]
fn what_the_server_or_the_url_refuses_is_78_and_says_what_to_do() {
    let scene = Scene::new();
    let store = &scene.world.store;
    let good = store.url_with_password();
    let (server, _) = good.rsplit_once('/').unwrap();
    for (url, words) in [
        (store.url_as("test", &format!("{SECRET}-not")), "check user and password"),
        (format!("{server}/99999"), "no database of that number"),
        (store.url_of_user_with("~interlock:* +select"), " on ~interlock:* &interlock:* +evalsha"),
        (store.url_of_user_with("~other:* +@all"), " on ~interlock:* &interlock:* +evalsha"),
        (format!("{good}?tabel=x"), "\"tabel\""),
        (format!("{good}?password-file=/p"), "password-file"),
        (format!("{good}?ssl-ca=/p"), "rediss://"),
        (format!("{good}?replicas=some"), "\"some\""),
        (format!("{server}/name"), "no number of a database"),
    ] {
        let message = assert_ends(&scene, &url, "run -l one -- touch started", 78);
        assert!(message.contains(words), "no {words} in {message}");
    }
    assert!(!scene.path("started").exists());
    scene.assert_free();
}

#[test]
fn a_user_with_the_rights_that_are_named_can_do_everything() {
    let scene = Scene::new();
    let url = scene.world.store.url_of_user_with("~interlock:* +select");
    let message = assert_ends(&scene, &url, "list", 78);
    let (_, rule) = message.split_once("ACL SETUSER ").unwrap();
    let (user, rule) = rule.split_once(' ').unwrap();
    let is_right = |word: &&str| *word == "on" || word.starts_with(['~', '&', '+']);
    let rule = rule.split(' ').map(|word| word.trim_end_matches([':', '\n'])).take_while(is_right);
    let words: Vec<&str> = [user].into_iter().chain(rule).collect();
    scene.world.store.call::<()>(&[&["ACL", "SETUSER"], &*words].concat());
    for rest in ["run -l one -- true", "list", "list --json", "wait one", "init"] {
        assert_ends(&scene, &url, rest, 0);
    }
    assert_ends(&scene, &url, "release --task x", 1);
}

#[test]
fn init_needs_nothing_and_says_what_the_server_may_lose() {
    let scene = Scene::new();
    let url = scene.world.store.url().to_owned();
    let output = on(&scene, &url, "init");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).ends_with(" is ready\n"), "{}", stdout(&output));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_server_that_may_lose_locks_is_warned_of() {
    const RISK: &str = "its maxmemory-policy is allkeys-lru: set noeviction";
    let scene = Scene::new();
    // One of its own, for other tests would be warned too.
    let server = RedisServer::start_with(SERVER, &["maxmemory-policy allkeys-lru"]).unwrap();
    let url = server.url();
    let warned = |arguments: &str, status: i32| {
        let message = assert_ends(&scene, &url, arguments, status);
        message.matches(RISK).count()
    };
    assert_eq!(warned("init", 0), 1);
    // Whoever takes locks is warned once, and whoever only looks is not.
    assert_eq!(warned("run -l one -- true", 0), 1);
    assert_eq!(warned("run -n -l one -l two -- false", 1), 1);
    assert_eq!(warned("run --quiet -l one -- true", 0), 0);
    assert_eq!(warned("list", 0), 0);
    let output = on(&scene, &url, "doctor");
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [RISK, "it keeps no append-only file: set appendonly yes"] {
        let is_warning = |line: &str| line.starts_with("warn  server") && line.contains(part);
        assert!(text.lines().any(is_warning), "no {part} in {text}");
    }
}

#[test]
fn who_waits_longer_outlasts_a_store_that_is_away() {
    let scene = Scene::new();
    // One of its own, for other tests need theirs.
    let server = RedisServer::start(SERVER).unwrap();
    server.stop();
    let mut command = scene.script_command("--wait 10m -l one", "echo it ran");
    let mut run = scene.start(command.env("LOCKCTL_STORE", server.url()));
    // That is after 30 s, which is how long it would be waited for else.
    let began = Instant::now();
    while !run.err().contains("waiting for the store: ") {
        assert!(began.elapsed() < Duration::from_mins(2), "{}", run.err());
        thread::sleep(Duration::from_millis(50));
    }
    server.go_on();
    assert_eq!(run.wait().code(), Some(0), "{}", run.err());
    assert_eq!(run.out(), "it ran\n");
}

#[test]
fn doctor_promises_nothing_that_the_server_does_not_tell() {
    let scene = Scene::new();
    let output = on(&scene, scene.world.store.url(), "doctor");
    let text = stdout(&output);
    let server = text.lines().find(|line| line.contains(" server "));
    let server = server.unwrap_or_else(|| panic!("no server in {text}"));
    assert!(server.starts_with("ok ") && server.contains("appendfsync always"), "{server}");
    // Nor if its user may not ask it.
    let silent = scene.world.store.url_of_user_with("~interlock:* &interlock:* +@all -info");
    let output = on(&scene, &silent, "doctor");
    let text = stdout(&output);
    let is_warning = |line: &str| line.starts_with("warn  server") && line.contains("+info");
    assert!(text.lines().any(is_warning), "{text}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = on(&scene, &format!("redis://{nobody}"), "doctor");
    assert_eq!(output.status.code(), Some(69));
    assert!(stdout(&output).contains("FAIL  connect "), "{}", stdout(&output));
}

#[test]
fn doctor_tells_who_may_not_write_as_the_rule_to_type() {
    let scene = Scene::new();
    let store = &scene.world.store;
    for is_there in [false, true] {
        if is_there {
            scene.assert_ends("run -l one -- true", 0);
        }
        let before: Option<Vec<u8>> = store.call(&["DUMP", KEY]);
        assert_eq!(before.is_some(), is_there);
        for (rights, lacking) in [
            ("", "+hget and +exists and +hset"),
            ("+exists +hget", "+hset"),
            ("+hget +hset", "+exists"),
        ] {
            let readers = "~interlock:* &interlock:* +select +info +evalsha +script|load +hgetall";
            let url = store.url_of_user_with(&format!("{readers} {rights}"));
            let output = on(&scene, &url, "doctor");
            let text = stdout(&output);
            assert_eq!(output.status.code(), Some(78), "{text}");
            let refusal = text.lines().find(|line| line.starts_with("FAIL  rights "));
            let refusal = refusal.unwrap_or_else(|| panic!("no refusal in {text}"));
            let (_, rule) = refusal.split_once(&format!(" lacks {lacking}: ")).expect(refusal);
            assert!(rule.starts_with("ACL SETUSER u"), "{rule}");
            // Whoever types it is done.
            store.call::<()>(&rule.split(' ').collect::<Vec<_>>());
            let text = stdout(&on(&scene, &url, "doctor"));
            let is_well = |line: &str| {
                line.starts_with("ok    rights ") && line.ends_with(" may do what is needed")
            };
            assert!(text.lines().any(is_well), "{text}");
        }
        assert_eq!(store.call::<Option<Vec<u8>>>(&["DUMP", KEY]), before, "it changes nothing");
    }
}

#[test]
fn another_name_of_the_scheme_is_the_same_store() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let by_another_name = scene.world.store.url().replace("redis:", "valkey:");
    assert_ends(&scene, &by_another_name, "run -n -l one -- true", 75);
    holder.end();
}

#[test]
fn a_key_that_is_not_understood_is_78_and_left_as_it_is() {
    let scene = Scene::new();
    let store = &scene.world.store;
    scene.assert_ends("run -l one -- true", 0);
    let broken: [&[&str]; 4] = [
        &["HSET", KEY, "data", "{\"format\":999}"],
        &["HSET", KEY, "data", "nonsense"],
        &["HSET", KEY, "version", "1.79e+15"],
        &["SET", KEY, "somebody's"],
    ];
    for command in broken {
        store.call::<()>(command);
        let before: Vec<u8> = store.call(&["DUMP", KEY]);
        for rest in ALL.into_iter().filter(|rest| *rest != "init") {
            scene.assert_ends(rest, 78);
        }
        assert_eq!(store.call::<Vec<u8>>(&["DUMP", KEY]), before);
    }
    assert!(!scene.path("started").exists());
    store.call::<()>(&["DEL", KEY]);
    scene.assert_free();
}
