//! One client in each store: a lock taken and given back. What the report compares with the floor, criterion watches.
//!
//! Servers that are not here are left out; `cargo xtask bench` compares all with their floors.

use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lock_core::{LockBackend, Locks};
use lock_file::{FileOptions, Strategy};
use lock_mysql::MySqlBackend;
use lock_redis::RedisBackend;
use lock_servers::{Instance, Kind, RedisKind, RedisServer};
use lock_sqlite::SqliteBackend;

type Failure = Box<dyn std::error::Error>;

fn stores(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("there is room for files");
    let path = |name: &str| folder.path().join(name);
    let mut group = criterion.benchmark_group("acquire+release");
    let mut measure = |name: &str, backend: Arc<dyn LockBackend>| {
        let locks = Locks::new(backend).blocking();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                let guard = locks.acquire("app/blog").expect("it is free");
                guard.release().expect("it is held");
            });
        });
        locks.close().expect("the store is there");
    };
    for (name, strategy) in [("flock", Strategy::Flock), ("excl", Strategy::Excl)] {
        let backend = FileOptions::new(path(name)).strategy(strategy).open();
        measure(name, Arc::new(backend.expect("the folder is ours")));
    }
    measure("sqlite", Arc::new(SqliteBackend::open(path("locks.db")).expect("the file is ours")));
    for kind in Kind::ALL {
        match sql(kind) {
            Ok((_server, backend)) => measure(kind.name(), Arc::new(backend)),
            Err(error) => eprintln!("{kind} is left out: {error}"),
        }
    }
    for kind in RedisKind::ALL {
        match redis(kind) {
            Ok((_server, backend)) => measure(kind.name(), Arc::new(backend)),
            Err(error) => eprintln!("{kind} is left out: {error}"),
        }
    }
    group.finish();
}

fn sql(kind: Kind) -> Result<(Instance, MySqlBackend), Failure> {
    let server = Instance::start(kind)?;
    server.create("locks")?;
    let backend = MySqlBackend::from_url(&format!("{}/locks", server.url()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(backend.migrate())?;
    Ok((server, backend))
}

fn redis(kind: RedisKind) -> Result<(RedisServer, RedisBackend), Failure> {
    let server = RedisServer::start(kind)?;
    let backend = RedisBackend::from_url(&server.url())?;
    Ok((server, backend))
}

criterion_group!(benches, stores);
criterion_main!(benches);
