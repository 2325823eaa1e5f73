//! The rights that a program needs, what it says when one is missing, and passwords.

use std::os::unix::fs::PermissionsExt;

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks, Request, Swap, Version};
use lock_redis::RedisBackend;

use crate::place::{
    PASSWORD, Place, RIGHTS, backend, everywhere, expect, swap, until, until_waiting,
};
use crate::support::key;

/// Everything that a client does, with one of its rivals.
async fn work(place: &Place, user: &str) {
    let locks = Locks::new(backend(&place.url_of(user)));
    let guard = locks.acquire(Request::exclusive("app").and_limit("backup", 2)).await.unwrap();
    let rival = Locks::new(backend(&place.url_of(user)));
    let (granted, released) = tokio::join!(rival.acquire("app/blog"), async {
        until_waiting(&locks).await;
        guard.release().await
    });
    released.unwrap();
    granted.unwrap().release().await.unwrap();
    let crowd: Vec<Locks> = (0..4).map(|_| Locks::new(backend(&place.url_of(user)))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, locks) in crowd.iter().cloned().enumerate() {
        tasks.spawn(async move {
            for _ in 0..20 {
                let guard = locks.acquire(format!("own/{index}")).await.unwrap();
                guard.release().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    for locks in crowd.iter().chain([&locks, &rival]) {
        locks.close().await.unwrap();
    }
}

#[test]
fn the_front_page_shows_these_rights_and_no_others() {
    let page = include_str!("../../src/lib.rs");
    let shown: Vec<&str> = page.lines().filter(|line| line.contains("ACL SETUSER")).collect();
    assert_eq!(shown, [format!("//! ACL SETUSER shop on >PASSWORD {}", RIGHTS.join(" "))]);
}

#[test]
fn these_rights_are_enough_for_everything() {
    everywhere(&[], async |place| {
        let user = place.user(RIGHTS);
        work(place, &user).await;
        let log: Vec<redis::Value> = place.call(&["ACL", "LOG"]);
        assert!(log.is_empty(), "something was refused: {log:?}");
    });
}

#[test]
fn what_is_missing_is_said_as_the_rule_to_type() {
    everywhere(&[], async |place| {
        for missing in
            ["~interlock:*", "+evalsha", "+script|load", "+hget", "+hgetall", "+hset", "+exists"]
        {
            println!("without {missing}");
            place.call::<()>(&["FLUSHALL"]);
            let rights: Vec<&str> = RIGHTS.iter().copied().filter(|one| *one != missing).collect();
            let user = place.user(&rights);
            let mine = backend(&place.url_of(&user));
            let rule = format!("ACL SETUSER {user} on {}", RIGHTS.join(" "));
            if missing == "+script|load" {
                place.call::<()>(&["SCRIPT", "FLUSH"]);
            } else {
                place.backend().load().await.unwrap();
                swap(&place.backend(), 0, "{}").await.unwrap();
                place.call::<()>(&["FLUSHALL"]);
            }
            let read_only = ["+hget", "+hset", "+exists"].contains(&missing);
            if read_only {
                mine.load().await.unwrap();
            } else {
                expect(mine.load().await, Kind::Misconfigured, &rule);
            }
            if missing != "+hgetall" {
                expect(swap(&mine, 0, "{}").await, Kind::Misconfigured, &rule);
                assert_eq!(place.backend().load().await.unwrap().version, Version::ABSENT);
            }
            // Whoever types it is done.
            place.call::<()>(&rule.split(' ').collect::<Vec<_>>());
            swap(&mine, 0, "{}").await.unwrap();
            mine.load().await.unwrap();
        }
    });
}

#[test]
fn what_a_swap_lacks_is_told_before_it_is_tried() {
    everywhere(&[], async |place| {
        let owner = place.backend();
        for is_there in [false, true] {
            if is_there {
                swap(&owner, 0, "{}").await.unwrap();
            }
            let before = owner.load().await.unwrap();
            for missing in [&["+hset"][..], &["+exists"], &["+hget", "+exists", "+hset"], &[]] {
                let rights: Vec<&str> =
                    RIGHTS.iter().copied().filter(|one| !missing.contains(one)).collect();
                let user = place.user(&rights);
                let mine = backend(&place.url_of(&user));
                let rule = format!("ACL SETUSER {user} on {}", RIGHTS.join(" "));
                let told = mine.rights().await.unwrap();
                assert_eq!((&told.user, told.rule), (&user, rule));
                assert_eq!(told.lacking, missing);
                assert_eq!(owner.load().await.unwrap(), before);
            }
        }
    });
}

#[test]
fn who_may_not_publish_or_subscribe_or_ask_has_locks_all_the_same() {
    everywhere(&[], async |place| {
        for missing in ["&interlock:*", "+publish", "+subscribe", "+ping", "+info", "+hstrlen"] {
            println!("without {missing}");
            let mut rights: Vec<&str> =
                RIGHTS.iter().copied().filter(|one| *one != missing).collect();
            if missing == "&interlock:*" {
                rights.push("resetchannels");
            }
            let user = place.user(&rights);
            work(place, &user).await;
            let told = backend(&place.url_of(&user));
            if ["&interlock:*", "+subscribe"].contains(&missing) {
                told.changed(Version::ABSENT).await.expect_err("it may not subscribe");
                told.load().await.expect("that is no reason not to read");
            }
        }
    });
}

#[test]
fn a_wrong_password_is_said_and_none_is_shown() {
    everywhere(&[], async |place| {
        let user = place.user(RIGHTS);
        let url = place.url_of(&user);
        backend(&url).load().await.unwrap();
        for wrong in [
            url.replace(PASSWORD, &format!("not-{PASSWORD}")),
            url.replace(&user, "nobody"),
            url.replace(&user, ""),
        ] {
            expect(backend(&wrong).load().await, Kind::Misconfigured, "check user and password");
            let changed = backend(&wrong).changed(Version(1)).await;
            expect(changed, Kind::Misconfigured, "check user and password");
        }
        place.call::<()>(&["ACL", "SETUSER", &user, "off"]);
        expect(backend(&url).load().await, Kind::Misconfigured, "check user and password");
        place.call::<()>(&["CONFIG", "SET", "requirepass", PASSWORD]);
        expect(place.backend().load().await, Kind::Misconfigured, "wants a password");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
        let url = format!("{}?password-file={}", place.url(), file.path().display());
        backend(&url).load().await.unwrap();
        backend(&place.url_of("")).load().await.unwrap();
    });
}

#[test]
fn a_user_without_a_password_is_that_user_or_nobody() {
    everywhere(&[], async |place| {
        let user = place.user(RIGHTS);
        let url = format!("redis://{user}@{}", place.server.address());
        expect(backend(&url).load().await, Kind::Misconfigured, "check user and password");
        place.call::<()>(&["ACL", "SETUSER", &user, "nopass"]);
        let mine = backend(&url);
        mine.load().await.unwrap();
        assert_eq!(swap(&mine, 0, "x").await.unwrap(), Swap::Swapped);
        mine.changed(Version::ABSENT).await.unwrap();
        let list: String = place.call(&["CLIENT", "LIST"]);
        let connections = list.lines().filter(|line| line.contains(&format!("user={user} ")));
        assert_eq!(connections.count(), 2, "one that asks and one that listens: {list}");
    });
}

#[test]
fn a_new_password_in_its_file_needs_no_restart() {
    everywhere(&[], async |place| {
        let user = place.user(RIGHTS);
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        std::fs::write(path, format!("{PASSWORD}\n")).unwrap();
        let url =
            format!("redis://{user}@{}?password-file={}", place.server.address(), path.display());
        let locks = Locks::new(backend(&url));
        let held = locks.acquire("app/blog").await.unwrap();
        let plain = backend(&url);
        plain.changed(Version::ABSENT).await.unwrap();

        let new = format!("new-{PASSWORD}");
        let rule = [&*user, &format!("<{PASSWORD}"), &format!(">{new}")];
        place.call::<()>(&[&["ACL", "SETUSER"][..], &rule].concat());
        let kill = || place.call::<usize>(&["CLIENT", "KILL", "USER", &user]);
        std::fs::write(path, format!("{new}\n")).unwrap();
        assert_eq!(kill(), 3, "one that listens, too");
        held.verify().await.expect("it connects with the new password");
        held.release().await.unwrap();
        locks.acquire("app/blog").await.unwrap().release().await.unwrap();
        until("it reads again", async || plain.load().await.is_ok()).await;
        until("it listens again", async || plain.changed(Version::ABSENT).await.is_ok()).await;

        // What would be refused at the start is refused then as well, until it is mended.
        std::fs::remove_file(path).unwrap();
        kill();
        until("it says what it cannot read", async || match plain.load().await {
            Err(error) if error.kind() == Kind::Misconfigured => {
                let said = error.to_string();
                assert!(said.contains(&format!("password file {}", path.display())), "{said}");
                true
            }
            _ => false,
        })
        .await;
        let error = RedisBackend::from_url(&url).unwrap_err();
        assert_eq!(error.kind(), Kind::Misconfigured);
        std::fs::write(path, new).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).unwrap();
        plain.load().await.unwrap();
        locks.close().await.unwrap();
    });
}

#[test]
fn a_server_that_repeats_what_it_was_told_does_not_show_the_password() {
    everywhere(&["rename-command AUTH \"\""], async |place| {
        expect(backend(&place.url_of("u")).load().await, Kind::Misconfigured, "");
        place.backend().load().await.unwrap();
    });
}

#[test]
fn databases_and_namespaces_are_apart() {
    everywhere(&[], async |place| {
        let in_second = backend(&format!("{}/2", place.url()));
        let named = backend(&format!("{}/2?namespace=a%7Db", place.url()));
        swap(&place.backend(), 0, "zero").await.unwrap();
        swap(&in_second, 0, "two").await.unwrap();
        swap(&named, 0, "named").await.unwrap();
        for (backend, data) in [(&place.backend(), "zero"), (&in_second, "two"), (&named, "named")]
        {
            assert_eq!(backend.load().await.unwrap().data, data.as_bytes());
        }
        assert!(place.call::<bool>(&["EXISTS", &key("default")]));
        expect(
            backend(&format!("{}/99", place.url())).load().await,
            Kind::Misconfigured,
            "no database of that number",
        );
    });
}
