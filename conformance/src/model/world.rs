//! A small world of clients, tasks and locks in which conflicts are common, and random steps in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lock_core::process::{Process, ProcessSet};
use lock_core::table::{Acquire, ClientInfo, LockTable, Op, Stamp, Verdict};
use lock_core::{ClientId, LockName, LockSet, Mode, RequestId, TaskId, Version};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

use super::Model;

/// The names of locks.
pub const NAMES: [&str; 6] = ["a", "a/x", "a/y", "a/x/p", "b", "c"];
/// Their modes.
pub const MODES: [Mode; 4] = [Mode::Exclusive, Mode::Limit(2), Mode::Shared, Mode::Limit(3)];
const BOOTS: [&str; 2] = ["boot-1", "boot-2"];

/// The tasks: the client that owns each, the one it is nested in, and its name for people.
pub const TASKS: [(u64, Option<usize>, &str); 10] = [
    (1, None, "backup"),
    (1, Some(0), "step"),
    (1, Some(1), "deep"),
    (1, None, "backup"),
    (2, Some(0), "helper"), // owned by another client than its parent
    (2, None, "client-2"),
    (2, Some(5), "step"),
    (3, None, "update"),
    (3, Some(5), "child"),
    (3, Some(6), "deep"),
];

/// So many random cases, or as many as `PROPTEST_CASES` says; failures are kept beside the test.
pub fn config(cases: u32) -> Config {
    let chosen = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    Config {
        cases: chosen.unwrap_or(cases),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        max_shrink_iters: 100_000,
        ..Config::default()
    }
}

/// One random step; numbers choose among what there is when it is taken.
#[derive(Clone)]
pub enum Step {
    /// A request of one of the tasks.
    Acquire {
        /// The task, by its number.
        task: usize,
        /// Numbers of names and modes.
        locks: Vec<(usize, usize)>,
        /// Whether it waits.
        wait: bool,
    },
    /// A request of a task that asks for nothing else.
    Stranger {
        /// Numbers of names and modes.
        locks: Vec<(usize, usize)>,
        /// Whether it waits.
        wait: bool,
    },
    /// [`Op::Release`].
    Release(usize),
    /// [`Op::Withdraw`].
    Withdraw(usize),
    /// [`Op::Downgrade`].
    Downgrade(usize),
    /// [`Op::ReleaseTasks`], by their numbers.
    ReleaseTasks(Vec<usize>),
    /// [`Op::Sweep`].
    Sweep {
        /// The number of the client.
        client: usize,
        /// 1: with an old mark, 2: with a wrong revision.
        stale: usize,
    },
    /// [`Op::Observe`].
    Observe {
        /// The number of the client.
        client: usize,
        /// Whether an old mark was seen.
        stale: bool,
        /// The number of the observer's boot.
        boot: usize,
        /// When it was seen first.
        first_ms: u64,
    },
    /// [`Op::SetProcesses`].
    SetProcesses {
        /// The number of the client.
        client: usize,
        /// Its process from now on.
        pid: u32,
    },
    /// [`Op::Renew`], for the client with this number.
    Renew(usize),
    /// An earlier op once more.
    Again(usize),
}

/// On one line each, so that what fails can be read.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire { task: at, locks, wait } => {
                let how = if *wait { "waits for" } else { "tries" };
                write!(f, "task {at} {how} {:?}", lock_set(locks))
            }
            Self::Stranger { locks, wait } => {
                let how = if *wait { "waits for" } else { "tries" };
                write!(f, "a new task {how} {:?}", lock_set(locks))
            }
            Self::Release(pick) => write!(f, "release {pick}"),
            Self::Withdraw(pick) => write!(f, "withdraw {pick}"),
            Self::Downgrade(pick) => write!(f, "downgrade {pick}"),
            Self::ReleaseTasks(tasks) => write!(f, "release tasks {tasks:?}"),
            Self::Sweep { client, stale } => write!(f, "sweep client {client}, stale: {stale}"),
            Self::Observe { client, stale, boot, first_ms } => {
                write!(f, "observe client {client} from {boot} at {first_ms}, stale: {stale}")
            }
            Self::SetProcesses { client, pid } => write!(f, "client {client} is process {pid}"),
            Self::Renew(client) => write!(f, "renew client {client}"),
            Self::Again(pick) => write!(f, "again {pick}"),
        }
    }
}

