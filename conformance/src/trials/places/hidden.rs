//! Clients that cannot see each other: hidden processes, pid namespaces, no common network.

use std::time::Duration;

use lock_core::process::Liveness;

use super::super::tools::{
    Copy, NOBODY, Room, holds, is_busy, needs, needs_namespaces, needs_root,
};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, WorkerOptions};

trials!("places":
    hidden_processes_are_never_dead,
    foreign_pid_namespaces_share_a_store,
    hosts_without_a_common_network_hand_over,
);

/// Short, and yet no process of a busy machine has to wait so long for its turn.
const LEASE: Duration = Duration::from_secs(2);

fn hidden_processes_are_never_dead(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    needs_root()?;
    needs(&["setpriv"])?;
    needs_namespaces(&["--mount"])?;
    let mut holder = scene.worker_with(&WorkerOptions::new("holder").lease(LEASE))?;
    let held = holder.acquire("app/blog")?;
    scene.store().open_to(NOBODY, NOBODY).unwrap_or(Ok(()))?;
    let copy = Copy::make()?;
    let as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --";
    let (holder_pid, path) = (holder.pid(), &copy.path);
    let script = format!(
        "mount -t proc -o hidepid=2 proc /proc\n\
         if {as_nobody} test -e /proc/{holder_pid}; then echo 'it is not hidden' >&2; exit 1; fi\n\
         exec {as_nobody} {path}"
    );
    let options = WorkerOptions::new("blind");
    let mut blind =
        scene.worker_with(&options.wrapped_in(["unshare", "--mount", "sh", "-ec", &script]))?;

    is_busy(&mut blind, "app/blog")?;
    let waiting = blind.ask("app/blog", None)?;
    // Longer than the lease, which is renewed meanwhile.
    if let Some(report) = blind.report_within(waiting, LEASE * 2)? {
        return Err(Failure::failed(format!("a living holder was taken for dead: {report:?}")));
    }
    holds(&mut holder, held.key)?;
    // That there is no such process at all is a proof, hidden or not.
    holder.kill()?;
    scene.count("kills", 1);
    assert!(blind.granted(waiting)?.fence > held.fence);
    blind.close()
}

fn foreign_pid_namespaces_share_a_store(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    let rooms = [&["--pid", "--mount-proc"][..], &["--pid"]];
    let rooms = [Room::open(rooms[0], "")?, Room::open(rooms[1], "")?];
    // The second one is as a container with a /proc that is not its own.
    let inside = |room: usize| {
        let options = WorkerOptions::new(&format!("container {room}"));
        scene.worker_with(&options.lease(LEASE).wrapped_in(rooms[room].enter()))
    };
    let mut workers = [inside(0)?, inside(1)?];
    let locks = scene.builder()?.lease(LEASE).build().blocking();
    for holder in 0..2 {
        let (one, two) = workers.split_at_mut(1);
        let (holder, other) =
            if holder == 0 { (&mut one[0], &mut two[0]) } else { (&mut two[0], &mut one[0]) };
        let held = holder.acquire("app/blog")?;
        let listing = locks.list()?;
        let states = listing.holds.iter().map(|hold| hold.client.state);
        assert_eq!(states.collect::<Vec<_>>(), [Liveness::Unknown], "seen from outside");
        is_busy(other, "app/blog")?;
        assert!(locks.try_acquire("app/blog").unwrap_err().is_busy());
        let waiting = other.ask("app/blog", None)?;
        if let Some(report) = other.report_within(waiting, LEASE * 3 / 2)? {
            return Err(Failure::failed(format!("a living holder was taken for dead: {report:?}")));
        }
        holds(holder, held.key)?;
        holder.call(Order::Release(held.key))?;
        let next = other.granted(waiting)?;
        assert!(next.fence > held.fence);
        // From inside to outside, and back.
        other.call(Order::Release(next.key))?;
        let outside = locks.acquire("app/blog")?;
        assert!(outside.fence() > next.fence);
        is_busy(other, "app/blog")?;
        let waiting = holder.ask("app/blog", None)?;
        outside.release()?;
        let last = holder.granted(waiting)?;
        holder.call(Order::Release(last.key))?;
    }

    // Nobody outside can see the end of one inside: the lease says it.
    let held = workers[0].acquire("app/blog")?;
    rooms[0].signal("KILL", workers[0].pid())?;
    workers[0].ended()?;
    scene.count("kills", 1);
    let taken = workers[1].acquire("app/blog")?;
    assert!(taken.fence > held.fence);
    Ok(())
}

/// Nobody's bell is heard by the other: the store alone tells them.
fn hosts_without_a_common_network_hand_over(scene: &Scene) -> Verdict {
    scene.needs_processes()?;
    if scene.store().server().is_some() {
        return Err(Failure::skipped("the store is reached by a network"));
    }
    let room = Room::open(&["--pid", "--net", "--mount-proc"], "")?;
    let inside = WorkerOptions::new("inside").wrapped_in(room.enter());
    let mut inside = scene.worker_with(&inside)?;
    let mut outside = scene.worker("outside")?;
    let mut fence = 0;
    for _ in 0..3 {
        let one = outside.acquire("app/blog")?;
        let waiting = inside.ask("app/blog", None)?;
        is_busy(&mut inside, "app/blog")?;
        outside.call(Order::Release(one.key))?;
        let two = inside.granted(waiting)?;
        let waiting = outside.ask("app/blog", None)?;
        is_busy(&mut outside, "app/blog")?;
        inside.call(Order::Release(two.key))?;
        let three = outside.granted(waiting)?;
        outside.call(Order::Release(three.key))?;
        assert!(fence < one.fence && one.fence < two.fence && two.fence < three.fence);
        fence = three.fence;
    }
    inside.close()?;
    outside.close()
}
