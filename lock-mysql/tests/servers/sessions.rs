//! Which rows count as swapped, and what sessions, pools and runtimes of users cannot spoil.

use std::time::Duration;

use lock_core::{LockBackend, Locks, Request, Swap, Version};
use lock_mysql::{MySqlBackend, MySqlOptions};
use lock_servers::Kind;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};

use crate::place::{everywhere, on_own, run_on, swap, until};

#[test]
fn a_swap_counts_the_row_that_matches_whatever_changes_in_it() {
    everywhere(async |place| {
        let backend = place.backend();
        assert_eq!(swap(&backend, 0, "{\"a\":1}").await.unwrap(), Swap::Swapped);
        assert_eq!(swap(&backend, 0, "{\"a\":1}").await.unwrap(), Swap::Conflict, "it is there");
        assert_eq!(swap(&backend, 1, "{\"a\":1}").await.unwrap(), Swap::Swapped, "the same data");
        assert_eq!(swap(&backend, 1, "{\"a\":1}").await.unwrap(), Swap::Conflict, "an old version");
        assert_eq!(swap(&backend, 7, "{\"a\":1}").await.unwrap(), Swap::Conflict, "a later one");
        // The driver never asks for it, but it shows that matched rows are counted.
        let same = backend.compare_and_swap(Version(2), Version(2), b"{\"a\":1}").await;
        assert_eq!(same.unwrap(), Swap::Swapped, "nothing changed at all");
        let cell = backend.load().await.unwrap();
        assert_eq!((cell.version, &cell.data[..]), (Version(2), &b"{\"a\":1}"[..]));
        // The longest versions there are.
        let last = backend.compare_and_swap(Version(2), Version::MAX, b"{}").await;
        assert_eq!(last.unwrap(), Swap::Swapped);
        assert_eq!(place.backend().load().await.unwrap().version, Version::MAX);
        place.run(&["DELETE FROM interlock"]).await;
        let gone = backend.compare_and_swap(Version::MAX, Version::MAX, b"{}").await;
        assert_eq!(gone.unwrap(), Swap::Conflict, "the row is gone");
        assert_eq!(backend.load().await.unwrap(), lock_core::Snapshot::default());
    });
}

#[test]
fn a_connection_that_was_cut_while_it_lay_idle_is_noticed_before_it_is_used() {
    everywhere(async |place| {
        let user = place.plain_user().await;
        let backend = place.backend_of(&user);
        swap(&backend, 0, "{}").await.unwrap();
        let connections = format!(
            "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = '{user}'"
        );
        for idle in [false, true] {
            let version = backend.load().await.unwrap().version.0;
            place.run(&[&format!("KILL {}", place.count(&connections).await)]).await;
            let none = connections.replace("CAST(id AS SIGNED)", "COUNT(*)");
            until("it is cut", async || place.count(&none).await == 0).await;
            if idle {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(31)).await;
                tokio::time::resume();
            }
            let swapped = swap(&backend, version, "{}").await;
            assert_eq!(swapped.is_ok(), idle, "{swapped:?}");
        }
    });
}

#[test]
fn small_statements_are_not_held_back() {
    everywhere(async |place| {
        let before = nodelays();
        let backend = place.backend();
        backend.load().await.unwrap();
        let new: Vec<_> =
            nodelays().into_iter().filter(|socket| !before.contains(socket)).collect();
        assert!(new.iter().any(|(_, nodelay)| *nodelay), "{new:?}");
    });
}

/// The connected sockets of this process by their own address, and whether they send at once.
fn nodelays() -> Vec<(String, bool)> {
    use rustix::net::{getpeername, getsockname, sockopt::tcp_nodelay};
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let sockets = numbers.filter_map(|number: i32| {
        let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?;
        getpeername(&socket).ok()??;
        let address = std::net::SocketAddr::try_from(getsockname(&socket).ok()?).ok()?;
        Some((address.to_string(), tcp_nodelay(&socket).ok()?))
    });
    sockets.collect()
}

