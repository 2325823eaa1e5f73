//! `why`: what is in the way of a request, and whom those in the way wait for in turn.

use serde_json::{Value, json};

use crate::{
    scene::{Running, Scene, UNTIL_EOF},
    world::{LOCKCTL, poll, stderr, stdout},
};

/// What `why` says with these arguments, and how it ends.
fn why(scene: &Scene, arguments: &str) -> (i32, String) {
    let output = scene.output(&format!("why {arguments}"));
    assert_eq!(stderr(&output), "");
    (output.status.code().unwrap(), stdout(&output))
}

fn why_json(scene: &Scene, arguments: &str) -> Value {
    serde_json::from_str(&why(scene, &format!("--json {arguments}")).1).unwrap()
}

#[test]
fn what_is_free_would_be_granted_at_once() {
    let scene = Scene::new();
    let (status, text) = why(&scene, "one two/three");
    assert_eq!(status, 0);
    assert_eq!(
        text,
        format!("one, two/three are free: granted at once [{}]\n", scene.world.store.url())
    );
    scene.assert_free();
    for bad in ["why", "why a//b", "why one -l one", "why --limit one=0"] {
        scene.assert_ends(bad, 64);
    }
}

#[test]
fn modes_are_those_of_run() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -s shared --limit two=2 -l one");
    for (arguments, status) in [
        ("-s shared", 0),
        ("shared", 75),
        ("--limit two=2", 0),
        ("--limit two=1", 75),
        ("-l one", 75),
        ("one/below", 75),
        ("other -s shared --limit two=3", 0),
    ] {
        assert_eq!(why(&scene, arguments).0, status, "{arguments}");
    }
    holder.end();
}

#[test]
fn a_holder_is_named_with_what_it_waits_for_itself() {
    let scene = Scene::new();
    let mut mailer = scene.hold("--task mailer -l mail");
    let script = "echo $$; \"$LOCKCTL\" run --task backup-mail -l mail -- true; exec cat";
    let mut backup = scene.start_script("--task backup -l app/blog", script);
    backup.command_pid();
    scene.until_waiting("backup-mail");
    let mut update = scene.queue("update", "-l app");

    let (status, text) = why(&scene, "app/shop");
    assert_eq!(status, 75);
    let lines: Vec<&str> = text.lines().collect();
    let starts = [
        "app/shop is not free [",
        "app/shop has to be given back by:",
        "  update is ahead in the queue for app (pid ",
        "    it waits for app: app/blog held by backup (pid ",
        "      its backup-mail waits for mail: held by mailer (pid ",
        "who asks now has place 3 in the queue",
    ];
    assert_eq!(lines.len(), starts.len(), "{text}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line:?} does not start with {start:?}");
    }
    // It took nothing, and is in nobody's way.
    assert_eq!(scene.list().waiting(), ["backup-mail", "update"]);

    mailer.end();
    backup.end();
    update.end();
    scene.assert_free();
}

#[test]
fn a_limit_says_how_many_have_to_go() {
    let scene = Scene::new();
    let mut runs = ["a", "b", "c"].map(|task| scene.hold(&format!("--task {task} --limit slot=3")));
    let (status, text) = why(&scene, "--limit slot=3");
    assert_eq!(status, 75);
    assert!(text.contains("slot (limit 3) has to be given back by 1 of these 3:"), "{text}");
    let (_, text) = why(&scene, "--limit slot=2");
    assert!(text.contains("slot (limit 2) has to be given back by 2 of these 3:"), "{text}");
    let (_, text) = why(&scene, "slot");
    assert!(text.contains("slot has to be given back by all 3 of:"), "{text}");
    let found = why_json(&scene, "--limit slot=2");
    assert_eq!(found["conditions"][0]["count"], 2);
    assert_eq!(found["conditions"][0]["blockers"].as_array().unwrap().len(), 3);
    runs.iter_mut().for_each(Running::end);
}

#[test]
fn who_is_dead_is_not_in_the_way_and_is_named() {
    let scene = Scene::new();
    let holder = scene.hold("--task holder -l one");
    holder.kill_all();
    poll("its death is seen", || {
        let (status, text) = why(&scene, "one");
        (status == 0 && text.contains("holder held one, and is dead")).then_some(())
    });
    let found = why_json(&scene, "one");
    assert_eq!((&found["free"], &found["dead"][0]["state"]), (&json!(true), &json!("dead")));
    // It only looks: the hold is still there.
    assert_eq!(scene.list().holders(), ["holder"]);
    scene.assert_ends("run -n -l one -- true", 0);
    scene.assert_free();
}

