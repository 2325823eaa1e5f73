//! The search: every state that the world can come to, once, nearest first.

use std::collections::hash_map::{DefaultHasher, Entry as Slot};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write;
use std::hash::{Hash, Hasher};

use lock_core::table::Op;

use crate::Mutant;
use crate::world::{Content, Event, Word, World, index_of};

/// How many states there were, and the shortest way to one that must not be.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) broken: Option<String>,
}

type Key = (u64, u64);

pub(crate) fn search(start: &World) -> Found {
    let mut ways: HashMap<Key, Option<(Key, Event)>> = HashMap::new();
    let mut good: HashSet<Key> = HashSet::new();
    let mut open = VecDeque::from([start.clone()]);
    ways.insert(key(start), None);
    while let Some(world) = open.pop_front() {
        let from = key(&world);
        for event in world.events() {
            let mut next = world.clone();
            let mut judged = next.happen(event);
            let to = key(&next);
            let Slot::Vacant(slot) = ways.entry(to) else { continue };
            slot.insert(Some((from, event)));
            if judged.is_ok() {
                let mut passed = Vec::new();
                judged = next.settle(|world| {
                    let key = key(world);
                    passed.push(key);
                    good.contains(&key)
                });
                if judged.is_ok() {
                    good.extend(passed);
                }
            }
            if let Err(why) = judged {
                let broken = Some(format!("{why}:\n{}", trace(start, &ways, to)));
                return Found { states: ways.len(), broken };
            }
            open.push_back(next);
        }
    }
    Found { states: ways.len(), broken: None }
}

/// All that happened until then.
fn trace(start: &World, ways: &HashMap<Key, Option<(Key, Event)>>, end: Key) -> String {
    let mut events = Vec::new();
    let mut at = end;
    while let Some((from, event)) = ways[&at] {
        events.push(event);
        at = from;
    }
    let mut world = start.clone();
    let mut text = String::new();
    for event in events.into_iter().rev() {
        let _ = world.happen(event);
        writeln!(text, "  {event:?}\n    {world}").expect("a text takes everything");
    }
    text
}

/// What tells states apart. Of versions only the order counts, unless they are made anew from old
/// ones.
fn key(world: &World) -> Key {
    let mut versions = Vec::new();
    write(world, &mut |version| {
        versions.push(version);
        0
    });
    versions.sort_unstable();
    versions.dedup();
    let ranked = !matches!(world.mutant, Some(Mutant::VersionReuse | Mutant::NoClock));
    let words = write(world, &mut |version| {
        if ranked {
            versions.binary_search(&version).expect("just collected") as u64
        } else {
            version
        }
    });
    let hash = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, &words).hash(&mut hasher);
        hasher.finish()
    };
    (hash(1), hash(2))
}

/// A state as words; each version goes through `rank`.
fn write(world: &World, rank: &mut dyn FnMut(u64) -> u64) -> Vec<u64> {
    let mut words = Vec::with_capacity(128);
    let hashed = |value: &dyn DynHash| {
        let mut hasher = DefaultHasher::new();
        value.hash_to(&mut hasher);
        hasher.finish()
    };
    let optional =
        |version: Option<u64>, rank: &mut dyn FnMut(u64) -> u64| version.map_or(u64::MAX, rank);
    content(&mut words, Some(&world.cell), rank);
    content(&mut words, world.older.as_ref(), rank);
    words.push(hashed(&(world.budget, world.epoch)));
    words.push(rank(world.told));
    for client in &world.clients {
        content(&mut words, client.cached.as_ref(), rank);
        words.push(rank(client.seen));
        if world.mutant == Some(Mutant::NoClock) {
            words.push(client.tried);
        }
        words.push(optional(client.unresolved, rank));
        let numbers: Vec<u64> = client.unwanted.iter().map(|id| id.number).collect();
        let flags = (client.alive, client.suspect, client.recheck, client.in_flight);
        // In which life a swap was made counts only for who holds.
        let current = client.epoch == world.epoch;
        words.push(hashed(&(client.entries, numbers, flags, client.lease, current)));
        words.push(optional(client.posted.map(|(number, _)| number), rank));
        words.push(client.posted.map_or(0, |(_, age)| u64::from(age)));
        words.push(client.verdicts.len() as u64);
        for verdict in &client.verdicts {
            words.extend([index_of(verdict.client) as u64, rank(verdict.mark.0)]);
        }
        for judged in client.judged {
            let (mark, age) = judged.unzip();
            words.extend([optional(mark, rank), age.map_or(u64::MAX, u64::from)]);
        }
    }
    for post in &world.posts {
        words.extend([post.owner as u64, rank(post.number), post.ops.len() as u64]);
        for op in &post.ops {
            words.push(match op {
                Op::Acquire(acquire) => 2 * acquire.id.number,
                Op::Release(id) => 2 * id.number + 1,
                _ => u64::MAX,
            });
        }
    }
    for call in &world.calls {
        words.extend([call.owner as u64, rank(call.batch.expected)]);
        content(&mut words, Some(&call.batch.written), rank);
        words.push(u64::from(call.awaited));
        if call.awaited {
            let answer = call.answer.map(|epoch| epoch == world.epoch);
            words.push(hashed(&(&call.batch.acts, &call.batch.granted, call.batch.age, answer)));
        }
    }
    words
}

fn content(words: &mut Vec<u64>, content: Option<&Content>, rank: &mut dyn FnMut(u64) -> u64) {
    let Some(content) = content else {
        words.push(u64::MAX);
        return;
    };
    words.push(rank(content.version));
    words.extend(content.words.iter().map(|word| match *word {
        Word::Plain(number) => number,
        Word::Version(version) => rank(version),
    }));
}

/// What can be hashed behind a reference.
trait DynHash {
    fn hash_to(&self, hasher: &mut DefaultHasher);
}

impl<T: Hash> DynHash for T {
    fn hash_to(&self, hasher: &mut DefaultHasher) {
        self.hash(hasher);
    }
}
