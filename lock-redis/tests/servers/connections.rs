//! How many connections a client has, whatever it holds and waits for.

use lock_core::Locks;

use crate::place::{Place, everywhere, until, until_waiting};

/// Those whom the server has, but for the one that asks.
fn connections(place: &Place) -> usize {
    place.call::<String>(&["CLIENT", "LIST"]).lines().count() - 1
}

#[test]
fn one_is_enough_for_any_number_of_locks_and_one_more_for_any_number_of_waiters() {
    everywhere(&[], async |place| {
        // Bells of the host would spare the subscription.
        let builder = || Locks::builder(place.backend()).no_bell();
        let locks = builder().build();
        let mut guards = Vec::new();
        for number in 0..8 {
            guards.push(locks.acquire(format!("{number}")).await.unwrap());
        }
        assert_eq!(connections(place), 1);

        let other = builder().build();
        let waiting: Vec<_> = (0..8)
            .map(|number| {
                let other = other.clone();
                tokio::spawn(async move { other.acquire(format!("{number}")).await })
            })
            .collect();
        until_waiting(&locks).await;
        until("it listens", async || connections(place) == 3).await;
        for guard in guards {
            guard.release().await.unwrap();
            // The server has one more for the moment in which it is taken leave of.
            until("there are no more than before", async || connections(place) == 3).await;
        }
        for waiter in waiting {
            waiter.await.unwrap().unwrap().release().await.unwrap();
        }
        until("it listens no more", async || connections(place) == 2).await;
        locks.close().await.unwrap();
        other.close().await.unwrap();
        until("they are closed", async || connections(place) == 0).await;
    });
}
