//! Cells of other releases.

use std::time::SystemTime;

use lock_core::table::{ClientView, Listing, LockTable};
use lock_core::{LockSet, Reach, Request, Snapshot, Swap, VerifyError, Version};
use serde_json::{Value, json};

use super::super::tools::reaching;
use super::damaged::{refuses, restore};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Verdict, trials};

trials!("stores":
    the_first_format_is_read_and_gone_on_with,
    a_newer_format_is_refused_and_left_alone,
);

/// A cell as the first release has written it: of clients on another host, with leases of a second.
///
/// Every later release must read it and go on with it: it is never changed, others come beside it.
const FIRST: &str = include_str!("../../golden/format-1.json");
/// The version that the cell had.
const VERSION: Version = Version(1_700_000_009_000_000);

fn the_first_format_is_read_and_gone_on_with(scene: &Scene) -> Verdict {
    let cell = Snapshot { version: VERSION, data: FIRST.trim_end().into() };
    let put = scene.backend()?;
    let put = put.compare_and_swap(Version::ABSENT, VERSION, &cell.data);
    assert_eq!(scene.block_on(put)?, Swap::Swapped);
    // While there is only one format, what is read is written again as it was.
    assert_eq!(String::from_utf8(LockTable::decode(&cell)?.encode())?, FIRST.trim_end());

    let (builder, _) = reaching(scene, Reach::Network)?;
    let locks = builder.build().blocking();
    assert_eq!(summary(&locks.list()?), EXPECTED);
    let denied = locks.try_acquire("app/blog").unwrap_err();
    assert_eq!(denied.denial().map(|denial| &*denial.blockers[0].task), Some("backup-17"));
    let denied = locks.try_acquire("app/shop").unwrap_err();
    let denial = denied.denial().expect("an update is before it in the queue");
    assert!(denial.blockers[0].waits && &*denial.blockers[0].task == "update", "{denial}");

    // It is worked with: beside those who are in it, then after the end of their leases.
    let cpu = locks.try_acquire(Request::limit("cpu", 3))?;
    assert!(cpu.fence() > VERSION.0);
    let mail = locks.try_acquire(Request::shared("mail"))?;
    let others: Vec<String> =
        summary(&locks.list()?).into_iter().filter(|line| EXPECTED.contains(&&**line)).collect();
    assert_eq!(others, EXPECTED);
    let app = locks.acquire_timeout("app", LIVENESS)?;
    assert!(app.fence() > mail.fence());
    for guard in [cpu, mail, app] {
        guard.release()?;
    }
    // One of them has no lease: an operator frees it.
    assert!(locks.try_acquire("for/ever").unwrap_err().is_busy());
    assert_eq!(locks.release_task("keeper")?, 1);
    locks.try_acquire("for/ever")?.release()?;
    Ok(())
}

const EXPECTED: [&str; 5] = [
    "backup-17 on web1 of backups holds app/blog Exclusive, mail Shared since 1700000001000 \
     at 1700000001000000 (nightly)",
    "step on web1 of backups holds app/blog Exclusive since 1700000002000 at 1700000001000000",
    "parts on web1 of backups holds cpu Limit(3) since 1700000002500 at 1700000003000000",
    "keeper on web3 of keeper holds for/ever Exclusive since 1700000004000 at 1700000004000000",
    "update on web2 of updates waits for app Exclusive since 1700000005000",
];

fn summary(listing: &Listing) -> Vec<String> {
    let ms = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let who = |client: &ClientView| {
        format!("on {} of {}", client.processes.place.host.as_deref().unwrap_or("?"), client.name)
    };
    let what = |locks: &LockSet| {
        let each: Vec<_> = locks.iter().map(|(name, mode)| format!("{name} {mode:?}")).collect();
        each.join(", ")
    };
    let holds = listing.holds.iter().map(|hold| {
        let (who, what, since) = (who(&hold.client), what(&hold.locks), ms(hold.since));
        let note = hold.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
        format!("{} {who} holds {what} since {since} at {}{note}", hold.task, hold.fence)
    });
    let waiting = listing.waiting.iter().map(|waiter| {
        let (who, what, since) = (who(&waiter.client), what(&waiter.locks), ms(waiter.since));
        format!("{} {who} waits for {what} since {since}", waiter.task)
    });
    holds.chain(waiting).collect()
}

fn a_newer_format_is_refused_and_left_alone(scene: &Scene) -> Verdict {
    let holder = scene.locks()?.blocking();
    let guard = holder.task("holder").acquire("app/blog")?;
    let backend = scene.backend()?;
    let load = || scene.block_on(backend.load());
    let mut extended: Value = serde_json::from_slice(&load()?.data)?;
    extended["interlock"] = json!(2);
    let mut with_more = extended.clone();
    with_more["colour"] = json!("green");
    let other = json!({"interlock": 99, "rows": []});
    for newer in [extended, with_more, other] {
        let good = load()?;
        let data = serde_json::to_vec(&newer)?;
        let newer = Snapshot { version: Version(good.version.0 + 1), data };
        restore(scene, &newer)?;
        let fresh = scene.locks()?.blocking();
        refuses(&fresh)?;
        let error = fresh.try_acquire("app/blog").unwrap_err().to_string();
        assert!(error.contains("format") && error.contains("update this program"), "{error}");
        guard.check()?;
        assert!(matches!(guard.verify(), Err(VerifyError::Store(_))));
        assert_eq!(load()?, newer, "it was overwritten");
        // The newer release goes back to the format that all know.
        restore(scene, &Snapshot { version: Version(newer.version.0 + 1), ..good })?;
        guard.verify()?;
        assert!(fresh.try_acquire("app/blog").unwrap_err().is_busy());
        let free = fresh.try_acquire("free")?;
        assert!(free.fence() > newer.version.0);
        free.release()?;
    }
    guard.release()?;
    Ok(())
}
