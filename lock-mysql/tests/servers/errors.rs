//! Errors that a server raises for real, and what each of them means for a swap.

use std::net::TcpStream;
use std::path::Path;
use std::pin::pin;

use lock_core::{BackendError, BackendErrorKind as Kind, LockBackend, Swap, Version};
use lock_servers::Kind as Server;

use sqlx::ConnectOptions;
use sqlx::mysql::MySqlConnectOptions;

use crate::place::{Place, everywhere, expect, number, on_own, run_on, swap, until};

#[test]
fn a_deadlock_is_somebody_elses_turn() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        // The backend's statement takes the cell's row, and then wants one that somebody else has.
        place
            .run(&[
                "CREATE TABLE other (id INT PRIMARY KEY, n INT)",
                "INSERT INTO other VALUES (1, 0)",
                "CREATE TRIGGER wants BEFORE UPDATE ON interlock FOR EACH ROW \
                 UPDATE other SET n = n + 1 WHERE id = 1",
            ])
            .await;
        let mut rival = place.connect().await;
        run_on(&mut rival, "BEGIN").await;
        run_on(&mut rival, "UPDATE other SET n = n + 1 WHERE id = 1").await;
        // Who has changed more is spared.
        for id in 2..50 {
            run_on(&mut rival, &format!("INSERT INTO other VALUES ({id}, 0)")).await;
        }
        let mut watcher = place.watcher().await;
        let (swapped, ()) = tokio::join!(swap(&backend, 1, "{\"n\":1}"), async {
            watcher.until_busy("UPDATE other%").await;
            run_on(&mut rival, "SELECT * FROM interlock FOR UPDATE").await;
        });
        expect(place, swapped, Kind::Busy, &[1213], "");
        run_on(&mut rival, "ROLLBACK").await;
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

#[test]
fn a_row_that_somebody_holds_is_waited_for_in_vain_for_a_short_time() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let mut rival = place.connect().await;
        run_on(&mut rival, "BEGIN").await;
        run_on(&mut rival, "SELECT * FROM interlock FOR UPDATE").await;
        expect(place, swap(&backend, 1, "{}").await, Kind::Busy, &[1205], "");
        assert_eq!(backend.load().await.unwrap().version, Version(1), "reading goes on");
        run_on(&mut rival, "ROLLBACK").await;
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

#[test]
fn a_table_that_somebody_has_locked_leaves_no_statement_behind() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let mut backup = place.connect().await;
        run_on(&mut backup, "LOCK TABLES interlock READ").await;
        expect(place, swap(&backend, 1, "{}").await, Kind::Busy, &[1205], "");
        run_on(&mut backup, "LOCK TABLES interlock WRITE").await;
        expect(place, backend.load().await, Kind::Unavailable, &[1205], "");
        // Nothing of it may come true later. The server shows a statement until it has sent its error.
        place.watcher().await.until_idle("%interlock%").await;
        run_on(&mut backup, "UNLOCK TABLES").await;
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

#[test]
fn a_row_that_changed_since_the_snapshot_is_somebody_elses_turn() {
    let strict = |kind| match kind {
        Server::MariaDb => vec!["--innodb-snapshot-isolation=ON".into()],
        Server::MySql => vec![],
    };
    on_own(strict, async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let mut rival = place.connect().await;
        run_on(&mut rival, "BEGIN").await;
        run_on(&mut rival, "UPDATE interlock SET version = 7").await;
        // A swap has no snapshot: it waits for the row, and finds it changed.
        let mut watcher = place.watcher().await;
        let (swapped, ()) = tokio::join!(swap(&backend, 1, "{}"), async {
            watcher.until_busy("UPDATE `interlock`%").await;
            run_on(&mut rival, "COMMIT").await;
        });
        assert_eq!(swapped.unwrap(), Swap::Conflict);
        if place.kind == Server::MySql {
            return; // It has no such error.
        }
        // A trigger makes one statement take a snapshot, and write what has changed since.
        place
            .run(&[
                "CREATE TABLE other (id INT PRIMARY KEY, n INT)",
                "INSERT INTO other VALUES (1, 0)",
                "CREATE TRIGGER looks BEFORE UPDATE ON interlock FOR EACH ROW BEGIN \
                 SELECT n INTO @n FROM other WHERE id = 1; \
                 DO GET_LOCK('gate', 20); DO RELEASE_LOCK('gate'); \
                 UPDATE other SET n = n + 1 WHERE id = 1; END",
            ])
            .await;
        run_on(&mut rival, "DO GET_LOCK('gate', 20)").await;
        let (swapped, ()) = tokio::join!(swap(&backend, 7, "{}"), async {
            watcher.until_busy("%GET_LOCK(''gate%").await;
            run_on(&mut rival, "UPDATE other SET n = 100").await;
            run_on(&mut rival, "DO RELEASE_LOCK('gate')").await;
        });
        expect(place, swapped, Kind::Busy, &[1020], "");
        assert_eq!(backend.load().await.unwrap().version, Version(7));
    });
}

