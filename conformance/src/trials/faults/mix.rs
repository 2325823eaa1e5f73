//! All faults at once, by chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use lock_core::testing::{FaultyBackend, Rates};
use lock_core::{AcquireError, Guard, Locks};
use tokio::task::JoinSet;

use super::{Net, assert_clean, until, within};
use crate::proxy::{Direction, Then};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};

const CLIENTS: u64 = 4;
const LOCKS: usize = 2;

/// For each lock, whether somebody is in, and the last fence.
type Rooms = Arc<[(AtomicBool, AtomicU64); LOCKS]>;

pub(super) fn everything_at_once_never_lets_two_in_and_leaves_nothing(scene: &Scene) -> Verdict {
    let net = Net::new(scene)?;
    scene.block_on(async {
        let rooms = Rooms::default();
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for number in 1..=CLIENTS {
            // One of them is not behind the proxy: it sees the effects of the others' faults.
            let locks = if number == 1 { scene.locks()? } else { net.builder()?.build() };
            let (rooms, stop, done) = (rooms.clone(), stop.clone(), done.clone());
            let mut random = scene.random(number);
            clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    step(&locks, &rooms, &mut random).await?;
                    // What the direct one does proves nothing.
                    done.fetch_add(usize::from(number > 1), Ordering::Relaxed);
                }
                within("the end", locks.close()).await??;
                Verdict::Ok(())
            });
        }
        let mut random = scene.random(0);
        for _ in 0..scene.cases(25) {
            disturb(&net, &mut random)?;
            tokio::time::sleep(Duration::from_millis(random.u64(1..80))).await;
            if random.u8(..3) == 0 {
                net.proxy.heal();
            }
            if random.u8(..3) == 0 {
                scene.count("late", net.proxy.deliver_late());
            }
        }
        net.proxy.heal();
        net.proxy.deliver_late();
        stop.store(true, Ordering::Relaxed);
        within("all clients", async {
            while let Some(ended) = clients.join_next().await {
                ended??;
            }
            Verdict::Ok(())
        })
        .await??;
        scene.count("operations", done.load(Ordering::Relaxed) * 2);
        assert!(done.load(Ordering::Relaxed) > 0 && net.proxy.counts().faults() > 0);
        let direct = scene.locks()?;
        until("nothing is left", async || {
            let left = direct.list().await?;
            Ok(left.holds.is_empty() && left.waiting.is_empty())
        })
        .await?;
        net.assert_clean("room").await
    })
}

/// What no network is needed for: each client's own calls fail, arrive late or read what is old.
pub(super) fn faulty_calls_never_let_two_in_and_leave_nothing(scene: &Scene) -> Verdict {
    let rates =
        Rates { stale: 0.05, delay: 0.1, delay_max: Duration::from_millis(5), ..Rates::MIXED };
    let steps = scene.cases(40);
    scene.block_on(async {
        let rooms = Rooms::default();
        let mut clients = JoinSet::new();
        for number in 1..=CLIENTS {
            let mut random = scene.random(number);
            let backend = FaultyBackend::random(scene.backend()?, random.u64(..), rates);
            let (faults, rooms) = (backend.faults(), rooms.clone());
            clients.spawn(async move {
                let locks = Locks::new(backend);
                for _ in 0..steps {
                    step(&locks, &rooms, &mut random).await?;
                }
                faults.calm();
                within("the end", locks.close()).await??;
                faults.deliver_late().await;
                let failed = faults.log().iter().filter(|event| event.fault.is_some()).count();
                Ok::<_, Failure>(failed)
            });
        }
        while let Some(ended) = clients.join_next().await {
            scene.count("faults", ended??);
            scene.count("operations", steps * 2);
        }
        assert_clean(scene, "room").await
    })
}

fn disturb(net: &Net<'_>, random: &mut Rng) -> Verdict {
    let direction = Direction::BOTH[random.usize(..2)];
    let then = if random.bool() { Then::Reset } else { Then::Silence };
    match random.u8(..8) {
        0 => net.proxy.delay(direction, Duration::from_millis(random.u64(..40))),
        1 => net.proxy.stall(direction),
        2 => drop(net.proxy.reset()),
        3 => net.proxy.refuse(),
        4 => net.proxy.drop_reply(random.usize(1..4), then),
        5 => net.proxy.hold_request(random.usize(1..4)),
        6 => net.proxy.cut_next(direction, random.usize(..2000)),
        _ if net.server.is_durable() => {
            net.server.kill()?;
            net.server.start()?;
            net.scene.count("restarts", 1);
        }
        _ => {}
    }
    Ok(())
}

async fn step(locks: &Locks, rooms: &Rooms, random: &mut Rng) -> Verdict {
    let lock = random.usize(..LOCKS);
    let name = format!("room/{lock}");
    let short = Duration::from_millis(random.u64(1..100));
    let asked = match random.u8(..4) {
        0 => locks.try_acquire(name).await,
        1 => locks.acquire_timeout(name, short).await,
        // Given up at any moment.
        2 => match tokio::time::timeout(short, locks.acquire(name)).await {
            Ok(asked) => asked,
            Err(_) => return Ok(()),
        },
        _ => within("an acquire", locks.acquire(name)).await?,
    };
    match asked {
        Ok(guard) => use_room(guard, &rooms[lock], random).await,
        Err(AcquireError::Busy(_) | AcquireError::TimedOut(_)) => Ok(()),
        Err(AcquireError::Store(error)) if error.is_unreachable() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn use_room(guard: Guard, room: &(AtomicBool, AtomicU64), random: &mut Rng) -> Verdict {
    let (taken, last) = room;
    if taken.swap(true, Ordering::SeqCst) {
        return Err(Failure::failed(format!("two holders at once: {guard:?}")));
    }
    let before = last.swap(guard.fence(), Ordering::SeqCst);
    if before >= guard.fence() {
        return Err(Failure::failed(format!("the fence after {before}: {}", guard.fence())));
    }
    if random.bool() {
        tokio::time::sleep(Duration::from_micros(random.u64(..2000))).await;
    }
    guard.check()?; // The leases are longer than the trial.
    taken.store(false, Ordering::SeqCst);
    if random.bool() {
        // A release that could not be told of is written all the same, later.
        let _ = guard.release().await;
    }
    Ok(())
}
