//! Nodes of a cluster die, are paused, or leave, and the one that takes all writes is another.

use std::time::{Duration, Instant};

use lock_core::{AcquireError, Locks};

use super::amid::amid_load;
use super::{assert_clean, until, within};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};

/// How long nodes are given to come to terms without one that was killed, and so short that the load on
/// them outlasts that and a start of all of them.
const COMES_TO_TERMS: Duration = Duration::from_secs(30);
/// Long enough to ask a node how it is, and to write to it, also where nodes wait for each other's word.
const MOMENT: Duration = Duration::from_secs(3);
/// So many clients that some of them choose the node that has left.
const FRESH: usize = 8;

pub(super) fn a_node_that_is_killed_costs_nobody_a_lock(scene: &Scene) -> Verdict {
    let (server, cluster) = (scene.needs_server()?, scene.needs_cluster()?);
    let times = scene.cases(2);
    amid_load(scene, times, |random| {
        // Now the one that takes all writes, now any.
        let leader = cluster.leader()?.filter(|_| random.bool());
        let node = leader.unwrap_or_else(|| random.usize(..cluster.nodes()));
        let killed = Instant::now();
        cluster.kill(node)?;
        scene.count("kills", 1);
        if grants_within(scene, COMES_TO_TERMS)? || cluster.serves_within(MOMENT) {
            serves_again(scene, killed, "a node was killed")?;
            return cluster.start(node);
        }
        // Those who are left now and then do not agree that they are; then it takes an operator.
        server.kill()?;
        server.start()?;
        scene.count("restarts", 1);
        serves_again(scene, killed, "a node was killed and the cluster started anew")
    })
}

pub(super) fn a_cluster_that_was_without_a_quorum_has_lost_nothing(scene: &Scene) -> Verdict {
    let cluster = scene.needs_cluster()?;
    let times = scene.cases(2);
    amid_load(scene, times, |random| {
        let left = random.usize(..cluster.nodes());
        // More than half of them.
        let most: Vec<usize> = (0..cluster.nodes()).filter(|node| *node != left).collect();
        cluster.pause(&most);
        // So long that they may notice it, or not: nothing is waited for.
        std::thread::sleep(Duration::from_millis(random.u64(..9_000)));
        scene.count("stops", most.len());
        let back = Instant::now();
        cluster.go_on(&most)?;
        serves_again(scene, back, "the quorum was back")
    })
}

pub(super) fn a_node_that_takes_over_costs_nobody_a_lock(scene: &Scene) -> Verdict {
    let cluster = scene.needs_cluster()?;
    if cluster.leader()?.is_none() {
        return Err(Failure::skipped("all nodes of the cluster take writes"));
    }
    let times = scene.cases(6);
    amid_load(scene, times, |random| {
        let leader = cluster.leader()?.unwrap_or_default();
        let asked = Instant::now();
        cluster.lead((leader + random.usize(1..cluster.nodes())) % cluster.nodes())?;
        scene.count("faults", 1);
        serves_again(scene, asked, "another was to be the leader")
    })
}

/// What such a node tells is of the past; whoever asks it must turn to another.
pub(super) fn a_node_that_has_left_is_not_believed(scene: &Scene) -> Verdict {
    let cluster = scene.needs_cluster()?;
    for node in 0..cluster.nodes() {
        scene.block_on(async {
            // Each of them may have chosen another node.
            let clients: Vec<Locks> =
                (0..cluster.nodes()).map(|_| scene.locks()).collect::<Result<_, _>>()?;
            for holder in &clients {
                let held = holder.acquire("app").await?;
                let mut waiting = Vec::new();
                for (at, locks) in clients.iter().enumerate() {
                    let locks = locks.clone();
                    let name = format!("app/{at}");
                    waiting.push(tokio::spawn(async move { locks.acquire(name).await }));
                }
                let all = clients.len();
                until("they wait", async || Ok(holder.list().await?.waiting.len() == all)).await?;
                cluster.put_out(node)?;
                scene.count("faults", 1);
                within("a release", held.release()).await??;
                for waits in waiting {
                    within("its turn", waits).await???.release().await?;
                }
                let fresh: Vec<Locks> =
                    (0..FRESH).map(|_| scene.locks()).collect::<Result<_, _>>()?;
                for locks in clients.iter().chain(&fresh) {
                    // It may be busy with connecting anew; but what it says is true.
                    let listing = within("a list", async {
                        loop {
                            match locks.list().await {
                                Err(error) if error.is_unreachable() => {}
                                other => return other,
                            }
                        }
                    });
                    let left = listing.await??;
                    assert!(left.holds.is_empty() && left.waiting.is_empty(), "{left:#?}");
                }
                cluster.take_in(node)?;
                for locks in fresh {
                    locks.close().await?;
                }
            }
            for locks in clients {
                locks.close().await?;
            }
            assert_clean(scene, "app").await
        })?;
        scene.count("cases", 1);
    }
    Ok(())
}

/// A new client is granted a lock, as soon as the cluster serves; says how long that took.
fn serves_again(scene: &Scene, began: Instant, since: &str) -> Verdict {
    if !grants_within(scene, LIVENESS)? {
        return Err(Failure::failed(format!("nothing is granted since {since}")));
    }
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("{}: granted again {seconds:.1} s after {since}", scene.backend_name());
    Ok(())
}

/// Whether a new client is granted a lock in this time.
fn grants_within(scene: &Scene, limit: Duration) -> Result<bool, Failure> {
    let locks = scene.locks()?.blocking();
    let granted = match locks.acquire_timeout("probe", limit) {
        Ok(guard) => guard.release().is_ok(),
        Err(AcquireError::TimedOut(_) | AcquireError::Store(_)) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(granted && locks.close().is_ok())
}
