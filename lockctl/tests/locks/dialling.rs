//! A store on a host whose name has dead addresses, in a network of its own.

use std::process::{Command, Output};

use lock_conformance::{Failure, network::Network};

use crate::{
    scene::Scene,
    world::{stderr, stdout},
};

#[test]
fn a_store_is_reached_by_the_address_that_works_or_each_is_named() {
    let scene = Scene::new();
    let (user, rest) = scene.world.store.url().split_once('@').unwrap();
    let (address, rest) = rest.split_once('/').unwrap();
    let network = match Network::in_front_of(address.parse().unwrap()) {
        Err(Failure::Skipped(reason)) => return println!("skipped: {reason}"),
        network => network.expect("a network can be made"),
    };
    let holder = scene.hold("--task holder -l one");
    let list = |host: &str| -> Output {
        let mut outside = scene.lockctl("--store");
        outside.arg(format!("{user}@{host}:{}/{rest}", network.port())).arg("list");
        let mut inside = Command::new(&network.enter()[0]);
        inside.args(&network.enter()[1..]).arg(outside.get_program()).args(outside.get_args());
        for (key, value) in outside.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside.output().unwrap()
    };
    for host in
        ["hole6.test", "hole4.test", "holes.test", "[2001:db8::10]", "dead.test:1,good.test"]
    {
        let output = list(host);
        assert!(output.status.success(), "{host}: {}", stderr(&output));
        assert!(stdout(&output).contains("holder"), "{host}: {}", stdout(&output));
    }
    let output = list("dead.test");
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
    for word in ["[2001:db8::66]", "192.0.2.66", "[2001:db8::77]", "[2001:db8:1::1]", "no answer"] {
        assert!(stderr(&output).contains(word), "no {word} in {}", stderr(&output));
    }
    let told = stderr(&output);
    assert_eq!(told.matches("://").count(), 1, "the store is named once: {told}");
    assert!(told.contains("does the server run"), "what to do: {told}");
    drop(holder);
}
