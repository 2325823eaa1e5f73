//! What keeps stores apart, and that nested runs are in the same one.

use std::process::Command;

use crate::{
    scene::{List, Scene, UNTIL_EOF},
    world::{LOCKCTL, stderr, stdout},
};

#[test]
fn two_namespaces_do_not_see_each_other() {
    let scene = Scene::new();
    let mut default = scene.hold("--task default -l one");
    let mut web = scene.start_script("-n --namespace web --task web -l one", UNTIL_EOF);
    web.command_pid();
    assert_eq!(scene.list().holders(), ["default"]);
    let list = List::of(&mut scene.lockctl("--namespace web list --json"));
    assert_eq!(list.holders(), ["web"]);
    assert_eq!(list.0["store"], format!("{} namespace web", scene.world.store.url()));
    let by_variable = List::of(scene.lockctl("list --json").env("LOCKCTL_NAMESPACE", "web"));
    assert_eq!(by_variable.holders(), ["web"]);
    scene.assert_ends("release --task web", 1);
    let message = scene.assert_ends("--namespace web run -n -l one -- true", 75);
    assert!(message.contains("held by web"), "{message}");
    default.end();
    web.end();
    scene.assert_free();
    assert!(List::of(&mut scene.lockctl("--namespace web list --json")).is_empty());
}

#[test]
fn a_nested_run_uses_the_store_and_the_namespace_of_its_parent() {
    let scene = Scene::new();
    let script = r#"cd /; "$LOCKCTL" list"#;
    let output = scene.script("--namespace web --task outer -l one", script);
    let text = stdout(&output);
    let store = format!("{} namespace web (", scene.world.store.url());
    assert!(text.contains(&store) && text.contains("outer"), "{text}");
}

#[test]
fn a_run_through_sudo_itself() {
    if Command::new("sudo").args(["-n", "true"]).output().map_or(true, |o| !o.status.success()) {
        eprintln!("skipped: there is no sudo that asks for no password");
        return;
    }
    let scene = Scene::new();
    let store = scene.world.store.url();
    let script = format!("sudo -n '{LOCKCTL}' --store '{store}' run -n -l one -- echo inside");
    let output = scene.script("-l one", &script);
    assert_eq!(stdout(&output), "inside\n", "{}", stderr(&output));
    scene.assert_free();
}
