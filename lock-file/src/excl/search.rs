//! A search through all that clients can do to a chain: the real code on a directory that is not one.
//!
//! A client is run from its start each time, with the answers that its calls have had so far, and one
//! call further. So the state of a client is the list of its answers, and a state of the world is a
//! directory with one such list for each client; equal ones are visited once.

mod disk;

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use super::*;
use disk::{Disk, Entries, Inner, NAMES, Reply, Scan, Seen};

/// What a client does: it loads, and swaps from what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Load,
    Swap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Loaded(u64, Option<Link>),
    Swapped(u64, Link, Option<Link>),
    Conflict,
    Unknown,
}

#[derive(Debug, Clone)]
struct Script {
    acts: Vec<Act>,
    scan: Scan,
    keep: usize,
    /// How many more files there may be.
    spare: usize,
    broken: Option<Rule>,
    /// Whether a link that was made is said to have been there, as when NFS repeats the call.
    loses_answers: bool,
}

/// What came of a client that went one call further.
struct Run {
    /// The answers of all its acts so far, but of the last only if it was given just now.
    answers: Vec<Answer>,
    began: bool,
    ended: bool,
}

/// Runs a client with the answers that it has had, and so many calls further.
fn run(
    client: u64,
    script: &Script,
    disk: &mut Disk,
    replies: &mut Vec<Reply>,
    steps: usize,
) -> Run {
    let inner =
        Inner { disk, replies, at: 0, steps, ids: 0, begins: true, began: false, is_paused: false };
    let loses_answers = script.loses_answers;
    let names = Seen { client, scan: script.scan, loses_answers, inner: RefCell::new(inner) };
    let Script { keep, spare, broken, .. } = *script;
    let mut chain = Chain { keep, most: keep + spare, broken, ..Chain::default() };
    let mut answers = Vec::new();
    let mut todo: Vec<Act> = script.acts.iter().rev().copied().collect();
    while let Some(act) = todo.pop() {
        names.inner.borrow_mut().begins = true;
        let known =
            chain.known.map_or((Version::ABSENT, None), |known| (known.version, known.link));
        let answer = match act {
            Act::Load => chain.load(&names).map(|found| {
                Answer::Loaded(found.version.0, chain.known.and_then(|known| known.link))
            }),
            // Rivals take the same version, as clocks may have them do.
            Act::Swap => match chain.swap(&names, known.0, Version(known.0.0 + 1), b"") {
                Ok(Swap::Swapped) => {
                    let link = chain.known.and_then(|known| known.link).unwrap();
                    Ok(Answer::Swapped(known.0.0 + 1, link, known.1))
                }
                Ok(Swap::Conflict) => Ok(Answer::Conflict),
                Err(e) if e.kind() == BackendErrorKind::OutcomeUnknown && !is_paused(&names) => {
                    Ok(Answer::Unknown)
                }
                Err(e) => Err(e),
            },
        };
        let Ok(answer) = answer else { return stopped(&names, answers) };
        answers.push(answer);
        if matches!(answer, Answer::Conflict | Answer::Unknown) {
            todo.push(Act::Load);
        }
        // It may be given before all is done: what is removed is nobody's concern.
        if is_paused(&names) {
            return stopped(&names, answers);
        }
    }
    let began = names.inner.borrow().began;
    Run { answers, began, ended: true }
}

fn is_paused(names: &Seen<'_>) -> bool {
    names.inner.borrow().is_paused
}

fn stopped(names: &Seen<'_>, answers: Vec<Answer>) -> Run {
    Run { answers, began: names.inner.borrow().began, ended: false }
}

/// What all have seen so far, which must fit together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Truth {
    /// The newest version that a swap was answered with, and the newest that anybody was told.
    acknowledged: u64,
    told: u64,
    /// Which file followed which, as far as anybody was told.
    followed: BTreeMap<Option<u64>, u64>,
}

