//! The loop of the driver: waits for commands, answers of the store, bells, deaths and timers.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::calls::caught;
use super::deaths::Deaths;
use super::entry::{DoneReply, Entry, State};
use super::extra::Extra;
use super::judge::Judge;
use super::lease::Lease;
use super::pace::{Gather, Pace};
use super::posts::Posted;
use super::{Commands, Config, Moment};
use crate::backend::{BackendError, Snapshot, Swap, Version};
use crate::bell::{ANY, Bell, Heard};
use crate::error::StoreError;
use crate::ids::RequestId;
use crate::table::{ClientInfo, LockTable, Post, Verdict};

/// How long after its own time limit a request still waits for a store that is silent.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// How long holders sleep at most, so that a suspended host finds out soon after it wakes.
const NAP_MAX: Duration = Duration::from_secs(5);
/// Bells are not answered more often than this.
const RING_PAUSE: Duration = Duration::from_micros(200);
/// How long what is queued may take after all handles are gone without `close`.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);
/// How long taking leave of the store may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long the hints of a store that failed to give them are done without.
const HINT_PAUSE: Duration = Duration::from_secs(1);

/// The table as it was last read or written.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) version: Version,
    pub(super) table: LockTable,
    /// The table was current then or later.
    pub(super) as_of: Moment,
}

pub(super) type Io = Pin<Box<dyn Future<Output = Done> + Send>>;
/// `true`: the cell has probably changed. `false`: the store cannot tell for now.
type Hint = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What the store answered.
pub(super) enum Done {
    /// With whether it is this client's turn to write, if it asked for one.
    Load {
        sent: Moment,
        result: Result<(Snapshot, Option<bool>), BackendError>,
    },
    Swap {
        result: Result<Swap, BackendError>,
    },
    TurnEnded,
}

/// A turn to write, as the store gives them to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    Given,
    /// It was used and is to be ended.
    Used,
}

/// The driver of one client.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one table")]
pub(crate) struct Actor {
    pub(super) config: Config,
    pub(super) info: Arc<ClientInfo>,
    pub(super) store: String,
    pub(super) judge: Judge,
    pub(super) lease: Lease,
    pub(super) pace: Pace,
    pub(super) bell: Option<Bell>,
    pub(super) commands: Commands,

    /// All requests of this client, by number.
    pub(super) entries: BTreeMap<u64, Entry>,
    /// Those that do not simply hold.
    pub(super) restless: BTreeSet<u64>,
    /// Those that need an op written.
    pub(super) dirty: BTreeSet<u64>,
    pub(super) extras: Vec<Extra>,
    /// Requests of this client in the table that nobody knows of.
    pub(super) unwanted: BTreeSet<RequestId>,
    pub(super) verdicts: Vec<Verdict>,

    /// What is being written. It stays here, so that what was asked in it can run out of time.
    pub(super) flight: Option<Box<Batch>>,
    pub(super) cached: Option<Cached>,
    /// The cached table must be at least this new to be built on.
    pub(super) need_as_of: Option<Moment>,
    pub(super) moment: Moment,
    /// What others have posted to this client.
    pub(super) posts: Vec<Post>,
    /// What this client has posted, if somebody may still write it.
    pub(super) posted: Option<Posted>,
    /// How many bytes the table had when it was last read or written.
    pub(super) bytes: usize,
    /// The cached table was read and not yet built on.
    pub(super) just_read: bool,
    /// Whether it is this client's turn to write.
    pub(super) turn: Turn,
    /// The highest version that was read or confirmed, and the highest that was ever sent.
    pub(super) seen: Version,
    pub(super) tried: Version,
    /// The version at which a swap was sent that may still be applied.
    pub(super) unresolved: Option<Version>,
    /// What was read is older than what was seen: only a swap can tell if it is true.
    pub(super) suspect: bool,
    /// The store had no room for the last swap: what can be spared is not written.
    pub(super) is_tight: bool,
    /// After the next swap, what is known must be compared with the table once more.
    pub(super) recheck: bool,
    /// Whether the dead of this host have been looked for.
    pub(super) tidied: bool,

