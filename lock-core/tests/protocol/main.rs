//! The driver's protocol, checked once over everything that can happen in small worlds.
//!
//! The cell holds the real lock table; the clients are a model of the driver without its clocks and
//! channels. Swaps may arrive at any later time or never, answers may be lost, clients may die, the
//! cell may be put back. Broken variants of the protocol show that the search finds what it is for.

mod client;
mod search;
mod world;

use std::time::Instant;

use search::{Found, search};
use world::{Budget, TOGETHER, World};

/// How many requests a client makes at most, one after the other.
const REQUESTS_MAX: usize = 2;

/// A broken protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// A verdict holds although the client has renewed since.
    VerdictUnbound,
    /// A change that is not there at the version it was sent for was never made.
    AbsentMeansNever,
    /// A lease counts from the answer to its renewal.
    LeaseFromAnswer,
    /// What was read is believed, though it is older than what was seen.
    SuspectIsTruth,
    /// The next version is the expected one and one more.
    VersionReuse,
    /// Versions only count, and no clock sets them apart.
    NoClock,
    /// A post is written though it is done.
    PostTwice,
    /// What was posted and is not wanted any more needs no swap that ends the post.
    PostForgotten,
    /// A lease counts from when the post was seen in the table.
    PostIsNews,
}

const CALM: Budget =
    Budget { requests: 1, ticks: 0, losses: 0, crashes: 0, stale_loads: 0, posts: 0, restores: 0 };

fn check(what: &str, clients: usize, budget: Budget, mutant: Option<Mutant>) -> Found {
    let started = Instant::now();
    let found = search(&World::new(clients, budget, mutant));
    let broken = if found.broken.is_some() { "broken" } else { "sound" };
    println!("{what}: {broken}, {} states in {:.1?}", found.states, started.elapsed());
    found
}

#[track_caller]
fn assert_sound(what: &str, clients: usize, budget: Budget) {
    if let Some(trace) = check(what, clients, budget, None).broken {
        panic!("{what}: {trace}");
    }
}

#[track_caller]
fn assert_broken(mutant: Mutant, clients: usize, budget: Budget, how: &str) {
    let found = check(&format!("{mutant:?}"), clients, budget, Some(mutant));
    let trace = found.broken.unwrap_or_else(|| panic!("{mutant:?} was not found"));
    println!("{trace}");
    assert!(trace.lines().next().is_some_and(|why| why.contains(how)), "{trace}");
}

#[test]
fn clients_die_and_answers_are_lost() {
    assert_sound("time", 2, Budget { ticks: 3, ..CALM });
    assert_sound("a death", 2, Budget { ticks: 3, crashes: 1, ..CALM });
    assert_sound("a lost answer", 2, Budget { ticks: 1, losses: 1, ..CALM });
    assert_sound("two lost answers", 2, Budget { losses: 2, ..CALM });
    assert_sound(
        "a lost answer and a death",
        2,
        Budget { ticks: 1, losses: 1, crashes: 1, ..CALM },
    );
}

#[test]
fn requests_follow_each_other() {
    assert_sound("two requests each", 2, Budget { requests: 2, losses: 1, ..CALM });
}

#[test]
fn three_clients_queue() {
    assert_sound("three clients", 3, CALM);
}

#[test]
fn loads_are_stale() {
    assert_sound("a stale load", 2, Budget { losses: 1, stale_loads: 1, ..CALM });
    assert_sound("a stale load in time", 2, Budget { ticks: 1, stale_loads: 1, ..CALM });
}

#[test]
fn others_write() {
    assert_sound("posts", 2, Budget { posts: 2, ..CALM });
    assert_sound("posts in time", 2, Budget { posts: 1, ticks: 2, ..CALM });
    assert_sound("a post and a lost answer", 2, Budget { posts: 1, losses: 1, ..CALM });
    assert_sound("a post and a death", 2, Budget { posts: 1, ticks: 1, crashes: 1, ..CALM });
    assert_sound("a post and a stale load", 2, Budget { posts: 1, stale_loads: 1, ..CALM });
    assert_sound("a post and a restore", 2, Budget { posts: 1, restores: 1, ..CALM });
}

#[test]
fn others_write_for_clients_that_share_a_place() {
    TOGETHER.set(true);
    assert_sound("posts", 2, Budget { posts: 2, ..CALM });
    assert_sound("a post and a lost answer", 2, Budget { posts: 1, losses: 1, ..CALM });
}

#[test]
fn a_post_must_be_written_once() {
    let budget = Budget { posts: 1, requests: 2, ..CALM };
    assert_broken(Mutant::PostTwice, 2, budget, "wants nothing, but has");
}

#[test]
fn a_post_must_be_ended() {
    let budget = Budget { posts: 1, ..CALM };
    assert_broken(Mutant::PostForgotten, 2, budget, "wants nothing, but has");
}

#[test]
fn a_lease_counts_from_before_the_post() {
    let budget = Budget { posts: 1, ticks: 2, requests: 2, ..CALM };
    assert_broken(Mutant::PostIsNews, 2, budget, "hold the same lock");
}

#[test]
fn the_cell_is_restored() {
    assert_sound("a restore", 2, Budget { ticks: 1, restores: 1, ..CALM });
    assert_sound("a restore and a lost answer", 2, Budget { losses: 1, restores: 1, ..CALM });
}

#[test]
fn a_verdict_must_be_bound() {
    let budget = Budget { ticks: 3, ..CALM };
    assert_broken(Mutant::VerdictUnbound, 2, budget, "hold the same lock");
}

#[test]
fn absence_proves_nothing() {
    let budget = Budget { losses: 1, ..CALM };
    assert_broken(Mutant::AbsentMeansNever, 1, budget, "wants nothing, but has");
}

#[test]
fn a_lease_counts_from_before_it_was_sent() {
    let budget = Budget { ticks: 3, ..CALM };
    assert_broken(Mutant::LeaseFromAnswer, 2, budget, "hold the same lock");
}

#[test]
fn what_is_older_than_what_was_seen_decides_nothing() {
    let budget = Budget { stale_loads: 1, ..CALM };
    assert_broken(Mutant::SuspectIsTruth, 2, budget, "wants nothing, but has");
}

#[test]
fn versions_must_not_repeat() {
    let budget = Budget { ticks: 1, restores: 1, ..CALM };
    assert_broken(Mutant::VersionReuse, 2, budget, "hold the same lock");
}

#[test]
fn versions_of_two_clients_must_differ() {
    let budget = Budget { ticks: 1, restores: 1, ..CALM };
    assert_broken(Mutant::NoClock, 2, budget, "hold the same lock");
}