impl Truth {
    fn follows(&mut self, before: Option<Link>, id: u64) -> Result<(), String> {
        let before = before.map(|link| link.id);
        match self.followed.insert(before, id) {
            Some(other) if other != id => {
                Err(format!("both {other} and {id} followed {before:?}: a fork"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Clone)]
struct World {
    disk: Disk,
    clients: Vec<Client>,
    truth: Truth,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Client {
    replies: Vec<Reply>,
    /// How many of its answers were looked at.
    answers: usize,
    /// The newest version that anybody was told before its act began.
    floor: u64,
    ended: bool,
}

struct Search<'s> {
    scripts: &'s [Script],
    visited: HashSet<u64>,
    /// What a stranger finds in a directory, and that it can write to it.
    strangers: HashMap<Entries, Result<u64, String>>,
    cut: HashSet<(Disk, u64)>,
}

impl Search<'_> {
    /// Lets a client make one call.
    fn step(&self, world: &mut World, client: usize) -> Result<(), String> {
        let at = &mut world.clients[client];
        let script = &self.scripts[client];
        let run = run(client as u64 + 1, script, &mut world.disk, &mut at.replies, 1);
        if run.began {
            at.floor = world.truth.told;
        }
        at.ended = run.ended;
        for answer in &run.answers[at.answers.min(run.answers.len())..] {
            let truth = &mut world.truth;
            match *answer {
                Answer::Loaded(version, link) => {
                    if version < at.floor {
                        return Err(format!("{version} was read, after {} was told", at.floor));
                    }
                    truth.told = truth.told.max(version);
                    if let Some(link) = link {
                        // As it was when it was read.
                        let before = at.replies.iter().rev().find_map(|reply| match reply {
                            Reply::Head(Some(head)) => {
                                head.place.filter(|place| place.id == link.id)
                            }
                            _ => None,
                        });
                        truth.follows(before.expect("it was read").before, link.id)?;
                    }
                }
                Answer::Swapped(version, link, before) => {
                    truth.told = truth.told.max(version);
                    truth.acknowledged = truth.acknowledged.max(version);
                    truth.follows(before, link.id)?;
                }
                Answer::Conflict | Answer::Unknown => {}
            }
        }
        at.answers = at.answers.max(run.answers.len());
        Ok(())
    }

    /// Whoever comes now, while all others are paused, must find what was told last, and be able to write.
    fn check(&mut self, world: &World) -> Result<(), String> {
        let found = self.stranger(&world.disk.now)?;
        if found < world.truth.told {
            return Err(format!("{found} is there, after {} was told", world.truth.told));
        }
        let acknowledged = world.truth.acknowledged;
        if world.disk.pending.is_empty() || !self.cut.insert((world.disk.clone(), acknowledged)) {
            return Ok(());
        }
        for left in world.disk.cuts() {
            let found = self.stranger(&left.now).map_err(|what| format!("after a cut: {what}"))?;
            if found < acknowledged {
                return Err(format!(
                    "{found} is there after a cut, and {acknowledged} was answered"
                ));
            }
        }
        Ok(())
    }

    fn stranger(&mut self, entries: &Entries) -> Result<u64, String> {
        if let Some(found) = self.strangers.get(entries) {
            return found.clone();
        }
        let scan = Scan { from_above: false, piece: NAMES };
        let acts = vec![Act::Load, Act::Swap];
        let script = Script { acts, scan, broken: None, ..self.scripts[0].clone() };
        let mut disk = Disk { now: entries.clone(), ..Disk::default() };
        let run = run(99, &script, &mut disk, &mut Vec::new(), 1000);
        let found = match run.answers[..] {
            [Answer::Loaded(version, _), Answer::Swapped(..)] => Ok(version),
            ref other => Err(format!("nobody else can go on: {other:?} in {entries:?}")),
        };
        self.strangers.insert(entries.clone(), found.clone());
        found
    }

    /// Visits all states; says how many there are, or what went wrong after which steps.
    fn all(&mut self) -> Result<usize, String> {
        let clients = vec![Client::default(); self.scripts.len()];
        let start = World { disk: Disk::default(), clients, truth: Truth::default() };
        let mut todo = vec![(start, Vec::new())];
        while let Some((world, path)) = todo.pop() {
            for client in 0..world.clients.len() {
                if world.clients[client].ended {
                    continue;
                }
                let mut next = world.clone();
                let mut path = path.clone();
                path.push(u8::try_from(client).unwrap());
                let done = self.step(&mut next, client).and_then(|()| self.check(&next));
                done.map_err(|what| format!("{what}, by {path:?}: {:#?}", next.disk))?;
                let mut hasher = DefaultHasher::new();
                (&next.disk, &next.clients, &next.truth).hash(&mut hasher);
                if self.visited.insert(hasher.finish()) {
                    todo.push((next, path));
                }
            }
        }
        Ok(self.visited.len())
    }

    /// Goes through the world by chance, so many times.
    fn some(&mut self, walks: usize, random: &mut fastrand::Rng) -> Result<(), String> {
        for _ in 0..walks {
            let clients = vec![Client::default(); self.scripts.len()];
            let mut world = World { disk: Disk::default(), clients, truth: Truth::default() };
            let mut path = Vec::new();
            let mut who = 0;
            while let Some(running) = choose(&world, who, random) {
                who = running;
                path.push(who);
                let done = self.step(&mut world, who).and_then(|()| self.check(&world));
                done.map_err(|what| format!("{what}, by {path:?}: {:#?}", world.disk))?;
            }
        }
        Ok(())
    }
}

/// Mostly the one that ran before, so that others are paused for long.
fn choose(world: &World, last: usize, random: &mut fastrand::Rng) -> Option<usize> {
    let running: Vec<usize> =
        (0..world.clients.len()).filter(|c| !world.clients[*c].ended).collect();
    if running.contains(&last) && random.u8(..8) > 0 {
        return Some(last);
    }
    (!running.is_empty()).then(|| running[random.usize(..running.len())])
}

fn search(scripts: &[Script]) -> Search<'_> {
    Search { scripts, visited: HashSet::new(), strangers: HashMap::new(), cut: HashSet::new() }
}

/// A client that loads once, and swaps so many times from what it knows, whenever it comes to it.
fn client(swaps: usize) -> Script {
    let acts = [vec![Act::Load], vec![Act::Swap; swaps]].concat();
    let scan = Scan { from_above: false, piece: NAMES };
    Script { acts, scan, keep: 2, spare: 1, broken: None, loses_answers: false }
}

/// All ways to list that matter: at once, or in pieces from below and from above.
fn scans(piece: u64) -> [Scan; 2] {
    [false, true].map(|from_above| Scan { from_above, piece })
}

fn all_of(scripts: &[Script]) -> Result<usize, String> {
    search(scripts).all()
}

#[test]
fn whatever_two_clients_do_there_is_one_chain() {
    for (swaps, piece, spare) in [([6, 1], 5, 1), ([5, 1], 2, 1), ([6, 1], 5, 3), ([4, 2], 5, 1)] {
        for scan in scans(piece) {
            let scripts = swaps.map(|swaps| Script { scan, spare, ..client(swaps) });
            let states =
                all_of(&scripts).unwrap_or_else(|what| panic!("{swaps:?} {scan:?}: {what}"));
            assert!(states > 1000, "{states} states are not much of a search");
        }
    }
}

#[test]
fn whatever_three_clients_do_there_is_one_chain() {
    let states = all_of(&[client(3), client(1), client(1)]);
    let states = states.unwrap_or_else(|what| panic!("{what}"));
    assert!(states > 100_000, "{states} states are not much of a search");
}

#[test]
fn three_clients_that_are_paused_at_random_keep_one_chain() {
    let seed = fastrand::get_seed();
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for spare in [1, 2, 3] {
        for scan in scans(1) {
            let scripts = [5, 2, 1].map(|swaps| Script { scan, spare, ..client(swaps) });
            search(&scripts)
                .some(300, &mut random)
                .unwrap_or_else(|what| panic!("{scan:?}: {what}"));
        }
    }
}

#[test]
fn no_rule_is_there_in_vain() {
    let whole = NAMES;
    for (broken, swaps, spare, piece, says) in [
        (Rule::OldestFirst, [6, 1], 3, whole, "a fork"),
        (Rule::MarkTheBeginning, [4, 1], 1, whole, "a fork"),
        (Rule::WritersLookBack, [4, 1], 1, whole, "a fork"),
        (Rule::ReadersLookBack, [5, 0], 1, 2, "0 was read, after 1 was told"),
        (Rule::FirmGround, [2, 1], 1, whole, "after a cut: nobody else can go on"),
    ] {
        let scan = Scan { from_above: true, piece };
        let scripts =
            swaps.map(|swaps| Script { scan, spare, broken: Some(broken), ..client(swaps) });
        let error = all_of(&scripts).expect_err(&format!("{broken:?} is not missed"));
        assert!(error.contains(says), "{broken:?}: {error}");
    }
}

#[test]
fn whose_link_was_repeated_knows_its_own() {
    let loses_answers = true;
    let scripts = [4, 1].map(|swaps| Script { loses_answers, ..client(swaps) });
    all_of(&scripts).unwrap_or_else(|what| panic!("{what}"));
    let alone = run(1, &scripts[0], &mut Disk::default(), &mut Vec::new(), 1000);
    let swapped = alone.answers.iter().filter(|answer| matches!(answer, Answer::Swapped(..)));
    assert_eq!(swapped.count(), 4);
}

/// The file that a writer went on from and its own have to stay; one less, and nobody can tell the end.
#[test]
fn whoever_collects_too_early_is_caught() {
    let collecting = |keep| [3, 1].map(|swaps| Script { keep, ..client(swaps) });
    let error = all_of(&collecting(0)).expect_err("it is not missed");
    assert!(error.contains("nobody else can go on"), "{error}");
    all_of(&collecting(1)).unwrap_or_else(|what| panic!("{what}"));
}