    /// The waiter that is looked at next for who keeps it waiting.
    pub(super) look_on: u64,
    pub(super) next_poll: Option<Instant>,
    /// When to look into the table because something told to. Only a look that begins after the
    /// ring clears it: what is under way may be older.
    pub(super) ring_at: Option<Instant>,
    /// Somebody rang: look into the table even if nothing is asked for.
    pub(super) rung: bool,
    pub(super) last_load: Option<Instant>,
    pub(super) deaths: Deaths,
    pub(super) failure: Option<StoreError>,
    hints_from: Instant,
    pub(super) closing: Option<Closing>,
    /// Who was answered by the last swap and may ask again.
    pub(super) gather: Option<Gather>,
}

#[derive(Debug)]
pub(super) struct Closing {
    pub(super) patience: Instant,
    pub(super) replies: Vec<DoneReply>,
}

impl Actor {
    /// Must be called in the runtime that the actor will run in.
    pub(crate) fn new(mut config: Config, commands: Commands) -> Self {
        let bell = config.bell.then(|| Bell::hang(config.id)).flatten();
        config.info.bell = bell.as_ref().map(Bell::namespace);
        Self {
            judge: Judge::new(config.backend.reach(), &config.info.processes.place),
            lease: Lease::new(config.info.lease),
            pace: Pace::new(config.id.bits(), config.patience),
            store: config.backend.describe(),
            info: Arc::new(config.info.clone()),
            bell,
            commands,
            entries: BTreeMap::new(),
            restless: BTreeSet::new(),
            dirty: BTreeSet::new(),
            extras: Vec::new(),
            unwanted: BTreeSet::new(),
            verdicts: Vec::new(),
            flight: None,
            cached: None,
            need_as_of: None,
            moment: Moment::default(),
            posts: Vec::new(),
            posted: None,
            bytes: 0,
            just_read: false,
            turn: Turn::None,
            seen: Version::ABSENT,
            tried: Version::ABSENT,
            unresolved: None,
            suspect: false,
            is_tight: false,
            recheck: false,
            tidied: false,
            look_on: 0,
            next_poll: None,
            ring_at: None,
            rung: false,
            last_load: None,
            deaths: Deaths::default(),
            failure: None,
            hints_from: Instant::now(),
            closing: None,
            gather: None,
            config,
        }
    }