#[test]
fn a_server_that_was_started_to_save_what_can_be_read_is_read_only() {
    on_own(
        |_| vec![],
        async |place| {
            swap(&place.backend(), 0, "{}").await.unwrap();
            for argument in ["--innodb-read-only", "--innodb-force-recovery=5"] {
                println!("{argument}");
                let process = place.instance().pid().map(|pid| format!("/proc/{pid}/exe"));
                run_on(&mut place.connect().await, "SHUTDOWN").await;
                let process = process.expect("it runs");
                let gone = async || !Path::new(&process).exists();
                until("the server has ended", gone).await;
                place.instance().kill().unwrap();
                place.instance().start_again_with(&[argument, "--skip-log-bin"]).unwrap();
                let swapped = swap(&place.backend(), 1, "{}").await;
                expect(place, swapped, Kind::Unavailable, &[1836, 1036, 1015], "read-only");
                assert_eq!(place.backend().load().await.unwrap().version, Version(1));
            }
        },
    );
}

#[test]
fn what_does_not_fit_into_what_the_binary_log_may_gather_is_too_large() {
    let small = |kind| match kind {
        Server::MySql => vec!["--max-binlog-cache-size=4096".into()],
        Server::MariaDb => vec!["--log-bin".into(), "--max-binlog-cache-size=4096".into()],
    };
    on_own(small, async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let large = format!("{{\"n\":\"{}\"}}", "x".repeat(1 << 20));
        expect(place, swap(&backend, 1, &large).await, Kind::TooLarge, &[1197], "");
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

/// Numbers of clusters and of states that one server cannot be brought into, by a trigger that raises
/// them: this pins what they mean, as they arrive over the wire.
#[test]
fn numbers_that_only_clusters_raise_are_sorted() {
    everywhere(async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        for (number, kind, advice) in [
            (1020, Kind::Busy, ""),
            (3101, Kind::Busy, ""),
            (1047, Kind::Unavailable, ""),
            (1836, Kind::Unavailable, "read-only"),
            (1114, Kind::Unavailable, "no room"),
            (1021, Kind::Unavailable, "no room"),
            (3796, Kind::Unavailable, ""),
            (1180, Kind::OutcomeUnknown, ""),
            (1053, Kind::OutcomeUnknown, ""),
            (1317, Kind::OutcomeUnknown, ""),
            (1927, Kind::OutcomeUnknown, ""),
            (3024, Kind::OutcomeUnknown, ""),
            (1969, Kind::OutcomeUnknown, ""),
            (4031, Kind::OutcomeUnknown, ""),
            (3100, Kind::OutcomeUnknown, ""),
            (9999, Kind::OutcomeUnknown, ""),
        ] {
            place
                .run(&[&format!(
                    "CREATE TRIGGER raises BEFORE UPDATE ON interlock FOR EACH ROW \
                     SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'raised'"
                )])
                .await;
            expect(place, swap(&backend, 1, "{}").await, kind, &[number], advice);
            assert_eq!(backend.load().await.unwrap().version, Version(1), "{number}");
            place.run(&["DROP TRIGGER raises"]).await;
        }
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

/// What comes of a call whose statement is killed, when it is under way; once more if the server ended it before,
/// since it lets nobody wait for longer than 2 s.
async fn killed<T>(
    place: &Place,
    kill: &str,
    like: &str,
    mut call: impl AsyncFnMut() -> Result<T, BackendError>,
) -> Result<T, BackendError> {
    for _ in 0..30 {
        // It is connected before that time begins.
        let mut watcher = place.watcher().await;
        let mut called = pin!(call());
        let strike = async {
            let id = watcher.until_busy(like).await;
            watcher.run(&format!("{kill} {id}")).await;
        };
        let result = tokio::select! {
            result = &mut called => result,
            () = strike => called.await,
        };
        if !result.as_ref().is_err_and(|error| number(error) == Some(1205)) {
            return result;
        }
        println!("the server was sooner");
    }
    panic!("the server was always sooner");
}

#[test]
fn what_is_killed_amid_a_statement_is_unknown_to_a_swap_and_no_answer_to_a_read() {
    everywhere(async |place| {
        let user = place.plain_user().await;
        let backend = place.backend_of(&user);
        swap(&backend, 0, "{}").await.unwrap();
        let mut rival = place.connect().await;
        let mut watcher = place.watcher().await;
        for (kill, numbers) in [("KILL", &[][..]), ("KILL QUERY", &[1317])] {
            println!("{kill}");
            run_on(&mut rival, "LOCK TABLES interlock WRITE").await;
            let swapped = async || swap(&backend, 1, "{}").await;
            let swapped = killed(place, kill, "UPDATE `interlock`%", swapped).await;
            expect(place, swapped, Kind::OutcomeUnknown, numbers, "write to");
            let read = async || backend.load().await;
            let read = killed(place, kill, "SELECT version%", read).await;
            expect(place, read, Kind::Unavailable, numbers, "read from");
            run_on(&mut rival, "UNLOCK TABLES").await;
            assert_eq!(backend.load().await.unwrap().version, Version(1));
        }
        // While nothing was under way.
        for swaps in [true, false] {
            // It is the only connection of this user, once the server has ended those before.
            let connections = format!(
                "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE user = '{user}'"
            );
            let number = format!("SELECT COUNT(*) FROM ({connections}) one");
            until("the others are gone", async || place.count(&number).await == 1).await;
            let id = place.count(&connections).await;
            watcher.run(&format!("KILL {id}")).await;
            if swaps {
                let swapped = swap(&backend, 1, "{}").await;
                println!("idle killed: {swapped:?}");
                assert_eq!(swapped.unwrap_err().kind(), Kind::OutcomeUnknown);
            } else {
                let read = backend.load().await;
                println!("idle killed: {read:?}");
                assert_eq!(read.unwrap_err().kind(), Kind::Unavailable);
            }
            assert_eq!(backend.load().await.unwrap().version, Version(1));
        }
    });
}

#[test]
fn a_server_that_ends_amid_a_statement_leaves_it_unknown() {
    on_own(
        |_| vec![],
        async |place| {
            let backend = place.backend();
            swap(&backend, 0, "{}").await.unwrap();
            for order in ["SIGKILL", "SHUTDOWN"] {
                println!("{order}");
                // All are connected before the time begins that a backend waits.
                let (reader, mut watcher) = (place.backend(), place.watcher().await);
                reader.load().await.unwrap();
                let mut rival = place.connect().await;
                run_on(&mut rival, "LOCK TABLES interlock WRITE").await;
                let (swapped, read, ()) =
                    tokio::join!(swap(&backend, 1, "{}"), reader.load(), async {
                        watcher.until_busy("UPDATE `interlock`%").await;
                        watcher.until_busy("SELECT version%").await;
                        match order {
                            "SIGKILL" => place.instance().kill().unwrap(),
                            _ => watcher.run("SHUTDOWN").await,
                        }
                    });
                let gone = async || TcpStream::connect(place.instance().address()).is_err();
                until("the server has ended", gone).await;
                expect(place, backend.load().await, Kind::Unavailable, &[], "connect to");
                let next = swap(&backend, 1, "{}").await;
                expect(place, next, Kind::Unavailable, &[], "connect to");
                place.instance().kill().unwrap();
                place.instance().start_again().unwrap();
                let version = backend.load().await.unwrap().version;
                let unknown = |error, kind| {
                    let numbers = [1053, 1317, 1927];
                    let raised = if number(&error).is_some() { &numbers[..] } else { &[] };
                    expect::<()>(place, Err(error), kind, raised, "");
                };
                match (order, swapped) {
                    // Who is shut down first gives way to who waits, which may yet be done.
                    ("SHUTDOWN", Ok(_)) => assert_eq!(version, Version(2)),
                    ("SHUTDOWN", Err(error)) => unknown(error, Kind::OutcomeUnknown),
                    (_, swapped) => {
                        unknown(swapped.unwrap_err(), Kind::OutcomeUnknown);
                        assert_eq!(version, Version(1));
                    }
                }
                match (order, read) {
                    ("SHUTDOWN", Ok(_)) => {}
                    (_, read) => unknown(read.unwrap_err(), Kind::Unavailable),
                }
            }
        },
    );
}

#[test]
fn a_server_that_soon_hangs_up_on_the_idle_does_not_on_clients() {
    on_own(
        |_| vec!["--wait-timeout=1".into()],
        async |place| {
            let user = place.plain_user().await;
            let backend = place.backend_of(&user);
            swap(&backend, 0, "{}").await.unwrap();
            let options: MySqlConnectOptions = place.url_of(&user).parse().unwrap();
            let _other = options.connect().await.unwrap();
            let connections = format!(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'"
            );
            // Both lie idle, and the other one did so for a shorter time.
            until("the server hangs up", async || place.count(&connections).await == 1).await;
            assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
        },
    );
}
