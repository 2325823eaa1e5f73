//! What must be true of the lock table whatever is done to it: nobody hangs, nobody clashes.

#[allow(dead_code, reason = "each test uses its part of the model")]
mod model;

use std::collections::HashMap;

use lock_core::table::{HoldView, LockTable, Op, Outcome};
use lock_core::{LockName, LockSet, Mode, RequestId, TaskId, Version};
use model::world::{self, Known, Step, World};
use model::{in_line, nested, strangers, tolerance};
use proptest::prelude::*;

proptest! {
    #![proptest_config(world::config(10_000))]

    #[test]
    fn nobody_hangs(steps in world::crowded_steps(24)) {
        let (mut world, mut table) = walk(&steps, |_, _, _| {});
        drain(&mut world, &mut table);
    }
}

/// Takes the steps, and shows each op, its outcome and the table after it.
fn walk(steps: &[Step], mut each: impl FnMut(&Op, &Outcome, &LockTable)) -> (World, LockTable) {
    let mut world = World { one_wait_per_task: true, ..World::default() };
    let mut table = LockTable::new();
    for step in steps {
        let Some(op) = world.op(step, &Known::of_table(&table)) else { continue };
        let outcome = table.apply(&op, world.stamp());
        each(&op, &outcome, &table);
    }
    (world, table)
}

/// Everybody who can go on gives back everything, until nobody waits any more.
fn drain(world: &mut World, table: &mut LockTable) {
    loop {
        let listing = table.list();
        let waits = |task: &TaskId| listing.waiting.iter().any(|w| in_line(task, &w.task_id));
        let done: Vec<_> = listing.holds.iter().filter(|h| !waits(&h.task_id)).collect();
        if done.is_empty() {
            let waiting = listing.waiting.iter().map(|w| format!("\n {} {:?}", w.task_id, w.locks));
            let held = listing.holds.iter().map(|h| format!("\n {} {:?}", h.task_id, h.locks));
            assert!(
                listing.waiting.is_empty(),
                "these wait for ever:{}\nbeside these holds:{}",
                waiting.collect::<String>(),
                held.collect::<String>()
            );
            return;
        }
        for hold in done {
            table.apply(&Op::Release(hold.id), world.stamp());
        }
    }
}