    /// Runs until it is closed, or until all handles are gone and what they left is written.
    pub(crate) async fn run(mut self) {
        let mut io: Option<Io> = None;
        let mut hint: Option<(Version, Hint)> = None;
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now()));
        let mut orphaned = false;
        while !self.is_finished() {
            let mut commands = 0;
            while let Ok(command) = self.commands.try_recv() {
                self.command(command);
                commands += 1;
            }
            if io.is_none() {
                self.gather(commands).await;
            }
            self.tick();
            if io.is_none() {
                io = self.start();
                if io.is_none() && self.is_finished() {
                    break;
                }
            }
            if io.is_none() {
                self.listen(&mut hint);
            }
            let wake = self.next_wake(io.is_some());
            // It is set again and again only to be sooner; if it is too soon, it is set once more.
            if let Some(wake) = wake.filter(|wake| *wake < alarm.deadline() || alarm.is_elapsed()) {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                done = poll_opt(io.as_mut()) => {
                    io = None;
                    self.done(done);
                }
                command = self.commands.recv(), if !orphaned => {
                    if let Some(command) = command {
                        self.command(command);
                    } else {
                        orphaned = true;
                        self.close(ORPHAN_PATIENCE, None);
                    }
                }
                Heard { ring, posts } = heard(self.bell.as_ref()) => {
                    if let Some(version) = ring {
                        self.rung(version);
                    }
                    self.receive(posts);
                }
                Some(()) = self.deaths.next() => {
                    self.ring_at = Some(Instant::now());
                }
                told = poll_opt(hint.as_mut().map(|(_, hint)| hint)) => {
                    hint = None;
                    if told {
                        self.rung(ANY);
                    } else {
                        self.hints_from = Instant::now() + HINT_PAUSE;
                    }
                }
                () = &mut alarm, if wake.is_some() => {}
            }
        }
        drop(io);
        let backend = self.config.backend.clone();
        let _ = tokio::time::timeout(FAREWELL, caught(backend.close())).await;
        self.finish();
    }

    fn is_finished(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| {
            let written = self.entries.is_empty()
                && self.extras.is_empty()
                && self.flight.as_ref().is_none_or(|batch| batch.extras.is_empty())
                && self.unwanted.is_empty()
                && self.unresolved.is_none()
                && self.posted.is_none();
            let hopeless = self.failure.as_ref().is_some_and(StoreError::is_misconfigured);
            written || hopeless || Instant::now() >= closing.patience
        })
    }

    fn finish(mut self) {
        let result = if self.entries.is_empty() && self.unwanted.is_empty() {
            Ok(())
        } else {
            Err(self.reason())
        };
        let _ = self.config.end.set(result.clone());
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            if let Some(mut entry) = self.entries.remove(&number) {
                entry.answer_end(&result);
            }
        }
        let sent = self.flight.take().map(|batch| batch.extras).unwrap_or_default();
        for extra in std::mem::take(&mut self.extras).into_iter().chain(sent) {
            extra.what.fail(StoreError::closed(&self.store));
        }
        for reply in self.closing.into_iter().flat_map(|closing| closing.replies) {
            let _ = reply.send(result.clone());
        }
    }

    /// Why the store has not answered.
    pub(super) fn reason(&self) -> StoreError {
        self.failure.clone().unwrap_or_else(|| StoreError::silent(&self.store))
    }

    /// Does what the time demands.
    fn tick(&mut self) {
        let now = Instant::now();
        for number in self.restless.iter().copied().collect::<Vec<_>>() {
            let entry = self.entries.get_mut(&number).expect("restless ones are known");
            if entry.deadline.is_some_and(|deadline| deadline <= now) {
                entry.deadline = None;
                entry.patience = entry.patience.min(now + SLACK);
                if entry.state == State::Waiting {
                    entry.state = State::Expired;
                    entry.patience = now + SLACK;
                    self.dirty.insert(number);
                } else if entry.state == State::New {
                    entry.expires = true;
                }
            }
            if entry.is_awaited() && entry.state != State::Waiting && entry.patience <= now {
                let reason = self.reason();
                if let Some(entry) = self.entries.get_mut(&number) {
                    entry.answer_end(&Err(reason.clone()));
                }
                self.refuse(number, reason.into());
            }
        }
        let late = |extra: &mut Extra| extra.patience <= now;
        let mut over: Vec<Extra> = self.extras.extract_if(.., late).collect();
        if let Some(batch) = &mut self.flight {
            over.extend(batch.extras.extract_if(.., late));
        }
        for extra in over {
            extra.what.fail(self.reason());
        }
        let boot = self.config.clock.boot();
        if self.lease.is_in_doubt(boot) && self.lease.end_of_doubt().is_some_and(|end| end <= boot)
        {
            self.lose_all();
        }
    }

    fn lose_all(&mut self) {
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            if self.entries[&number].state == State::Held {
                self.lose(number);
            }
        }
    }

    /// A bell or a hint: look into the table soon.
    pub(super) fn rung(&mut self, version: Version) {
        let is_known = |cached: &Cached| cached.version >= version;
        if self.cached.as_ref().is_some_and(is_known) && !self.suspect {
            return;
        }
        if self.cached.is_none() && self.flight.is_none() && self.posted.is_none() {
            // Nothing is known that could have changed; what was beaten is sent again, and so finds out.
            return;
        }
        self.rung = true;
        let now = Instant::now();
        let soon = self.last_load.map_or(now, |last| (last + RING_PAUSE).max(now));
        self.ring_at = Some(self.ring_at.map_or(soon, |ring| ring.min(soon)));
    }

    /// Asks the store to tell of changes, while anybody waits.
    fn listen(&self, hint: &mut Option<(Version, Hint)>) {
        let waits = self.next_poll.is_some();
        let Some(cached) = self.cached.as_ref().filter(|_| waits) else {
            if !waits {
                *hint = None;
            }
            return;
        };
        let current = hint.as_ref().is_some_and(|(version, _)| *version == cached.version);
        if !current && self.hints_from <= Instant::now() {
            let (backend, version) = (self.config.backend.clone(), cached.version);
            let told = async move { matches!(caught(backend.changed(version)).await, Ok(Ok(()))) };
            *hint = Some((version, Box::pin(told)));
        }
    }

    /// When there is something to do, if nothing happens before.
    fn next_wake(&mut self, busy: bool) -> Option<Instant> {
        let now = Instant::now();
        let mut wakes: Vec<Instant> = Vec::new();
        if !busy {
            wakes.extend(self.next_poll.into_iter().chain(self.ring_at));
            if self.need_as_of.is_none() && self.is_lent() {
                wakes.extend(self.posted.and_then(|posted| posted.until));
            } else if self.need_as_of.is_some() || self.has_writes() {
                // Also a time that has come since a call was last thought of: else nobody would
                // think of it again.
                wakes.push(self.pace.not_before().unwrap_or(now));
            }
        }
        for number in &self.restless {
            let entry = &self.entries[number];
            wakes.extend(entry.deadline);
            if entry.is_awaited() && entry.state != State::Waiting {
                wakes.push(entry.patience);
            }
        }
        let sent = self.flight.iter().flat_map(|batch| &batch.extras);
        wakes.extend(self.extras.iter().chain(sent).map(|extra| extra.patience));
        wakes.extend(self.closing.as_ref().map(|closing| closing.patience));
        if self.lease.has_end() && !self.entries.is_empty() {
            let boot = self.config.clock.boot();
            let at = |time: Duration| now + time.saturating_sub(boot);
            wakes.push(now + NAP_MAX);
            let lease = [self.lease.due(), self.lease.deadline(), self.lease.end_of_doubt()];
            wakes.extend(lease.into_iter().flatten().map(at).filter(|time| *time > now));
        }
        wakes.into_iter().min()
    }
}

