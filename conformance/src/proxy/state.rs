//! What is to go wrong and what went wrong: shared by the handle and the connections.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::scene::LIVENESS;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// What becomes of a connection whose reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The client finds it reset.
    Reset,
    /// Nothing comes any more.
    Silence,
}

/// What a proxy has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: usize,
    /// Connections that were reset.
    pub resets: usize,
    /// Connections that were cut.
    pub cuts: usize,
    /// How often a direction became a black hole.
    pub stalls: usize,
    /// How often it began to refuse connections.
    pub refusals: usize,
    /// Replies that were lost.
    pub replies_dropped: usize,
    /// Requests that were held back.
    pub requests_held: usize,
    /// Requests that were delivered late.
    pub delivered_late: usize,
    /// Bytes that arrived at the server, and at clients.
    pub bytes: [usize; 2],
}

impl Counts {
    /// How many faults there were.
    pub fn faults(&self) -> usize {
        self.resets
            + self.cuts
            + self.stalls
            + self.refusals
            + self.replies_dropped
            + self.requests_held
    }
}

/// What happens to the n-th request on a connection, 1 being the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    pub(super) nth: usize,
    pub(super) fault: Fault,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    DropReply(Then),
    Hold,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub(super) struct Connection {
    /// A request was seen, and no reply to it.
    asked: bool,
    /// What goes to the server is held back.
    pub(super) held: bool,
    /// What was held back is on its way, and not yet answered.
    pub(super) late: bool,
    /// Whatever comes is swallowed.
    muted: bool,
    pub(super) armed: Option<Armed>,
    /// The reply to the request that is under way is to be lost.
    drops: Option<Then>,
    pub(super) cut: Option<(Direction, usize)>,
    /// It is to be reset.
    pub(super) ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) delay: [Duration; 2],
    pub(super) stalled: [bool; 2],
    pub(super) refusing: bool,
    pub(super) listening: bool,
    pub(super) armed: Option<Armed>,
    pub(super) cut_next: Option<(Direction, usize)>,
    pub(super) connections: BTreeMap<u64, Connection>,
    last: u64,
    pub(super) counts: Counts,
}

/// The state, and who waits for it to change.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    threads: Condvar,
    tasks: watch::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.threads.notify_all();
        self.tasks.send_replace(());
        changed
    }

    /// Blocks the thread until it is so. `false`: it takes longer than anything may.
    pub(super) fn until(&self, mut is: impl FnMut(&State) -> bool) -> bool {
        let wait = self.threads.wait_timeout_while(self.lock(), LIVENESS, |state| !is(state));
        !wait.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until it is so.
    pub(super) async fn when(&self, mut is: impl FnMut(&State) -> bool) {
        let mut changes = self.tasks.subscribe();
        while !is(&self.lock()) {
            // The sender is ours, so it is not gone.
            let _ = changes.changed().await;
        }
    }

    pub(super) fn opened(&self) -> u64 {
        self.change(|state| {
            state.last += 1;
            state.counts.connections += 1;
            let cut = state.cut_next.take();
            state.connections.insert(state.last, Connection { cut, ..Connection::default() });
            state.last
        })
    }

    pub(super) fn closed(&self, id: u64) {
        self.change(|state| state.connections.remove(&id));
    }

    /// Something came. `true`: it is to be passed on.
    pub(super) fn came(&self, id: u64, direction: Direction) -> bool {
        self.change(|state| {
            let State { armed, connections, counts, .. } = state;
            let Some(connection) = connections.get_mut(&id) else { return false };
            match direction {
                Direction::ToServer if !connection.asked && !connection.held => {
                    if !connection.muted && armed.is_some() {
                        connection.armed = armed.take();
                    }
                    connection.requested(counts);
                }
                Direction::ToServer => {}
                Direction::ToClient => {
                    connection.late = false;
                    connection.replied(counts);
                }
            }
            !connection.muted
        })
    }

    /// Until when something that came then is kept.
    pub(super) fn due(&self, direction: Direction, came: Instant) -> Instant {
        came + self.lock().delay[direction as usize]
    }

    /// How much of so many bytes may pass.
    pub(super) fn part(&self, id: u64, direction: Direction, bytes: usize) -> usize {
        let state = self.lock();
        let Some(connection) = state.connections.get(&id) else { return bytes };
        if connection.ended {
            return 0; // Nothing comes behind a gap.
        }
        connection
            .cut
            .filter(|(cut, _)| *cut == direction)
            .map_or(bytes, |(_, left)| left.min(bytes))
    }

    /// So much has passed.
    pub(super) fn passed(&self, id: u64, direction: Direction, bytes: usize) {
        self.change(|state| {
            state.counts.bytes[direction as usize] += bytes;
            let Some(connection) = state.connections.get_mut(&id) else { return };
            let Some((cut, left)) = &mut connection.cut else { return };
            if *cut == direction {
                *left -= bytes.min(*left);
                if *left == 0 {
                    connection.cut = None;
                    connection.ended = true;
                    state.counts.cuts += 1;
                }
            }
        });
    }
}

impl State {
    pub(super) fn may_pass(&self, id: u64, direction: Direction) -> bool {
        let held = self.connections.get(&id).is_some_and(|connection| connection.held);
        !(self.stalled[direction as usize] || held && direction == Direction::ToServer)
    }

    pub(super) fn is_ended(&self, id: u64) -> bool {
        self.connections.get(&id).is_none_or(|connection| connection.ended)
    }
}

impl Connection {
    /// The client began to ask: whatever waits for this request happens to it.
    fn requested(&mut self, counts: &mut Counts) {
        self.asked = true;
        let Some(armed) = &mut self.armed else { return };
        armed.nth -= 1;
        if armed.nth > 0 {
            return;
        }
        match armed.fault {
            Fault::DropReply(then) => self.drops = Some(then),
            Fault::Hold => {
                self.held = true;
                counts.requests_held += 1;
            }
        }
        self.armed = None;
    }

    /// The server said something: swallows it if that is the reply to be lost.
    fn replied(&mut self, counts: &mut Counts) {
        self.asked = false;
        if let Some(then) = self.drops.take() {
            self.muted = true;
            counts.replies_dropped += 1;
            self.ended = then == Then::Reset;
        }
    }
}
