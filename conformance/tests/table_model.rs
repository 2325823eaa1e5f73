//! The lock table against the reference model: the same random ops, and the same state after each.

use std::collections::{BTreeMap, BTreeSet};

use lock_conformance::model::world::{self, Known, Step, World};
use lock_conformance::model::{Answer, Blockers, Model};
use lock_core::process::ProcessSet;
use lock_core::table::{Blocker, Event, LockTable, Op, Outcome, Stamp};
use lock_core::{ClientId, LockName, LockSet, RequestId, Snapshot, TaskId, Version};
use proptest::prelude::*;

proptest! {
    #![proptest_config(world::config(2_000))]

    #[test]
    fn the_table_does_what_the_model_does(
        steps in world::any_steps(40),
        reread in any::<u64>(),
    ) {
        compare(&steps, reread, World::default());
    }
}

proptest! {
    #![proptest_config(world::config(1_000))]

    #[test]
    fn also_when_the_queue_is_long(steps in world::crowded_steps(30), reread in any::<u64>()) {
        compare(&steps, reread, World::of_patient_tasks());
    }
}

/// Takes the steps in both; where `reread` has a bit, goes on with the table that was read back.
fn compare(steps: &[Step], reread: u64, mut world: World) {
    let mut model = Model::default();
    let mut table = LockTable::new();
    for (at, step) in steps.iter().enumerate() {
        let Some(op) = world.op(step, &Known::of_model(&model)) else { continue };
        let stamp = world.stamp();
        let before = model.clone();
        let expected = model.apply(&op, stamp.version);
        let outcome = table.apply(&op, stamp);
        let context = format!("after step {at}, {op:?}");
        assert_eq!(answer(&outcome), expected, "the answer {context}");
        assert_events(&table.take_events(), &op, &before, &model, &context);
        assert_same(&table, &model, &world, &context);
        assert_idempotent(&mut table, &op, stamp, &outcome);
        let read = read_back(&table, stamp.version);
        if reread >> (at % 64) & 1 == 1 {
            table = read;
        }
    }
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Granted => Answer::Granted,
        Outcome::Queued => Answer::Queued,
        Outcome::Busy(denial) => {
            Answer::Busy { blockers: blockers(&denial.blockers), place: denial.place }
        }
        Outcome::Deadlock(cycle) => {
            assert!(!cycle.edges.is_empty(), "a circle has somebody in it");
            Answer::Deadlock
        }
        Outcome::Freed => Answer::Freed,
        Outcome::Done(changed) => Answer::Done(*changed),
    }
}

fn blockers(found: &[Blocker]) -> Blockers {
    found.iter().map(|b| (b.task_id.clone(), b.lock.clone(), b.waits)).collect()
}

type HoldFacts = (RequestId, TaskId, String, LockSet, u64, BTreeMap<LockName, Version>);
type WaiterFacts = (RequestId, TaskId, String, LockSet, Blockers, usize);
type ClientFacts = (ClientId, Version, u64, ProcessSet);

