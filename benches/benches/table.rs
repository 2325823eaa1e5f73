//! The pure table, without a driver or a store: each op beside few and many holds, and the bytes of the table.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lock_core::process::ProcessSet;
use lock_core::table::{Acquire, ClientInfo, LockTable, Op, Outcome, Stamp, Verdict};
use lock_core::{ClientId, Request, RequestId, Snapshot, TaskId, Version};

/// The numbers of holds between which growth is seen, and those of waiters.
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];
const WAITERS: [u32; 4] = SIZES;

const NAME: &str = "app/blog";

/// Ops that together leave the table as it was, beside so many others.
fn ops(criterion: &mut Criterion) {
    group(criterion, "acquire+release", &SIZES, |bencher, holds| {
        let own = acquire(1, u64::from(holds) + 1, &Request::exclusive(NAME));
        Scene::holds_of_one(holds).repeat(bencher, &[own.clone(), own.release()]);
    });
    group(criterion, "acquire+release beside many clients", &SIZES, |bencher, holds| {
        let own = acquire(0, 1, &Request::exclusive(NAME));
        Scene::holds_of_many(holds).repeat(bencher, &[own.clone(), own.release()]);
    });
    group(criterion, "queue+withdraw behind waiters", &WAITERS, |bencher, waiters| {
        let own = acquire(0, 1, &Request::exclusive(NAME)).waits();
        let withdraw = Step(Op::Withdraw(own.id()), Outcome::Done(true));
        Scene::waiters(waiters).repeat(bencher, &[own, withdraw]);
    });
    group(
        criterion,
        "release, which hands on to the first of the waiters",
        &WAITERS,
        |bencher, waiters| {
            // Whoever gives back queues again, behind all others.
            let mut scene = Scene::waiters(waiters);
            let mut holder = 0;
            let all: Vec<[Step; 2]> = (1..=u64::from(waiters) + 1)
                .map(|client| acquire(client, 1, &Request::exclusive(NAME)))
                .map(|step| [step.release(), step.waits()])
                .collect();
            bencher.iter(|| {
                scene.play(&all[holder]);
                holder = (holder + 1) % all.len();
            });
        },
    );
    group(criterion, "acquire+sweep beside many clients", &SIZES, |bencher, holds| {
        let mut scene = Scene::holds_of_many(holds);
        let (own, client) = (acquire(0, 1, &Request::exclusive(NAME)), ClientId::from_random(0));
        bencher.iter(|| {
            let mark = Version(scene.version + 1);
            let sweep = Op::Sweep(Verdict { client, mark, revision: 0 });
            scene.play(&[own.clone(), Step(sweep, Outcome::Done(true))]);
        });
    });
    group(criterion, "acquire+release of its task+forget", &SIZES, |bencher, holds| {
        let own = acquire(0, 1, &Request::exclusive(NAME));
        let Step(Op::Acquire(Acquire { task, id, .. }), _) = &own else { unreachable!() };
        let release = Step(Op::ReleaseTasks(vec![task.clone()]), Outcome::Done(true));
        let forget = Step(Op::Release(*id), Outcome::Done(true));
        Scene::holds_of_many(holds).repeat(bencher, &[own, release, forget]);
    });
    group(criterion, "renew beside many clients", &SIZES, |bencher, holds| {
        let renew = Step(Op::Renew(ClientId::from_random(1)), Outcome::Done(false));
        Scene::holds_of_many(holds).repeat(bencher, &[renew]);
    });
    group(criterion, "acquire+release of a limit that so many hold", &SIZES, |bencher, holds| {
        let mut scene = Scene::new();
        for number in 1..=holds {
            scene.play(&[acquire(number.into(), 1, &Request::limit(NAME, holds + 1))]);
        }
        let own = acquire(0, 1, &Request::limit(NAME, holds + 1));
        scene.repeat(bencher, &[own.clone(), own.release()]);
    });
    group(criterion, "queue+withdraw for a limit that is used up", &SIZES, |bencher, holds| {
        let mut scene = Scene::new();
        for number in 1..=holds {
            scene.play(&[acquire(number.into(), 1, &Request::limit(NAME, holds))]);
        }
        let own = acquire(0, 1, &Request::limit(NAME, holds)).waits();
        let withdraw = Step(Op::Withdraw(own.id()), Outcome::Done(true));
        scene.repeat(bencher, &[own, withdraw]);
    });
    group(criterion, "acquire+release of what so many share", &SIZES, |bencher, holds| {
        let mut scene = Scene::new();
        for number in 1..=holds {
            scene.play(&[acquire(number.into(), 1, &Request::shared(NAME))]);
        }
        let own = acquire(0, 1, &Request::shared(NAME));
        scene.repeat(bencher, &[own.clone(), own.release()]);
    });
    group(criterion, "acquire+release of a share above so many", &SIZES, |bencher, holds| {
        let mut scene = Scene::new();
        for number in 1..=holds {
            scene.play(&[acquire(number.into(), 1, &Request::shared(format!("app/{number}")))]);
        }
        let own = acquire(0, 1, &Request::shared("app"));
        scene.repeat(bencher, &[own.clone(), own.release()]);
    });
    group(criterion, "queue+withdraw for the name above all holds", &SIZES, |bencher, holds| {
        let own = acquire(0, 1, &Request::exclusive("app")).waits();
        let withdraw = Step(Op::Withdraw(own.id()), Outcome::Done(true));
        Scene::holds_of_many(holds).repeat(bencher, &[own, withdraw]);
    });
}

