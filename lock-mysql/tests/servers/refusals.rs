//! What a server refuses for a reason that somebody can mend, and whether its message says how.

use lock_core::{BackendErrorKind as Kind, LockBackend, Swap, Version};
use lock_mysql::MySqlBackend;
use lock_servers::Kind as Server;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::place::{PASSWORD, everywhere, expect, on_own, run_on, swap, until};

#[test]
fn a_server_that_may_only_be_read_says_so() {
    on_own(
        |_| vec![],
        async |place| {
            let refused = async |backend: &MySqlBackend, number| {
                let swapped = swap(backend, 1, "{}").await;
                expect(place, swapped, Kind::Unavailable, &[number], "it is read-only");
            };
            // It may have stopped being the primary, and what it knows be of the past.
            let not_believed = async |backend: &MySqlBackend| {
                for _ in 0..2 {
                    expect(place, backend.load().await, Kind::Unavailable, &[], "it is read-only");
                }
            };
            let backend = place.backend_of(&place.plain_user().await);
            swap(&backend, 0, "{}").await.unwrap();
            place.run(&["SET GLOBAL read_only = 1"]).await;
            refused(&backend, 1290).await;
            not_believed(&backend).await;
            place.run(&["SET GLOBAL read_only = 0"]).await;
            assert_eq!(backend.load().await.unwrap().version, Version(1));
            place.run(&["SET GLOBAL read_only = 1"]).await;
            // Also on a connection that is there already.
            not_believed(&backend).await;
            place.run(&["SET GLOBAL read_only = 0"]).await;
            if place.kind == Server::MySql {
                let root = place.backend();
                root.load().await.unwrap();
                place.run(&["SET GLOBAL super_read_only = 1"]).await;
                refused(&root, 1290).await;
                place.run(&["SET GLOBAL super_read_only = 0, GLOBAL read_only = 0"]).await;
                root.load().await.unwrap();
                place.run(&[&format!("ALTER DATABASE {} READ ONLY = 1", place.name)]).await;
                refused(&root, 3989).await;
                place.run(&[&format!("ALTER DATABASE {} READ ONLY = 0", place.name)]).await;
            }
            assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
            // That there is nothing may be of the past as well.
            place.run(&["DELETE FROM interlock"]).await;
            assert_eq!(backend.load().await.unwrap().version, Version::ABSENT);
            place.run(&["SET GLOBAL read_only = 1"]).await;
            not_believed(&backend).await;
        },
    );
}

#[test]
fn a_server_that_lets_nobody_else_in_is_unavailable() {
    on_own(
        |_| vec![],
        async |place| {
            let user = place.plain_user().await;
            let refused = async |number, says| {
                let read = place.backend_of(&user).load().await;
                expect(place, read, Kind::Unavailable, &[number], says);
            };
            let mut root = place.connect().await;
            if place.kind == Server::MySql {
                run_on(&mut root, "SET GLOBAL offline_mode = 1").await;
                refused(3032, "").await;
                run_on(&mut root, "SET GLOBAL offline_mode = 0").await;
            }
            let full = "no more connections";
            run_on(&mut root, "SET GLOBAL max_connections = 10").await;
            let options: MySqlConnectOptions = place.url_of(&user).parse().unwrap();
            let mut others = Vec::new();
            while let Ok(other) = options.connect().await {
                others.push(other);
                assert!(others.len() < 20, "there are more than may be");
            }
            refused(1040, full).await;
            for other in others {
                other.close().await.unwrap();
            }
            let first = place.backend_of(&user);
            until("the others have left", async || first.load().await.is_ok()).await;
            let limit =
                |limit| format!("ALTER USER '{user}'@'%' WITH MAX_USER_CONNECTIONS {limit}");
            run_on(&mut root, &limit(1)).await;
            // Who came before is not counted.
            let second = place.backend_of(&user);
            second.load().await.unwrap();
            refused(1226, full).await;
            run_on(&mut root, &limit(0)).await;
            if place.kind == Server::MySql {
                run_on(&mut root, "SET GLOBAL max_user_connections = 1").await;
                second.close().await;
                let third = place.backend_of(&user);
                until("the second has left", async || third.load().await.is_ok()).await;
                refused(1203, full).await;
            }
        },
    );
}