/// Any steps, up to `len`.
pub fn any_steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let task = 0..TASKS.len();
    let client = 0..3_usize;
    let step = prop_oneof![
        24 => acquire(0..TASKS.len(), 3, 0.75),
        9 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Withdraw),
        2 => any::<usize>().prop_map(Step::Downgrade),
        2 => prop::collection::vec(task, 1..=2).prop_map(Step::ReleaseTasks),
        2 => (client.clone(), 0..4_usize).prop_map(|(client, stale)| Step::Sweep { client, stale }),
        2 => (client.clone(), any::<bool>(), 0..2_usize, 0..100_u64).prop_map(
            |(client, stale, boot, first_ms)| Step::Observe { client, stale, boot, first_ms }
        ),
        1 => (client.clone(), 0..3_u32)
            .prop_map(|(client, pid)| Step::SetProcesses { client, pid }),
        1 => client.prop_map(Step::Renew),
        3 => any::<usize>().prop_map(Step::Again),
    ];
    prop::collection::vec(step, 1..=len)
}

/// Steps that fill the queue: mostly requests that wait, made by those who hold something.
pub fn crowded_steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        16 => acquire(0..TASKS.len(), 2, 0.95),
        3 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Withdraw),
        1 => any::<usize>().prop_map(Step::Downgrade),
        1 => (0..TASKS.len()).prop_map(|task| Step::ReleaseTasks(vec![task])),
    ];
    prop::collection::vec(step, 1..=len)
}

fn acquire(
    tasks: std::ops::Range<usize>,
    locks_max: usize,
    waits: f64,
) -> impl Strategy<Value = Step> {
    let locks = prop::collection::vec((0..NAMES.len(), 0..MODES.len()), 1..=locks_max);
    (tasks, locks, prop::bool::weighted(waits)).prop_map(|(task, locks, wait)| Step::Acquire {
        task,
        locks,
        wait,
    })
}

/// The client with this number, from 1.
pub fn client(number: u64) -> ClientId {
    ClientId::from_random(number)
}

/// The id of one of [`TASKS`].
fn task(at: usize) -> TaskId {
    let (owner, parent, _) = TASKS[at];
    TaskId::new(parent.map(task).as_ref(), client(owner), at as u64).unwrap()
}

/// The locks with these numbers of names and modes.
pub fn lock_set(locks: &[(usize, usize)]) -> LockSet {
    locks.iter().map(|&(name, mode)| (LockName::new(NAMES[name]).unwrap(), MODES[mode])).collect()
}

/// What steps choose among.
#[derive(Debug, Default)]
pub struct Known {
    ids: Vec<RequestId>,
    waiting: Vec<TaskId>,
    clients: Vec<(ClientId, Version, u64)>,
}

impl Known {
    /// All that the model knows.
    pub fn of_model(model: &Model) -> Self {
        let held = model.holds.iter().map(|h| h.id);
        let ids = held.chain(model.queue.iter().map(|w| w.id)).chain(model.freed.iter().copied());
        Self {
            ids: ids.collect(),
            waiting: model.queue.iter().map(|w| w.task.clone()).collect(),
            clients: model.clients.iter().map(|c| (c.id, c.mark, c.revision)).collect(),
        }
    }

    /// All that the table knows.
    pub fn of_table(table: &LockTable) -> Self {
        Self {
            ids: table.clients().flat_map(|c| table.requests_of(c.id)).collect(),
            waiting: table.list().waiting.into_iter().map(|w| w.task_id).collect(),
            clients: table.clients().map(|c| (c.id, c.mark, c.revision)).collect(),
        }
    }
}

/// How steps become ops.
#[derive(Debug, Default)]
pub struct World {
    /// That of the last op.
    pub version: u64,
    /// Every request there ever was.
    pub issued: Vec<RequestId>,
    past: Vec<Op>,
    one_wait_per_task: bool,
}

impl World {
    /// A world that leaves out requests of a task that already waits: a line of work waits for one
    /// thing.
    pub fn of_patient_tasks() -> Self {
        Self { one_wait_per_task: true, ..Self::default() }
    }