/// The output of a future that may not be there: then it never comes.
async fn poll_opt<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn heard(bell: Option<&Bell>) -> Heard {
    match bell {
        Some(bell) => bell.heard().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Deadline;
    use crate::ids::ClientId;
    use crate::process::ProcessSet;

    #[tokio::test]
    async fn a_pause_that_ends_between_two_looks_at_the_clock_is_not_slept_through() {
        let info = ClientInfo {
            name: "test".into(),
            processes: ProcessSet::current(),
            bell: None,
            lease: None,
        };
        let config = Config {
            id: ClientId::from_random(1),
            info,
            backend: Arc::new(crate::MemoryBackend::new()),
            clock: Arc::new(crate::clock::SystemClock),
            deadline: Arc::new(Deadline::new()),
            end: Arc::default(),
            patience: Duration::from_secs(30),
            bytes_max: 1 << 20,
            bell: false,
        };
        let (_commands, received) = tokio::sync::mpsc::unbounded_channel();
        let mut actor = Actor::new(config, received);
        actor.need_as_of = Some(actor.next_moment());
        // Somebody else's swap was met, and the pause after it is over by now.
        actor.pace.lost(Instant::now(), true);
        let over = actor.pace.not_before().expect("it pauses");
        tokio::time::sleep_until(over).await;
        assert!(actor.next_wake(false).is_some_and(|wake| wake <= Instant::now()));
    }
}