#[test]
fn of_who_cannot_be_seen_it_says_what_decides() {
    let scene = Scene::new();
    for (lease, decides) in [
        ("45s", "if it has died, its lock is free when its lease of 45 s has been seen to end"),
        (
            "none",
            "if it has died, only `lockctl release --task far` frees its lock: it has no lease",
        ),
    ] {
        let Some(mut far) = scene.on_host("web2", LOCKCTL) else { return };
        far.args(["run", "--task", "far", "-l", "one/far", "--lease", lease, "--"]);
        let mut far = scene.start(far.args(["sh", "-c", UNTIL_EOF]));
        let pid = far.command_pid().as_raw_pid();
        let mut near = scene.hold("--task near -l one/near");
        let (status, text) = why(&scene, "one");
        assert_eq!(status, 75);
        let lines: Vec<&str> = text.lines().collect();
        let starts = [
            "one is not free [",
            "one has to be given back by all 2 of:",
            &format!("  far holds one/far (pid {pid} on web2, cannot be seen from here, "),
            &format!("    {decides}"),
            "  near holds one/near (pid ",
            "who asks now has place 1 in the queue",
        ];
        assert_eq!(lines.len(), starts.len(), "{text}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line:?} does not start with {start:?}");
        }
        let found = why_json(&scene, "one");
        let blockers = found["conditions"][0]["blockers"].as_array().unwrap();
        let seen = |of: &Value| (of["task"].clone(), of["host"] == "web2", of["state"].clone());
        let seen: Vec<_> = blockers.iter().map(seen).collect();
        let expected = [("far", true, "unknown"), ("near", false, "alive")];
        assert_eq!(seen, expected.map(|(task, host, state)| (task.into(), host, state.into())));
        far.end();
        near.end();
        scene.assert_free();
    }
}

#[test]
fn inside_of_a_run_its_own_locks_are_not_in_the_way() {
    let scene = Scene::new();
    let output = scene.script("-l one", "\"$LOCKCTL\" why one");
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let output = scene.script("-l one", "env -u LOCKCTL_TASK_ID \"$LOCKCTL\" why one");
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[test]
fn the_json_is_as_documented() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -s app/blog --note nightly");
    let mut waiter = scene.queue("waiter", "-l app");
    let mut found = why_json(&scene, "app/blog");
    let holder_pids = found["conditions"][0]["blockers"][0]["pids"].clone();
    assert!(holder_pids.as_array().is_some_and(|pids| !pids.is_empty()));
    // What no test can know beforehand.
    let host = scene.list().entry("holder")["host"].clone();
    for (pointer, kind) in [
        ("/version", "number"),
        ("/store", "text"),
        ("/now", "text"),
        ("/conditions/0/blockers/0/task_id", "text"),
        ("/conditions/0/blockers/0/since", "text"),
        ("/conditions/0/blockers/0/pids", "list"),
        ("/conditions/0/blockers/1/task_id", "text"),
        ("/conditions/0/blockers/1/since", "text"),
        ("/conditions/0/blockers/1/pids", "list"),
        ("/waiting/0/id", "text"),
        ("/waiting/0/task_id", "text"),
        ("/waiting/0/since", "text"),
        ("/waiting/0/pids", "list"),
    ] {
        let value = found.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        let is = match kind {
            "number" => value.is_u64(),
            "list" => value.is_array(),
            _ => value.is_string(),
        };
        assert!(is, "{pointer} is {value}");
        *value = json!(kind);
    }
    assert_eq!(
        found,
        json!({
            "version": "number",
            "store": "text",
            "now": "text",
            "free": false,
            "locks": [{"name": "app/blog", "mode": "exclusive", "limit": null}],
            "conditions": [{
                "name": "app/blog", "mode": "exclusive", "limit": null,
                "count": 2,
                "blockers": [
                    {
                        "task": "holder", "task_id": "text",
                        "lock": {"name": "app/blog", "mode": "shared", "limit": null},
                        "waits": false, "since": "text", "host": host, "pids": "list",
                        "state": "alive",
                    },
                    {
                        "task": "waiter", "task_id": "text",
                        "lock": {"name": "app", "mode": "exclusive", "limit": null},
                        "waits": true, "since": "text", "host": host, "pids": "list",
                        "state": "alive",
                    },
                ],
            }],
            "waiting": [{
                "id": "text", "task": "waiter", "task_id": "text",
                "locks": [{"name": "app", "mode": "exclusive", "limit": null}],
                "since": "text", "host": host, "pids": "list", "state": "alive", "note": null,
                "blocked_by": [{"task": "holder", "lock": "app/blog"}],
            }],
            "dead": [],
            "place": 1,
        })
    );
    holder.end();
    waiter.end();
}
