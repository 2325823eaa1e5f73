//! Names with several addresses, of which some are dead: a client finds one that works, or says of each why not.

use std::time::{Duration, Instant};

use super::tools::{holds, until};
use crate::fixture::Server;
use crate::network::{DOWN, GOOD, HOLE, LOST, NO_ROUTE, Network, OTHER};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report, Worker, WorkerOptions};

trials!("dialling":
    addresses_are_taken_for_what_they_are,
    a_family_that_fails_at_once_leaves_the_other_all_its_time,
    a_family_that_swallows_everything_costs_less_than_a_second,
    a_lost_packet_costs_its_repetition,
    when_all_are_dead_each_is_named_with_its_error,
    who_accepts_and_says_nothing_is_passed_by,
    a_server_far_away_is_reached,
    a_server_that_comes_up_late_is_reached_by_the_address_that_works,
    an_address_that_dies_costs_nobody_a_lock,
);

/// Some seconds: a call must end long before a lease does, which is 60 s.
const LIMIT: Duration = Duration::from_secs(15);

/// The server of a trial, and the network in front of it.
struct Ground<'a> {
    scene: &'a Scene,
    server: &'a dyn Server,
    network: Network,
}

impl<'a> Ground<'a> {
    fn lay(scene: &'a Scene) -> Result<Self, Failure> {
        let server = scene.needs_server()?;
        if server.spec_by_name("localhost", 1).is_none() {
            return Err(Failure::skipped("the store is not found by the name of a host"));
        }
        Ok(Self { scene, server, network: Network::in_front_of(server.address())? })
    }

    /// A client in this network that knows the store by a name or an address.
    fn worker(&self, host: &str) -> Result<Worker, Failure> {
        let spec = self.server.spec_by_name(host, self.network.port());
        let options = WorkerOptions::new(host).spec(spec.expect("it takes names"));
        self.scene.worker_with(&options.wrapped_in(self.network.enter()))
    }

    /// Reads the cell over a new connection to this name or address; the text of the error if not.
    fn load(&self, host: &str) -> Result<Result<(), String>, Failure> {
        said(self.worker(host)?.call(Order::Load)?)
    }
}

/// What a worker said of a load.
fn said(report: Report) -> Result<Result<(), String>, Failure> {
    match report {
        Report::Cell { .. } => Ok(Ok(())),
        Report::Refused { kind, text } if kind == "Store" => Ok(Err(text)),
        other => Err(Failure::failed(format!("{other:?}"))),
    }
}

fn reached(host: &str, loaded: Result<(), String>) -> Verdict {
    loaded.map_err(|text| Failure::failed(format!("{host} is not reached: {text}")))
}

/// Only the lost address of this name works, and only after its first packet was sent again, a second
/// later.
fn is_found(scene: &Scene, host: &str) -> Verdict {
    let ground = Ground::lay(scene)?;
    let mut worker = ground.worker(host)?;
    let asked = worker.order(Order::Load)?;
    ground.network.find()?;
    reached(host, said(worker.report(asked)?)?)
}

fn addresses_are_taken_for_what_they_are(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    for host in [&format!("[{}]", GOOD[0]), GOOD[1], "one.test", "good.test"] {
        reached(host, ground.load(host)?)?;
    }
    Ok(())
}

fn a_family_that_fails_at_once_leaves_the_other_all_its_time(scene: &Scene) -> Verdict {
    ["none.test", "down.test"].iter().try_for_each(|host| is_found(scene, host))
}

fn a_family_that_swallows_everything_costs_less_than_a_second(scene: &Scene) -> Verdict {
    /// So often a machine that is busy with other things may be too slow.
    const TRIES: usize = 10;
    let ground = Ground::lay(scene)?;
    for host in ["hole6.test", "hole4.test", "holes.test"] {
        let mut took = Vec::new();
        loop {
            let mut worker = ground.worker(host)?;
            let began = Instant::now();
            reached(host, said(worker.call(Order::Load)?)?)?;
            took.push(began.elapsed());
            if took.last() < Some(&Duration::from_secs(1)) {
                break;
            }
            assert!(took.len() < TRIES, "{host} always takes long: {took:?}");
        }
    }
    Ok(())
}

/// Also where that is the only address.
fn a_lost_packet_costs_its_repetition(scene: &Scene) -> Verdict {
    ["lost.test", LOST].iter().try_for_each(|host| is_found(scene, host))
}

fn when_all_are_dead_each_is_named_with_its_error(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    let began = Instant::now();
    let Err(text) = ground.load("dead.test")? else {
        return Err(Failure::failed("it was reached"));
    };
    assert!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());
    for part in [HOLE[0], HOLE[1], DOWN, NO_ROUTE, "no answer", "No route to host", "unreachable"] {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    Ok(())
}

fn who_accepts_and_says_nothing_is_passed_by(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    ground.network.mute(&OTHER);
    reached("two.test", ground.load("two.test")?)?;
    let began = Instant::now();
    let Err(text) = ground.load("mute.test")? else {
        return Err(Failure::failed("a mute server was reached"));
    };
    assert!(began.elapsed() < LIMIT, "it took {:?}", began.elapsed());
    for address in OTHER {
        assert!(text.contains(address), "{address} is not in: {text}");
    }
    Ok(())
}

/// Every answer takes a second.
fn a_server_far_away_is_reached(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    ground.network.delay(Duration::from_secs(1));
    for host in ["good.test", "hole6.test"] {
        reached(host, ground.load(host)?)?;
    }
    Ok(())
}

fn a_server_that_comes_up_late_is_reached_by_the_address_that_works(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    let mut worker = ground.worker("lost.test")?;
    let asked = worker.ask("app/blog", None)?;
    let mut seen = ground.network.calling(HOLE[0]);
    until("it tries twice", || {
        seen.extend(ground.network.calling(HOLE[0]));
        seen.len() > 1
    });
    ground.network.find()?;
    worker.granted(asked)?;
    worker.close()
}

fn an_address_that_dies_costs_nobody_a_lock(scene: &Scene) -> Verdict {
    let ground = Ground::lay(scene)?;
    let mut holder = ground.worker("good.test")?;
    let held = holder.acquire("app/blog")?;
    ground.network.lose(GOOD[0])?;
    scene.count("faults", 1);
    holds(&mut holder, held.key)?;
    let next = holder.acquire("app/shop")?;
    assert!(next.fence > held.fence);
    holds(&mut holder, held.key)?;
    holder.close()
}
