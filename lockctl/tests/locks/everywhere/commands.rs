//! `wait`, `release` and `init`.

use crate::{
    scene::Scene,
    world::{content, is_dead, poll, stderr, stdout},
};

#[test]
fn wait_returns_at_once_when_the_locks_are_free_and_takes_none() {
    let scene = Scene::new();
    assert_eq!(scene.assert_ends("wait one two/three", 0), "");
    scene.assert_free();
    let mut run = scene.hold("-l one");
    assert_eq!(scene.assert_ends("wait two", 0), "");
    run.end();
    for bad in ["wait", "wait a//b", "wait one one", "wait one --wait soon"] {
        scene.assert_ends(bad, 64);
    }
}

#[test]
fn wait_waits_until_they_are_free() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -s one/part");
    let mut wait = scene.start(&mut scene.lockctl("wait other one"));
    wait.says("waiting for one: one/part held by holder (pid ");
    assert!(wait.child.try_wait().unwrap().is_none());
    // It is not in the queue, so it keeps nobody from anything.
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["holder".to_owned()], vec![]));
    scene.assert_ends("run -n -s one -- true", 0);
    holder.end();
    assert_eq!(wait.wait().code(), Some(0));
    scene.assert_free();
}

#[test]
fn wait_does_not_wait_for_the_dead() {
    let scene = Scene::new();
    let holder = scene.hold("--task holder -l one");
    let mut wait = scene.start(&mut scene.lockctl("wait one"));
    wait.says("waiting for one: held by holder (pid ");
    holder.kill_all();
    assert_eq!(wait.wait().code(), Some(0));
    scene.assert_ends("wait one --wait 0", 0);
}

#[test]
fn wait_has_a_limit() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    for limit in ["0", "200ms"] {
        let message = scene.assert_ends(&format!("wait one --wait {limit}"), 75);
        assert!(message.contains("timed out: one: held by holder (pid "), "{message}");
    }
    holder.end();
    scene.assert_free();
}

#[test]
fn a_release_ends_the_run_with_74_and_lets_the_next_one_in() {
    let scene = Scene::new();
    let script = "trap 'echo asked >asked; exit 0' TERM; echo $$; while :; do sleep 0.02; done";
    let mut victim = scene.start_script("--task victim -l one -l two", script);
    let command = victim.command_pid();
    let mut other = scene.hold("--task other -l three");
    let mut waiter = scene.queue("waiter", "-l one");
    assert_eq!(scene.assert_ends("release --task victim", 0), "");
    waiter.command_pid();
    assert_eq!(victim.wait().code(), Some(74));
    let said = victim.err();
    assert!(said.starts_with("lockctl: ending victim: its locks are lost\n"), "{said}");
    assert_eq!(content(&scene.path("asked")), "asked\n");
    assert!(is_dead(command));
    // What the others have is untouched, also by the end of the one that lost.
    assert_eq!(scene.list().holders(), ["other", "waiter"]);
    waiter.end();
    other.end();
    scene.assert_free();
}

#[test]
fn a_command_that_does_not_end_in_its_grace_is_killed() {
    let scene = Scene::new();
    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let mut victim = scene.start_script("--task victim -l one --kill-grace 1s", script);
    let command = victim.command_pid();
    scene.assert_ends("release --task victim", 0);
    assert_eq!(victim.wait().code(), Some(74));
    assert!(is_dead(command));
    scene.assert_free();
}

#[test]
fn a_release_takes_a_waiter_out_of_the_queue() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let mut victim = scene.queue("victim", "-l one");
    scene.assert_ends("release --task victim", 0);
    // Nothing was lost, for it had nothing.
    assert_eq!(victim.wait().code(), Some(75), "{}", victim.err());
    assert!(!victim.has_begun());
    assert!(victim.err().contains("released"), "{}", victim.err());
    let list = scene.list();
    assert_eq!((list.holders(), list.waiting()), (vec!["holder".to_owned()], vec![]));
    holder.end();
    scene.assert_free();
}

#[test]
fn a_release_of_nothing_says_so() {
    let scene = Scene::new();
    let mut holder = scene.hold("--task holder -l one");
    let message = scene.assert_ends("release --task nobody", 1);
    assert!(message.starts_with("lockctl: no task nobody "), "{message}");
    // Names are not patterns, and not beginnings.
    for other in ["hold", "Holder", "*"] {
        scene.assert_ends(&format!("release --task {other}"), 1);
    }
    scene.assert_ends("release", 64);
    holder.end();
    scene.assert_free();
}

#[test]
fn all_tasks_of_a_name_are_released_and_what_comes_later_is_not() {
    let scene = Scene::new();
    let mut both = [scene.hold("--task twin -l one"), scene.hold("--task twin -l two")];
    scene.assert_ends("release --task twin", 0);
    for run in &mut both {
        assert_eq!(run.wait().code(), Some(74));
    }
    scene.hold("--task twin -l one -l two").end();
    scene.assert_free();
}

#[test]
fn a_list_of_nothing_names_the_store() {
    let scene = Scene::new();
    let text = stdout(&scene.output("list"));
    assert_eq!(
        text,
        format!("{} (chosen by LOCKCTL_STORE): nothing is held\n", scene.world.store.url())
    );
    let mut run = scene.hold("-l one");
    // A reader that has seen enough is no error.
    let script = "\"$LOCKCTL\" list --json | true; \"$LOCKCTL\" list >/dev/full; echo $?";
    let output = scene.world.program("sh").args(["-c", script]).output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    run.end();
    poll("nothing is held", || scene.list().is_empty().then_some(()));
}
