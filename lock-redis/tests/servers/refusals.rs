//! What a server refuses, what that means for a swap, and whether its message says what to do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use lock_core::{BackendErrorKind as Kind, LockBackend, Swap, Version};

use crate::place::{PATIENCE, backend, everywhere, expect, swap, until};
use crate::support::key;

#[test]
fn what_somebody_else_has_put_there_is_no_cell_and_stays() {
    everywhere(&[], async |place| {
        let key = key("default");
        let theirs: [&[&str]; 5] = [
            &["SET", &key, "x"],
            &["HSET", &key, "name", "x"],
            &["HSET", &key, "version", "1"],
            &["HSET", &key, "version", "01", "data", "{}"],
            &["HSET", &key, "version", "1", "data", "{}", "more", "x"],
        ];
        let backend = place.backend();
        for command in theirs {
            place.call::<()>(&["DEL", &key]);
            place.call::<()>(command);
            let before: Vec<u8> = place.call(&["DUMP", &key]);
            expect(backend.load().await, Kind::Misconfigured, &key);
            match swap(&backend, 0, "{}").await {
                Ok(swap) => assert_eq!(swap, Swap::Conflict),
                refused => expect(refused, Kind::Misconfigured, &key),
            }
            assert_eq!(place.call::<Vec<u8>>(&["DUMP", &key]), before);
        }
    });
}

#[tokio::test]
async fn what_speaks_otherwise_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"<!DOCTYPE html>\n<p>Bad request\n");
        }
    });
    expect(backend(&url).load().await, Kind::Misconfigured, "no Redis or Valkey: check host");
}

#[test]
fn a_server_that_others_keep_busy_is_waited_for() {
    everywhere(&["busy-reply-threshold 50"], async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let url = place.url();
        let endless = std::thread::spawn(move || {
            crate::support::call::<()>(&url, &["EVAL", "while true do end", "0"])
        });
        until("it is busy", async || {
            backend.load().await.is_err_and(|error| error.to_string().contains("busy"))
        })
        .await;
        expect(swap(&backend, 1, "{}").await, Kind::Unavailable, "a script of somebody");
        place.call::<()>(&["SCRIPT", "KILL"]);
        endless.join().unwrap().expect_err("it was killed");
        assert_eq!(swap(&backend, 1, "{}").await.unwrap(), Swap::Swapped);
    });
}

#[test]
fn a_server_without_room_for_connections_is_waited_for() {
    everywhere(&["maxclients 2"], async |place| {
        let client = redis::Client::open(place.url()).unwrap();
        let user = {
            let user = place.user(crate::place::RIGHTS);
            place.url_of(&user)
        };
        let others = [client.get_connection().unwrap(), client.get_connection().unwrap()];
        for url in [place.url(), user] {
            expect(backend(&url).load().await, Kind::Unavailable, "no more connections");
        }
        drop(others);
        let backend = place.backend();
        until("there is room", async || backend.load().await.is_ok()).await;
    });
}

#[test]
fn a_connection_that_was_cut_is_made_again() {
    everywhere(&[], async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        place.call::<()>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        // Whether it was cut before or after a command arrived cannot be told.
        match swap(&backend, 1, "{}").await {
            Ok(swap) => assert_eq!(swap, Swap::Swapped),
            refused => expect(refused, Kind::OutcomeUnknown, ""),
        }
        backend.load().await.expect("the next call connects again");
    });
}

#[test]
fn a_subscription_that_was_cut_is_made_again() {
    everywhere(&[], async |place| {
        let backend = place.backend();
        swap(&backend, 0, "{}").await.unwrap();
        let subscribers = || -> i64 {
            let found: (String, i64) =
                place.call(&["PUBSUB", "NUMSUB", &format!("{}:0", key("default"))]);
            found.1
        };
        let cut = async {
            until("it listens", async || subscribers() == 1).await;
            place.call::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        };
        let (changed, ()) = tokio::join!(backend.changed(Version(1)), cut);
        expect(changed, Kind::Unavailable, "the subscription has ended");
        let write = async {
            until("it listens again", async || subscribers() == 1).await;
            swap(&place.backend(), 1, "{}").await.unwrap();
        };
        let (changed, ()) = tokio::join!(backend.changed(Version(1)), write);
        changed.unwrap();
        // What was written before it listened is told too.
        let late = place.backend();
        let told = tokio::time::timeout(PATIENCE, late.changed(Version(1))).await;
        told.expect("it is told").unwrap();
        // Nobody listens without being waited for.
        until("nobody listens", async || subscribers() == 0).await;
        let none = tokio::time::timeout(Duration::from_millis(200), late.changed(Version(2)));
        none.await.expect_err("there is nothing to tell");
    });
}

#[test]
fn an_old_server_says_that_it_is_old() {
    // It does not know how a script says what it does: that is what an old one answers to the scripts.
    everywhere(&["rename-command EVALSHA \"\""], async |place| {
        expect(place.backend().load().await, Kind::Misconfigured, "does not know");
        expect(swap(&place.backend(), 0, "{}").await, Kind::Misconfigured, "does not know");
    });
}
