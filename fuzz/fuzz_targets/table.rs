//! Fuzzes the lock table: whatever is read as a table stays one, whatever is then done to it.
//!
//! The input is the bytes of a cell, up to the first NUL; what follows chooses ops, two bytes each.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use lock_core::process::{Process, ProcessSet};
use lock_core::table::{Acquire, ClientInfo, LockTable, Op, RequestState, Stamp};
use lock_core::{ClientId, LockSet, Request, RequestId, Snapshot, TaskId, Version};

/// The version of the cell that is read: high enough for the fences in the seeds.
const VERSION: u64 = 5000;
const OPS_MAX: usize = 24;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let data = parts.next().unwrap_or_default();
    let ops = parts.next().unwrap_or_default();
    let Ok(mut table) = decode(data, VERSION) else { return };
    assert_is_sound(&table, VERSION);
    for (version, op) in (VERSION + 1..).zip(ops.chunks_exact(2).take(OPS_MAX)) {
        let op = choose(&table, op[0], op[1], version);
        let stamp = Stamp { version: Version(version), now_ms: version };
        let mut again = table.clone();
        let outcome = table.apply(&op, stamp);
        assert_is_sound(&table, version);
        // The same from what a store gives back, whose indexes are made anew.
        again = decode(&again.encode(), version - 1).expect("it was sound");
        assert_eq!(again.apply(&op, stamp), outcome, "{op:?}");
        assert_eq!(again.encode(), table.encode(), "{op:?}");
    }
    // Whatever is in it can be ended.
    let version = VERSION + 1 + OPS_MAX as u64;
    for client in table.clients().map(|client| client.id).collect::<Vec<_>>() {
        for id in table.requests_of(client) {
            table.apply(&Op::Release(id), Stamp { version: Version(version), now_ms: 0 });
            assert_eq!(table.place(id), RequestState::Absent);
        }
    }
    assert!(table.is_empty(), "everything was given back");
});

fn decode(data: &[u8], version: u64) -> Result<LockTable, lock_core::table::TableError> {
    LockTable::decode(&Snapshot { version: Version(version), data: data.to_vec() })
}

/// It is read again as it was written, and can be looked at from every side.
fn assert_is_sound(table: &LockTable, version: u64) {
    let written = table.encode();
    let read = decode(&written, version).expect("it was written by this release");
    assert_eq!(read.encode(), written);
    let listing = table.list();
    assert_eq!(read.list(), listing);
    for hold in &listing.holds {
        let fences = table.fences(hold.id).expect("it is held");
        assert!(fences.values().all(|fence| *fence <= Version(version)));
        assert!(fences.keys().eq(hold.locks.keys()));
        assert!(table.tasks_named(&hold.task).contains(&hold.task_id));
    }
    for waiter in &listing.waiting {
        assert_eq!(table.place(waiter.id), RequestState::Waiting);
        let denial = table.waits_for(waiter.id).expect("it waits");
        assert_eq!(denial.blockers, waiter.blocked_by);
    }
}

/// An op on what is in the table, mostly.
fn choose(table: &LockTable, kind: u8, which: u8, version: u64) -> Op {
    let clients: Vec<ClientId> = table.clients().map(|client| client.id).collect();
    let client = pick(&clients, which).unwrap_or(ClientId::from_random(u64::from(which)));
    let listing = table.list();
    let tasks: Vec<TaskId> = listing
        .holds
        .iter()
        .map(|hold| &hold.task_id)
        .chain(listing.waiting.iter().map(|waiter| &waiter.task_id))
        .cloned()
        .collect();
    let ids: Vec<RequestId> = clients.iter().flat_map(|id| table.requests_of(*id)).collect();
    let id = pick(&ids, which).unwrap_or(RequestId { client, number: version });
    match kind % 11 {
        0 => Op::Release(id),
        1 => Op::Withdraw(id),
        2 => Op::Downgrade(id),
        3 => Op::ReleaseTasks(tasks.into_iter().step_by(1 + usize::from(which) % 3).collect()),
        4 => match table.client(client) {
            Some(view) => Op::Sweep(view.verdict()),
            None => Op::Release(id),
        },
        5 => {
            let mark = table.client(client).map_or(Version(version), |view| view.mark);
            Op::Observe { client, mark, boot: "b1".into(), first_ms: u64::from(which) }
        }
        6 => {
            let processes = vec![Process { pid: u32::from(which), start: version }];
            Op::SetProcesses { client, processes: ProcessSet { processes, ..processes_none() } }
        }
        7 => Op::Renew(client),
        kind => acquire(&listing, &tasks, kind, which, client, version),
    }
}

/// A request of a task that is there, of a new one in it, or of a stranger.
fn acquire(
    listing: &lock_core::table::Listing,
    tasks: &[TaskId],
    kind: u8,
    which: u8,
    client: ClientId,
    version: u64,
) -> Op {
    // Far from all numbers in the seeds; one that is taken all the same is asked for again.
    let number = (1 << 40) + version;
    let task = match (pick(tasks, which), kind) {
        (Some(task), 9) => task,
        (Some(task), 10) => TaskId::new(Some(&task), client, number).unwrap_or(task),
        _ => TaskId::new(None, client, number).expect("it is nested in nothing"),
    };
    let taken: Vec<LockSet> = listing
        .holds
        .iter()
        .map(|hold| &hold.locks)
        .chain(listing.waiting.iter().map(|waiter| &waiter.locks))
        .cloned()
        .collect();
    let locks = match which % 6 {
        0 => Request::exclusive("app"),
        1 => Request::shared("app/blog").and_limit("cpu", 2),
        2 => Request::exclusive("app/blog/x").and_shared("mail"),
        3 => Request::limit("cpu", 3),
        _ => Request::exclusive("z"),
    };
    let locks = locks.locks().expect("they are good").clone();
    let locks = if which % 6 == 5 { pick(&taken, which / 6).unwrap_or(locks) } else { locks };
    Op::Acquire(Acquire {
        id: RequestId { client: task.client(), number },
        task,
        name: "task".into(),
        note: None,
        client: Arc::new(ClientInfo {
            name: "client".into(),
            processes: processes_none(),
            bell: None,
            lease: Some(Duration::from_secs(60)),
        }),
        locks: Arc::new(locks),
        wait: !which.is_multiple_of(4),
    })
}

fn processes_none() -> ProcessSet {
    ProcessSet { place: lock_core::process::Place::default(), processes: vec![], groups: vec![] }
}

fn pick<T: Clone>(from: &[T], which: u8) -> Option<T> {
    (!from.is_empty()).then(|| from[usize::from(which) % from.len()].clone())
}