    /// The version and time of the next op.
    pub fn stamp(&mut self) -> Stamp {
        self.version += 1 + self.version % 3;
        Stamp { version: Version(self.version), now_ms: self.version * 7 }
    }

    /// What a step is in this state; `None` if there is nothing to do it to.
    pub fn op(&mut self, step: &Step, known: &Known) -> Option<Op> {
        let op = match step {
            Step::Acquire { task: at, locks, wait } => {
                let task = task(*at);
                if self.one_wait_per_task && known.waiting.contains(&task) {
                    return None;
                }
                let id = RequestId { client: task.client(), number: self.issued.len() as u64 };
                self.issued.push(id);
                Op::Acquire(request(id, *at, lock_set(locks), *wait))
            }
            Step::Stranger { locks, wait } => {
                let number = self.issued.len() as u64;
                let id = RequestId { client: client(1 + number % 3), number };
                self.issued.push(id);
                let task = TaskId::new(None, id.client, 100 + number).unwrap();
                let at = usize::try_from(number % 10).unwrap();
                Op::Acquire(Acquire { task, ..request(id, at, lock_set(locks), *wait) })
            }
            Step::Release(pick) => Op::Release(self.pick(*pick, known)?),
            Step::Withdraw(pick) => Op::Withdraw(self.pick(*pick, known)?),
            Step::Downgrade(pick) => Op::Downgrade(self.pick(*pick, known)?),
            Step::ReleaseTasks(tasks) => {
                Op::ReleaseTasks(tasks.iter().map(|at| task(*at)).collect())
            }
            Step::Sweep { client: at, stale } => {
                let (mut mark, mut revision) = Self::judged(*at, known);
                mark.0 -= u64::from(*stale == 1);
                revision += u64::from(*stale == 2);
                Op::Sweep(Verdict { client: client(*at as u64 + 1), mark, revision })
            }
            Step::Observe { client: at, stale, boot, first_ms } => Op::Observe {
                client: client(*at as u64 + 1),
                mark: Version(Self::judged(*at, known).0.0 - u64::from(*stale)),
                boot: BOOTS[*boot].into(),
                first_ms: *first_ms,
            },
            Step::SetProcesses { client: at, pid } => {
                Op::SetProcesses { client: client(*at as u64 + 1), processes: processes(*pid) }
            }
            Step::Renew(at) => Op::Renew(client(*at as u64 + 1)),
            Step::Again(pick) => {
                let op = self.past.get(pick.checked_rem(self.past.len())?)?.clone();
                return self.is_one_wait(&op, known).then_some(op);
            }
        };
        self.past.push(op.clone());
        Some(op)
    }

    fn is_one_wait(&self, op: &Op, known: &Known) -> bool {
        let Op::Acquire(ask) = op else { return true };
        !self.one_wait_per_task || !known.waiting.contains(&ask.task)
    }

    fn judged(at: usize, known: &Known) -> (Version, u64) {
        let id = client(at as u64 + 1);
        let found = known.clients.iter().find(|(client, ..)| *client == id);
        found.map_or((Version(1), 0), |(_, mark, revision)| (*mark, *revision))
    }

    /// Mostly a request that the table knows, sometimes any other.
    fn pick(&self, pick: usize, known: &Known) -> Option<RequestId> {
        let from = if pick.is_multiple_of(8) { &self.issued } else { &known.ids };
        from.get((pick / 8).checked_rem(from.len())?).copied()
    }
}

/// Asks for locks on behalf of one of [`TASKS`].
pub fn request(id: RequestId, at: usize, locks: LockSet, wait: bool) -> Acquire {
    let (owner, _, name) = TASKS[at];
    Acquire {
        id,
        task: task(at),
        name: name.into(),
        note: at.is_multiple_of(2).then(|| "a note".into()),
        client: Arc::new(ClientInfo {
            name: format!("client-{owner}").into(),
            processes: processes(0),
            bell: None,
            lease: (owner != 3).then_some(Duration::from_secs(60)),
        }),
        locks: Arc::new(locks),
        wait,
    }
}

fn processes(pid: u32) -> ProcessSet {
    ProcessSet { processes: vec![Process { pid: pid + 1, start: 1 }], ..ProcessSet::default() }
}