/// The bytes: what a swap costs besides the op and the store. It grows with the table.
fn codec(criterion: &mut Criterion) {
    let cell = |holds: u32| Snapshot {
        version: Version(u64::from(holds) + 2),
        data: Scene::holds_of_one(holds).table.encode(),
    };
    let mut group = criterion.benchmark_group("table/encode");
    for holds in SIZES {
        let cell = cell(holds);
        group.throughput(Throughput::Bytes(cell.data.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            // What was written once is kept: so each time a table that was only read yet.
            let read = || LockTable::decode(&cell).expect("it is a table");
            bencher.iter_batched_ref(
                read,
                |table| black_box(table).encode(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("table/decode");
    for holds in SIZES {
        let cell = cell(holds);
        group.throughput(Throughput::Bytes(cell.data.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            bencher.iter_batched(
                || &cell,
                |cell| LockTable::decode(black_box(cell)).expect("it was just written"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// One bench beside each number of others.
fn group(
    criterion: &mut Criterion,
    what: &str,
    sizes: &[u32],
    mut bench: impl FnMut(&mut criterion::Bencher<'_>, u32),
) {
    let mut group = criterion.benchmark_group(format!("table/{what}"));
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    for size in sizes {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| bench(bencher, *size));
    }
    group.finish();
}

/// An op, and what has to come of it.
#[derive(Clone)]
struct Step(Op, Outcome);

impl Step {
    fn id(&self) -> RequestId {
        let Self(Op::Acquire(Acquire { id, .. }), _) = self else { unreachable!("it acquires") };
        *id
    }

    /// Gives back what this has acquired.
    fn release(&self) -> Self {
        Self(Op::Release(self.id()), Outcome::Done(true))
    }

    /// The same where somebody is before it.
    fn waits(self) -> Self {
        let Self(Op::Acquire(acquire), _) = self else { unreachable!("it acquires") };
        Self(Op::Acquire(Acquire { wait: true, ..acquire }), Outcome::Queued)
    }
}

fn acquire(client: u64, number: u64, request: &Request) -> Step {
    let client = ClientId::from_random(client);
    let info = ClientInfo {
        name: "bench".into(),
        processes: ProcessSet::default(),
        bell: None,
        lease: Some(Duration::from_mins(1)),
    };
    let acquire = Acquire {
        id: RequestId { client, number },
        task: TaskId::new(None, client, number).expect("it is not nested"),
        name: "bench".into(),
        note: None,
        client: Arc::new(info),
        locks: Arc::new(request.locks().expect("the name is good").clone()),
        wait: false,
    };
    Step(Op::Acquire(acquire), Outcome::Granted)
}

/// A table, and the version that it is at.
struct Scene {
    table: LockTable,
    version: u64,
}

impl Scene {
    fn new() -> Self {
        Self { table: LockTable::new(), version: 0 }
    }

    /// One client, which has all holds.
    fn holds_of_one(holds: u32) -> Self {
        Self::held(holds, |number| (1, number))
    }

    /// A client for each hold.
    fn holds_of_many(holds: u32) -> Self {
        Self::held(holds, |number| (number, 1))
    }

    fn held(holds: u32, who: impl Fn(u64) -> (u64, u64)) -> Self {
        let mut scene = Self::new();
        for hold in 1..=u64::from(holds) {
            let (client, number) = who(hold);
            let name = format!("app/{hold}/backup");
            scene.play(&[acquire(client, number, &Request::exclusive(name))]);
        }
        scene
    }

    /// One client holds, and so many others wait for it in their order.
    fn waiters(waiters: u32) -> Self {
        let mut scene = Self::new();
        scene.play(&[acquire(1, 1, &Request::exclusive(NAME))]);
        for client in 2..=u64::from(waiters) + 1 {
            scene.play(&[acquire(client, 1, &Request::exclusive(NAME)).waits()]);
        }
        scene
    }

    fn play(&mut self, steps: &[Step]) {
        for Step(op, outcome) in steps {
            self.version += 1;
            let stamp = Stamp { version: Version(self.version), now_ms: self.version };
            let came = self.table.apply(black_box(op), stamp);
            assert_eq!(came, *outcome, "{op:?}");
        }
        self.table.take_events();
    }

    fn repeat(&mut self, bencher: &mut criterion::Bencher<'_>, steps: &[Step]) {
        bencher.iter(|| self.play(steps));
    }
}

criterion_group!(benches, ops, codec);
criterion_main!(benches);