#[test]
fn odd_settings_of_servers_and_pools_change_nothing() {
    let odd = |_| {
        [
            "--sql-mode=ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,HIGH_NOT_PRECEDENCE",
            "--autocommit=OFF",
            "--init-connect=SET autocommit=0",
            "--transaction-isolation=READ-COMMITTED",
            "--completion-type=RELEASE",
            "--character-set-server=latin1",
            "--default-time-zone=+05:30",
            "--wait-timeout=20",
            "--binlog-format=STATEMENT",
        ]
        .map(Into::into)
        .into()
    };
    on_own(odd, async |place| {
        let user = place.plain_user().await;
        let variable = match place.kind {
            Kind::MariaDb => "tx_read_only",
            Kind::MySql => "transaction_read_only",
        };
        place.run(&[&format!("SET GLOBAL {variable} = 1")]).await;
        let options: MySqlConnectOptions = place.url_of(&user).parse().unwrap();
        let pool = MySqlPoolOptions::new()
            .after_connect(|connection, _| {
                Box::pin(async move {
                    run_on(connection, "SET autocommit = 0, sql_mode = 'ANSI'").await;
                    Ok(())
                })
            })
            .connect_with(
                options.charset("latin1").statement_cache_capacity(0).pipes_as_concat(true),
            )
            .await
            .unwrap();
        let locks = Locks::new(MySqlBackend::from_pool(&pool).unwrap());
        let rival = Locks::new(MySqlBackend::from_pool(&pool).unwrap());
        let guard = locks.acquire(Request::exclusive("Grüße/🔒").and_shared("mail")).await.unwrap();
        assert!(rival.try_acquire("Grüße").await.unwrap_err().is_busy());
        let (waited, released) = tokio::join!(rival.acquire("Grüße"), async {
            until("the rival waits", async || !locks.list().await.unwrap().waiting.is_empty())
                .await;
            guard.release().await
        });
        released.unwrap();
        let guard = waited.unwrap();
        // It is there for everybody, and as it was written.
        let written = place.text("SELECT data FROM interlock", 0).await;
        assert!(written.contains("Grüße"), "{written}");
        guard.release().await.unwrap();
        locks.close().await.unwrap();
        rival.close().await.unwrap();
        pool.close().await;
    });
}

#[test]
fn a_pool_that_is_all_taken_and_a_runtime_that_is_blocked_cost_no_lease() {
    everywhere(async |place| {
        let options: MySqlConnectOptions = place.url().parse().unwrap();
        let pool = MySqlPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let taken = pool.acquire().await.unwrap();
        let lease = Duration::from_secs(3);
        let locks = Locks::builder(MySqlBackend::from_pool(&pool).unwrap()).lease(lease).build();
        let guard = locks.acquire("app").await.unwrap();
        let before = place.count("SELECT CAST(version AS SIGNED) FROM interlock").await;
        // This runtime has this one thread.
        std::thread::sleep(lease * 5 / 2);
        guard.check().expect("the lease was renewed meanwhile");
        let after = place.count("SELECT CAST(version AS SIGNED) FROM interlock").await;
        assert!(after > before, "it was");
        guard.release().await.unwrap();
        locks.close().await.unwrap();
        drop(taken);
        pool.close().await;
    });
}

#[test]
fn one_connection_is_enough_for_a_thousand_locks_and_waiters() {
    everywhere(async |place| {
        let user = place.plain_user().await;
        let holder = Locks::new(place.backend_of(&user));
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..500 {
            let locks = holder.clone();
            asked.spawn(async move { locks.acquire(format!("app/{number}")).await.unwrap() });
        }
        let held = asked.join_all().await;
        let (said, mut granted) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..500 {
            let (locks, said) = (holder.clone(), said.clone());
            tokio::spawn(async move {
                let guard = locks.acquire(format!("app/{number}")).await.unwrap();
                said.send(()).unwrap();
                drop(guard);
            });
        }
        until("all wait", async || holder.list().await.unwrap().waiting.len() == 500).await;
        let count =
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'");
        assert_eq!(place.count(&count).await, 1);
        drop(held);
        for _ in 0..500 {
            granted.recv().await.unwrap();
        }
        assert_eq!(place.count(&count).await, 1);
        holder.close().await.unwrap();
        until("it has left", async || place.count(&count).await == 0).await;
    });
}

#[test]
fn a_pool_of_another_database_can_name_the_table() {
    everywhere(async |place| {
        let options: MySqlConnectOptions = place.url().parse().unwrap();
        let pool = MySqlPoolOptions::new().connect_lazy_with(options.database("mysql"));
        let table = format!("{}.interlock", place.name);
        let backend = MySqlOptions::from_pool(&pool).table(table).build().unwrap();
        assert_eq!(swap(&backend, 0, "{}").await.unwrap(), Swap::Swapped);
        assert_eq!(place.backend().load().await.unwrap().version, Version(1));
        assert!(backend.load_in_turn().await.unwrap().is_some());
    });
}
