//! The rights that a program needs, what it says when one is missing, and how it takes its leave.

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks, Request};

use crate::place::{Place, everywhere, expect, on_own, swap, until};

#[test]
fn three_rights_on_one_table_are_enough_for_everything() {
    everywhere(async |place| {
        let user = place.plain_user().await;
        let locks = Locks::new(place.backend_of(&user));
        let guard = locks.acquire(Request::exclusive("app").and_limit("backup", 2)).await.unwrap();
        let rival = Locks::new(place.backend_of(&user));
        let (granted, released) = tokio::join!(rival.acquire("app/blog"), async {
            until("the rival waits", async || !locks.list().await.unwrap().waiting.is_empty())
                .await;
            guard.release().await
        });
        released.unwrap();
        granted.unwrap().release().await.unwrap();
        // Many who write at once take turns.
        let crowd: Vec<Locks> = (0..6).map(|_| Locks::new(place.backend_of(&user))).collect();
        let mut work = tokio::task::JoinSet::new();
        for (index, locks) in crowd.iter().cloned().enumerate() {
            work.spawn(async move {
                for _ in 0..20 {
                    let guard = locks.acquire(format!("own/{index}")).await.unwrap();
                    guard.release().await.unwrap();
                }
            });
        }
        work.join_all().await;
        for locks in crowd.iter().chain([&locks, &rival]) {
            locks.close().await.unwrap();
        }
        let backend = place.backend_of(&user);
        assert!(backend.load_in_turn().await.unwrap().is_some(), "it had its turn");
    });
}

#[test]
fn what_is_missing_is_said_as_the_grant_to_type() {
    everywhere(async |place| {
        swap(&place.backend(), 0, "{}").await.unwrap();
        for missing in ["SELECT", "INSERT", "UPDATE"] {
            let rights: Vec<&str> = ["SELECT", "INSERT", "UPDATE"]
                .into_iter()
                .filter(|right| *right != missing)
                .collect();
            let right = format!("{} ON {}.interlock", rights.join(", "), place.name);
            let user = place.user(&[right]).await;
            println!("without {missing}");
            let grant = grant(place, &user);
            let backend = place.backend_of(&user);
            let error = match missing {
                "SELECT" => backend.load().await.map(drop),
                "INSERT" => swap(&backend, 0, "{}").await.map(drop),
                _ => swap(&backend, 1, "{}").await.map(drop),
            };
            expect(place, error, Kind::Misconfigured, &[1142, 1143], &grant);
            // Whoever types it is done.
            place.run(&[&grant]).await;
            swap(&backend, 1, "{}").await.unwrap();
            swap(&backend, 0, "{}").await.unwrap();
            backend.load().await.unwrap();
            let reset = "UPDATE interlock SET version = 1";
            place.run(&[reset]).await;
        }
        let user = place.plain_user().await;
        let backend = place.backend_of(&user);
        backend.migrate().await.expect("the table is there: it takes no right to leave it so");
        let stranger = place.user(&[format!("INSERT ON {}.interlock", place.name)]).await;
        let stranger_grant = grant(place, &stranger);
        let stranger = place.backend_of(&stranger);
        expect(
            place,
            stranger.migrate().await,
            Kind::Misconfigured,
            &[1142, 1143],
            &stranger_grant,
        );
        place.run(&["DROP TABLE interlock"]).await;
        expect(place, backend.migrate().await, Kind::Misconfigured, &[1142], "`lockctl init`");
        expect(place, backend.load().await, Kind::Misconfigured, &[1146], "`lockctl init`");
    });
}

fn grant(place: &Place, user: &str) -> String {
    format!("GRANT SELECT, INSERT, UPDATE ON `{}`.`interlock` TO '{user}'@'%'", place.name)
}

#[test]
fn a_client_that_closes_says_goodbye() {
    on_own(
        |_| vec![],
        async |place| {
            let aborted = async || -> u64 {
                let status = "SHOW GLOBAL STATUS LIKE 'Aborted_clients'";
                place.text(status, 1).await.parse().unwrap()
            };
            let user = place.plain_user().await;
            let before = aborted().await;
            let closed = Locks::new(place.backend_of(&user));
            closed.acquire("a").await.unwrap().release().await.unwrap();
            closed.close().await.unwrap();
            let dropped = Locks::new(place.backend_of(&user));
            drop(dropped.acquire("a").await.unwrap());
            drop(dropped);
            until("both have left", async || {
                place
                    .count(&format!(
                        "SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{user}'"
                    ))
                    .await
                    == 0
            })
            .await;
            assert_eq!(aborted().await, before);
            // A backend that just ends is counted, which shows that the counter counts.
            let rude = place.backend_of(&user);
            rude.load().await.unwrap();
            drop(rude);
            until("the counter counts", async || aborted().await > before).await;
        },
    );
}