#[test]
fn what_is_missing_or_forbidden_is_named() {
    everywhere(async |place| {
        let user = place.plain_user().await;
        let stranger = place.user(&[]).await;
        let wrong = place.url_of(&user).replace(PASSWORD, "wrong");
        let wrong = MySqlBackend::from_url(&wrong).unwrap();
        expect(place, wrong.load().await, Kind::Misconfigured, &[1045], "user, password and host");
        let stranger = place.backend_of(&stranger);
        expect(
            place,
            stranger.load().await,
            Kind::Misconfigured,
            &[1044],
            "GRANT SELECT, INSERT, UPDATE ON `",
        );
        let elsewhere = format!("{}{}", place.url(), "none");
        let elsewhere = MySqlBackend::from_url(&elsewhere).unwrap();
        expect(place, elsewhere.load().await, Kind::Misconfigured, &[1049], "no such database");
        let nowhere = place.url().replace(&format!("/{}", place.name), "");
        let nowhere = MySqlBackend::from_url(&nowhere).unwrap();
        expect(place, nowhere.load().await, Kind::Misconfigured, &[1046], "add /DATABASE");
        place.run(&[&format!("ALTER USER '{user}'@'%' ACCOUNT LOCK")]).await;
        let locked = place.backend_of(&user);
        expect(place, locked.load().await, Kind::Misconfigured, &[3118, 4151], "locked");
        place.run(&[&format!("ALTER USER '{user}'@'%' ACCOUNT UNLOCK PASSWORD EXPIRE")]).await;
        let expired = place.backend_of(&user);
        expect(place, expired.load().await, Kind::Misconfigured, &[1820, 1862], "expired");
        place.run(&["DROP TABLE interlock"]).await;
        let backend = place.backend();
        expect(place, backend.load().await, Kind::Misconfigured, &[1146], "`lockctl init`");
        expect(place, swap(&backend, 0, "{}").await, Kind::Misconfigured, &[1146], "SQL file");
        assert!(backend.load_in_turn().await.unwrap().is_none(), "and gives no turns");
        for columns in ["0, '{}'", "0, ''"] {
            place.backend().migrate().await.unwrap();
            let insert =
                format!("REPLACE INTO interlock (id, version, data) VALUES ('default', {columns})");
            place.run(&[&insert]).await;
            expect(place, backend.load().await, Kind::Misconfigured, &[], "version 0");
        }
    });
}

#[test]
fn what_does_not_fit_into_a_packet_is_known_beforehand() {
    on_own(
        |_| vec![],
        async |place| {
            let backend = place.backend();
            let large = format!("\"{}\"", "x".repeat(2_000_000));
            assert_eq!(swap(&backend, 0, &large).await.unwrap(), Swap::Swapped);
            place.run(&["SET GLOBAL max_allowed_packet = 1048576"]).await;
            // A connection keeps the limit that it began with.
            assert_eq!(swap(&backend, 1, &large).await.unwrap(), Swap::Swapped);
            let backend = place.backend();
            let read = backend.load().await;
            println!("{}: {:?}", place.kind, read.as_ref().map(|cell| cell.data.len()));
            let version = read.unwrap().version;
            assert_eq!(version, Version(2));
            expect(
                place,
                swap(&backend, 2, &large).await,
                Kind::TooLarge,
                &[],
                "max_allowed_packet",
            );
            let fits = format!("\"{}\"", "x".repeat(1_000_000));
            assert_eq!(swap(&backend, 2, &fits).await.unwrap(), Swap::Swapped);
        },
    );
}

#[test]
fn a_server_without_room_is_unavailable() {
    on_own(
        |_| {
            vec![
                "--innodb-data-file-path=ibdata1:12M:autoextend:max:16M".into(),
                "--innodb-file-per-table=OFF".into(),
                "--innodb-autoextend-increment=1".into(),
            ]
        },
        async |place| {
            let backend = place.backend();
            swap(&backend, 0, "{}").await.unwrap();
            let mut version = 1;
            let error = loop {
                let data =
                    format!("\"{}\"", "x".repeat(500_000 * usize::try_from(version).unwrap()));
                match swap(&backend, version, &data).await {
                    Ok(swapped) => assert_eq!(swapped, Swap::Swapped),
                    Err(error) => break error,
                }
                version += 1;
            };
            expect::<()>(place, Err(error), Kind::Unavailable, &[1114], "no room");
            assert_eq!(backend.load().await.unwrap().version, Version(version), "it can be read");
        },
    );
}
