//! Layer 1: names of locks and tasks, over the backend.

use lock_core::{AcquireError, LockName, LockSet, Request, RequestError};

use super::{busy, unexpected};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("handles":
    names_are_compared_byte_for_byte,
    a_name_has_at_most_512_bytes,
    any_text_is_a_name,
    bad_names_are_refused_before_the_store_is_asked,
    a_name_is_given_once,
    tasks_and_notes_are_read_as_they_were_named,
);

fn names_are_compared_byte_for_byte(scene: &Scene) -> Verdict {
    let alike = [
        ["app/blog", "app/Blog"],
        ["APP", "app"],
        ["stra\u{df}e", "strasse"],
        ["\u{e9}", "e\u{301}"],
        ["\u{fb01}", "fi"],
        ["\u{130}", "i"],
        ["\u{3a3}", "\u{3c2}"],
        ["\u{ff41}", "a"],
        ["space", "space "],
        ["a\u{200b}b", "ab"],
        ["\u{1f512}", "\u{1f513}"],
        ["_x", "%x"],
        ["01", "1"],
        ["c.d", "c_d"],
    ];
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        for [first, second] in alike {
            let held = one.try_acquire(first).await?;
            let beside = other.try_acquire(second).await;
            let beside = beside.map_err(|e| Failure::failed(format!("{second:?}: {e}")))?;
            busy(one.try_acquire(second).await)?;
            busy(other.try_acquire(first).await)?;
            beside.release().await?;
            held.release().await?;
            scene.count("cases", 1);
        }
        Ok(())
    })
}

fn a_name_has_at_most_512_bytes(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let two = "\u{e9}".repeat(256);
        let deep = vec!["x"; 256].join("/") + "y";
        for longest in ["x".repeat(512), two, deep] {
            assert_eq!(longest.len(), 512);
            let guard = one.acquire(&longest).await?;
            assert_eq!(other.list().await?.holds[0].locks.keys().next().unwrap().as_str(), longest);
            busy(other.try_acquire(&longest).await)?;
            let mut differs = longest.clone();
            differs.pop();
            other.try_acquire(differs + "q").await?.release().await?;
            guard.release().await?;
            let error = request_error(other.try_acquire(longest.clone() + "z").await)?;
            assert!(error.name_error().is_some_and(lock_core::NameError::is_too_long), "{error}");
        }
        // 512 characters are more than 512 bytes.
        let error = request_error(one.try_acquire("\u{e9}".repeat(512)).await)?;
        assert!(error.to_string().contains("1024"), "it says how long it is: {error}");
        Ok(())
    })
}

fn any_text_is_a_name(scene: &Scene) -> Verdict {
    let names = [
        " ",
        ".",
        "..",
        "a b",
        "\"",
        "\\",
        "'",
        "\\u0000",
        "{}",
        "null",
        "%00",
        "a\u{a0}b",
        "\u{202e}left",
        "\u{feff}",
        "\u{fffd}",
        "\u{e000}",
        "\u{10ffff}",
        "\u{4e2d}\u{6587}/\u{939}",
        "--flag",
        "$HOME",
        "*",
        "a,b;c",
        "; DROP TABLE interlock",
    ];
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let all: LockSet = names
            .iter()
            .map(|name| Ok((LockName::new(name)?, lock_core::Mode::Exclusive)))
            .collect::<Result<_, lock_core::NameError>>()?;
        let guard = one.acquire(all.clone()).await?;
        assert_eq!(other.list().await?.holds[0].locks, all);
        for name in names {
            assert_eq!(guard.fence_of(name), Some(guard.fence()));
            assert_eq!(busy(other.try_acquire(name).await)?.blockers[0].lock.as_str(), name);
        }
        guard.release().await?;
        Ok(())
    })
}

fn bad_names_are_refused_before_the_store_is_asked(scene: &Scene) -> Verdict {
    let locks = scene.locks()?;
    let backend = scene.backend()?;
    let bad = [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "//",
        "a/ /",
        "a\0",
        "a\nb",
        "\t",
        "\r",
        "\u{1b}[0m",
        "a\u{7f}",
        "\u{80}",
        "\u{9f}",
    ];
    scene.block_on(async {
        for name in bad {
            for request in [
                Request::exclusive(name),
                Request::shared("good").and_limit(name, 2),
                Request::exclusive(name).and_exclusive("good"),
            ] {
                let error = request_error(locks.acquire(request.clone()).await)?;
                let wrong = error.name_error().ok_or_else(|| unexpected("a bad name", &error))?;
                let kinds =
                    [wrong.is_empty(), wrong.is_empty_segment(), wrong.is_control_character()];
                assert_eq!(kinds.into_iter().filter(|is| *is).count(), 1, "{name:?}: {error}");
                assert!(!error.to_string().contains(char::is_control), "{name:?}");
                request_error(locks.try_acquire(request.clone()).await)?;
                assert!(matches!(locks.would_block(request).await, Err(AcquireError::Request(_))));
            }
        }
        for name in ["", "a\nb", &"x".repeat(513)] {
            request_error(locks.task(name).acquire("good").await)?;
        }
        let cell = crate::cell::load(&*backend).await?;
        assert_eq!(cell, lock_core::Snapshot::default(), "nothing was ever written");
        Ok(())
    })
}

fn a_name_is_given_once(scene: &Scene) -> Verdict {
    let locks = scene.locks()?;
    scene.block_on(async {
        for request in [
            Request::exclusive("a").and_exclusive("a"),
            Request::shared("a").and_shared("a"),
            Request::exclusive("a").and_shared("b").and_limit("a", 2),
        ] {
            let error = request_error(locks.acquire(request).await)?;
            assert!(error.is_twice() && error.to_string().contains('a'), "{error}");
        }
        assert!(request_error(locks.acquire(Request::limit("a", 0)).await)?.is_zero_limit());
        request_error(locks.acquire(LockSet::new()).await)?;
        // A name and one below it are two names, and one request never conflicts with itself.
        let guard = locks.acquire(Request::exclusive("a").and_exclusive("a/b").and_shared("A"));
        guard.await?.release().await?;
        Ok(())
    })
}

fn tasks_and_notes_are_read_as_they_were_named(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        for name in ["backup-17", "//", " ", "\u{e9} \"quoted\" \\ \u{1f512}", &"x".repeat(512)] {
            let mut task = one.task(name).with_note("line one\nline two");
            let guard = task.acquire("a").await?;
            let listing = other.list().await?;
            let hold = &listing.holds[0];
            assert_eq!((&*hold.task, hold.note.as_deref()), (name, Some("line one line two")));
            assert_eq!((&hold.task_id, hold.id), (guard.task_id(), guard.id()));
            assert_eq!((hold.fence, hold.client.id), (guard.fence(), one.client_id()));
            assert_eq!(&*busy(other.try_acquire("a").await)?.blockers[0].task, name);
            guard.release().await?;
        }
        Ok(())
    })
}

fn request_error(asked: Result<lock_core::Guard, AcquireError>) -> Result<RequestError, Failure> {
    match asked {
        Err(AcquireError::Request(error)) => Ok(error),
        other => Err(unexpected("a refused request", &other)),
    }
}