fn assert_same(table: &LockTable, model: &Model, world: &World, context: &str) {
    let listing = table.list();
    let held: BTreeMap<RequestId, HoldFacts> = listing
        .holds
        .into_iter()
        .map(|h| {
            let fences = table.fences(h.id).expect("it is listed");
            (h.id, (h.id, h.task_id, h.task.to_string(), h.locks, h.fence, fences))
        })
        .collect();
    let holds = model.holds.iter().cloned();
    let expected: BTreeMap<RequestId, HoldFacts> = holds
        .map(|h| {
            let token = h.fences.values().map(|fence| fence.0).max().unwrap_or_default();
            (h.id, (h.id, h.task, h.task_name, h.locks, token, h.fences))
        })
        .collect();
    assert_eq!(held, expected, "the holds {context}");

    let waiting = listing.waiting.into_iter().map(|w| {
        let place = table.waits_for(w.id).expect("it is listed").place;
        (w.id, w.task_id, w.task.to_string(), w.locks, blockers(&w.blocked_by), place)
    });
    let queue = model.queue.iter().cloned().enumerate();
    let expected: Vec<WaiterFacts> = queue
        .map(|(at, w)| (w.id, w.task, w.task_name, w.locks, model.blockers_of(at), at))
        .collect();
    assert_eq!(waiting.collect::<Vec<WaiterFacts>>(), expected, "the queue {context}");

    let clients: BTreeSet<_> = table.clients().map(|c| (c.id, c.mark.0, c.revision)).collect();
    let expected: BTreeSet<_> =
        model.clients.iter().map(|c| (c.id, c.mark.0, c.revision)).collect();
    assert_eq!(clients, expected, "the clients {context}");
    for client in &model.clients {
        let known = table.client(client.id).expect("it is listed");
        let facts: ClientFacts = (known.id, known.mark, known.revision, known.processes);
        let expected = (client.id, client.mark, client.revision, client.processes.clone());
        assert_eq!(facts, expected, "the client {context}");
        for boot in ["boot-1", "boot-2"] {
            let seen = client.seen.get(boot).map(|first| (client.mark, *first));
            assert_eq!(table.seen_since_ms(client.id, boot), seen, "who saw it {context}");
        }
    }
    assert_eq!(table.is_empty(), model.clients.is_empty());

    for id in &world.issued {
        assert_eq!(table.place(*id), model.place(*id), "the place of {id} {context}");
        if table.fences(*id).is_some() {
            assert!(held.contains_key(id), "only holds have fences");
        }
    }
    for number in 1..=3 {
        let client = world::client(number);
        let found: BTreeSet<_> = table.requests_of(client).into_iter().collect();
        let expected = world.issued.iter().copied().filter(|id| {
            id.client == client && model.place(*id) != lock_core::table::RequestState::Absent
        });
        assert_eq!(found, expected.collect(), "the requests of {client} {context}");
    }
    for name in ["backup", "step", "deep", "client-2", "nobody"] {
        let found: BTreeSet<_> = table.tasks_named(name).into_iter().collect();
        let holders = model.holds.iter().map(|h| (&h.task, &h.task_name));
        let all = holders.chain(model.queue.iter().map(|w| (&w.task, &w.task_name)));
        let expected = all.filter(|(_, n)| *n == name).map(|(task, _)| task.clone());
        assert_eq!(found, expected.collect(), "the tasks named {name} {context}");
    }
}

/// What the table says has happened is the difference between before and after.
fn assert_events(events: &[Event], op: &Op, before: &Model, after: &Model, context: &str) {
    let is_new = |id: &RequestId| !before.holds.iter().any(|h| h.id == *id);
    let granted: Vec<RequestId> = after.holds.iter().map(|h| h.id).filter(is_new).collect();
    let told = events.iter().filter_map(|e| match e {
        Event::Granted(id) => Some(*id),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), granted, "the grants told of {context}");

    let ids = |model: &Model| -> BTreeSet<RequestId> {
        let held = model.holds.iter().map(|h| h.id);
        held.chain(model.queue.iter().map(|w| w.id)).collect()
    };
    let gone: BTreeSet<_> = ids(before).difference(&ids(after)).copied().collect();
    let freed = events.iter().filter_map(|e| match e {
        Event::Freed(id) => Some(*id),
        _ => None,
    });
    let expected = if matches!(op, Op::ReleaseTasks(_)) { gone.clone() } else { BTreeSet::new() };
    assert_eq!(freed.collect::<BTreeSet<_>>(), expected, "what was freed {context}");

    let swept = events.iter().find_map(|e| match e {
        Event::Swept { client, holds, waiters, .. } => Some((*client, holds.len(), *waiters)),
        _ => None,
    });
    let held = |id: &&RequestId| before.holds.iter().any(|h| h.id == **id);
    let holds = gone.iter().filter(held).count();
    let is_swept = |client| !after.clients.iter().any(|c| c.id == client);
    let expected = match op {
        Op::Sweep(verdict) if before.clients != after.clients && is_swept(verdict.client) => {
            Some((verdict.client, holds, gone.len() - holds))
        }
        _ => None,
    };
    assert_eq!(swept, expected, "who was swept {context}");
}

/// The same op once more answers the same (an end has nothing left to do) and changes nothing.
fn assert_idempotent(table: &mut LockTable, op: &Op, stamp: Stamp, first: &Outcome) {
    let bytes = table.encode();
    let again = table.apply(op, stamp);
    match first {
        Outcome::Done(_) => assert_eq!(again, Outcome::Done(false), "again {op:?}"),
        first => assert_eq!(again, *first, "again {op:?}"),
    }
    assert_eq!(table.take_events(), [], "again {op:?}");
    assert_eq!(as_text(&table.encode()), as_text(&bytes), "again {op:?}");
}

fn read_back(table: &LockTable, version: Version) -> LockTable {
    let data = table.encode();
    let read = LockTable::decode(&Snapshot { version, data: data.clone() })
        .unwrap_or_else(|error| panic!("{error:?} in {}", as_text(&data)));
    assert_eq!(as_text(&read.encode()), as_text(&data));
    assert_eq!(read.list(), table.list());
    read
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("JSON is text")
}
