//! Many processes at once: nothing is lost, nobody is left out.

use std::fs;

use crate::{
    scene::{Running, Scene},
    world::poll,
};

const CROWD: usize = 50;

#[test]
fn of_many_that_read_and_write_a_file_none_is_lost() {
    let scene = Scene::new();
    fs::write(scene.path("counter"), "0\n").unwrap();
    // Not atomic: without the lock many would read the same number.
    let script = "read n <counter; : >counter; echo $((n + 1)) >counter";
    let mut all: Vec<Running> =
        (0..CROWD).map(|_| scene.start_script("-l counter", script)).collect();
    for run in &mut all {
        assert_eq!(run.wait().code(), Some(0), "{}", run.err());
    }
    assert_eq!(fs::read_to_string(scene.path("counter")).unwrap(), format!("{CROWD}\n"));
    scene.assert_free();
}

#[test]
fn of_many_that_do_not_wait_one_gets_the_lock() {
    let scene = Scene::new();
    let mut all: Vec<Running> = (0..CROWD).map(|_| scene.ask("-n -l one")).collect();
    let mut losers = 0;
    let mut winner = poll("all but one end", || {
        all.retain_mut(|run| {
            let Some(status) = run.child.try_wait().unwrap() else { return true };
            assert_eq!(status.code(), Some(75), "{}", run.err());
            assert!(!run.has_begun());
            losers += 1;
            false
        });
        if all.len() == 1 { all.pop() } else { None }
    });
    assert_eq!(losers, CROWD - 1);
    winner.command_pid();
    assert_eq!(scene.list().holds().len(), 1);
    winner.end();
    scene.assert_free();
}

#[test]
fn many_locks_are_held_side_by_side() {
    let scene = Scene::new();
    let mut all: Vec<Running> =
        (0..CROWD).map(|number| scene.ask(&format!("--task t{number} -l box/{number}"))).collect();
    for run in &all {
        run.command_pid();
    }
    let list = scene.list();
    let mut holders = list.holders();
    holders.sort();
    holders.dedup();
    assert_eq!((holders.len(), list.waiting().len()), (CROWD, 0));
    let mut fences: Vec<u64> = list.holds().iter().map(|h| h["fence"].as_u64().unwrap()).collect();
    fences.sort_unstable();
    assert!(fences[0] > 0);
    // Nobody's own hold was overwritten by somebody else's: each can give back its own.
    for run in &mut all {
        run.let_go();
    }
    for run in &mut all {
        run.end();
    }
    scene.assert_free();
}
