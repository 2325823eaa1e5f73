//! Modes, the hierarchy, and sets of locks, as they are written on the command line.

use serde_json::json;

use crate::{
    scene::{Running, Scene},
    world::poll,
};

/// Whether a run that does not wait gets these locks.
#[track_caller]
fn fits(scene: &Scene, options: &str) -> bool {
    let output = scene.output(&format!("run -n {options} -- true"));
    match output.status.code() {
        Some(0) => true,
        Some(75) => false,
        _ => panic!("{options}: {output:?}"),
    }
}

#[test]
fn a_limit_of_two_lets_two_in_and_the_third_waits() {
    let scene = Scene::new();
    let mut two: Vec<Running> =
        (0..2).map(|number| scene.hold(&format!("--task t{number} --limit backup=2"))).collect();
    let mut third = scene.queue("third", "--limit backup=2");
    let list = scene.list();
    assert_eq!(list.holders().len(), 2);
    assert_eq!(list.entry("t0")["locks"], json!([{"name": "backup", "mode": "limit", "limit": 2}]));
    assert_eq!(list.entry("third")["blocked_by"].as_array().unwrap().len(), 2);
    two[1].end();
    third.command_pid();
    assert_eq!(scene.list().holders(), ["t0", "third"]);
    third.end();
    two[0].end();
    scene.assert_free();
}

#[test]
fn the_smallest_limit_counts_and_a_limit_of_one_is_exclusive() {
    let scene = Scene::new();
    let mut holder = scene.hold("--limit backup=3");
    for (options, expected) in [
        ("--limit backup=2", true),
        ("--limit backup=1", false),
        ("-l backup", false),
        ("-s backup", true),
    ] {
        assert_eq!(fits(&scene, options), expected, "{options}");
    }
    holder.end();
    scene.assert_free();
}

#[test]
fn who_shares_excludes_only_who_does_not() {
    let scene = Scene::new();
    let mut all: Vec<Running> = (0..5).map(|_| scene.hold("-s data")).collect();
    assert_eq!(
        scene.list().holds()[0]["locks"],
        json!([{"name": "data", "mode": "shared", "limit": null}])
    );
    let mut writer = scene.queue("writer", "-l data");
    for run in &mut all {
        assert!(!writer.has_begun());
        run.end();
    }
    writer.command_pid();
    assert!(!fits(&scene, "-s data"));
    writer.end();
    scene.assert_free();
}

#[test]
fn a_lock_covers_everything_below_it() {
    let scene = Scene::new();
    for (held, expected) in [
        ("-l app", [("-l app/blog", false), ("-s app/blog/db", false), ("-l application", true)]),
        ("-l app/blog", [("-l app", false), ("-l app/blogger", true), ("-s app", false)]),
        ("-s app/blog", [("-s app", true), ("-l app", false), ("-l app/blog/db", false)]),
    ] {
        let mut holder = scene.hold(held);
        for (options, expected) in expected {
            assert_eq!(fits(&scene, options), expected, "{options} beside {held}");
        }
        holder.end();
    }
    scene.assert_free();
}

#[test]
fn a_lock_below_the_one_that_is_held_is_named_with_it() {
    let scene = Scene::new();
    let mut blog = scene.hold("--task blog -l app/blog");
    let mut update = scene.queue("update", "-l app");
    update.says("waiting for app: app/blog held by blog (pid ");
    assert_eq!(
        scene.list().entry("update")["blocked_by"],
        json!([{"task": "blog", "lock": "app/blog"}])
    );
    blog.end();
    update.command_pid();
    update.end();
    scene.assert_free();
}

#[test]
fn a_set_is_taken_all_or_nothing() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l b");
    assert!(!fits(&scene, "-l a -l b -s c"));
    let mut waiter = scene.queue("waiter", "-l a -l b -s c");
    let list = scene.list();
    assert_eq!(list.holders(), ["holder"]);
    assert_eq!(list.entry("waiter")["locks"].as_array().unwrap().len(), 3);
    assert_eq!(list.entry("waiter")["blocked_by"], json!([{"task": "holder", "lock": "b"}]));
    holder.end();
    waiter.command_pid();
    for options in ["-s a", "-s b", "-l c"] {
        assert!(!fits(&scene, options), "{options}");
    }
    assert!(fits(&scene, "-s c"));
    waiter.end();
    poll("all is free", || scene.list().is_empty().then_some(()));
    assert!(fits(&scene, "-l a -l b -l c"));
}

#[test]
fn names_are_compared_byte_for_byte() {
    let scene = Scene::new();
    let mut holder = scene.hold("-l Größe/a=b");
    for (options, expected) in
        [("-l Größe/a=b", false), ("-l größe/a=b", true), ("--limit Größe/a=b=2", false)]
    {
        assert_eq!(fits(&scene, options), expected, "{options}");
    }
    holder.end();
    scene.assert_free();
}
