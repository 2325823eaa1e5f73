//! Requests as they are put together from their events.

use std::collections::HashMap;

use lock_core::TaskId;

use super::event::{Event, Refusal, What};

/// How many holders a shared lock tolerates.
const ANY: u64 = u64::MAX;

/// One lock of a request.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) name: String,
    pub(super) tolerance: u64,
    /// Once it is granted.
    pub(super) fence: u64,
}

impl Lock {
    pub(super) fn is_exclusive(&self) -> bool {
        self.tolerance == 1
    }
}

/// One request from its first to its last event. Moments are in nanoseconds, versions of the cell.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) task: TaskId,
    pub(super) locks: Vec<Lock>,
    /// The moment before it was sent.
    pub(super) asked: u64,
    /// The moment after it was granted.
    pub(super) granted: Option<u64>,
    /// The moment after it was refused.
    pub(super) refused: Option<(u64, Refusal)>,
    /// The moment until which a hold is certain.
    pub(super) certain: u64,
    /// The moment from which it certainly is not in the table any more.
    pub(super) gone: u64,
    /// The version at which it was queued.
    pub(super) queued: Option<u64>,
    /// The versions of swaps that may have queued it, of which nobody knows: who writes for it may be
    /// killed before it is told.
    pub(super) in_doubt: Vec<u64>,
    /// The version at which it had left the table.
    pub(super) left: Option<u64>,
    /// The version at which it was granted, if its fences tell.
    pub(super) version: Option<u64>,
}

impl Span {
    fn new(task: &TaskId, locks: &[(String, u32)], asked: u64) -> Self {
        let lock = |(name, tolerance): &(String, u32)| Lock {
            name: name.clone(),
            tolerance: if *tolerance == 0 { ANY } else { u64::from(*tolerance) },
            fence: 0,
        };
        Self {
            task: task.clone(),
            locks: locks.iter().map(lock).collect(),
            asked,
            granted: None,
            refused: None,
            certain: u64::MAX,
            gone: u64::MAX,
            queued: None,
            in_doubt: Vec::new(),
            left: None,
            version: None,
        }
    }

    /// Whether it can ever have been in the table: what is refused at once is not.
    pub(super) fn was_there(&self) -> bool {
        !matches!(self.refused, Some((_, Refusal::Busy | Refusal::Deadlock)))
    }

    fn add(&mut self, event: &Event) -> bool {
        match &event.what {
            What::Asked { .. } | What::Killed { .. } => return false,
            What::Queuing { version, .. } => self.in_doubt.push(*version),
            What::NotQueued { version, .. } => self.in_doubt.retain(|doubt| doubt != version),
            What::Queued { version, .. } => {
                self.in_doubt.retain(|doubt| doubt != version);
                self.queued = Some(*version);
            }
            What::Granted { fences, .. } => {
                self.granted = Some(event.at);
                for (name, fence) in fences {
                    match self.locks.iter_mut().find(|lock| lock.name == *name) {
                        Some(lock) => lock.fence = *fence,
                        None => return false,
                    }
                }
                return self.locks.iter().all(|lock| lock.fence > 0);
            }
            What::Refused { why, .. } => {
                self.refused = Some((event.at, *why));
                // After other errors it may still be on its way.
                if *why != Refusal::Other {
                    self.gone = self.gone.min(event.at);
                }
            }
            What::Releasing { .. } | What::Dropped { .. } => {
                self.certain = self.certain.min(event.at);
            }
            What::Released { .. } => self.gone = self.gone.min(event.at),
            What::Gone { version, .. } => {
                self.left = Some(*version);
                self.gone = self.gone.min(event.at);
            }
        }
        true
    }
}

/// All requests of a history.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) all: Vec<Span>,
    by_task: HashMap<TaskId, usize>,
}

impl Spans {
    /// Puts the requests together; the error is the first event that does not fit in.
    pub(super) fn of(events: &[Event]) -> Result<Self, &Event> {
        let mut spans = Self { all: Vec::new(), by_task: HashMap::new() };
        let mut order: Vec<&Event> = events.iter().collect();
        // A sort that is stable: what one client wrote stays in its order.
        order.sort_by_key(|event| event.at);
        for event in order {
            match &event.what {
                What::Asked { task, locks } => {
                    if spans.by_task.insert(task.clone(), spans.all.len()).is_some() {
                        return Err(event);
                    }
                    spans.all.push(Span::new(task, locks, event.at));
                }
                What::Killed { client } => {
                    for span in spans.all.iter_mut().filter(|s| s.task.client() == *client) {
                        span.certain = span.certain.min(event.at);
                    }
                }
                what => {
                    let task = what.task().expect("only a kill has none");
                    let span = spans.by_task.get(task).map(|at| &mut spans.all[*at]);
                    if !span.is_some_and(|span| span.add(event)) {
                        return Err(event);
                    }
                }
            }
        }
        spans.find_versions();
        Ok(spans)
    }

    /// The fence of a hold is the version that granted it, unless an enclosing hold lent it its own.
    fn find_versions(&mut self) {
        for at in 0..self.all.len() {
            let span = &self.all[at];
            let version = span.locks.iter().map(|lock| lock.fence).max();
            let lent = self.around(&span.task).any(|above| {
                above.locks.iter().any(|lock| Some(lock.fence) == version && lock.fence > 0)
            });
            self.all[at].version = version.filter(|_| span.granted.is_some() && !lent);
        }
    }

    /// The requests of the tasks that this one is nested in.
    pub(super) fn around(&self, task: &TaskId) -> impl Iterator<Item = &Span> {
        let above = std::iter::successors(task.parent(), TaskId::parent);
        above.filter_map(|task| self.by_task.get(&task).map(|at| &self.all[*at]))
    }

    pub(super) fn granted(&self) -> impl Iterator<Item = &Span> {
        self.all.iter().filter(|span| span.granted.is_some())
    }
}
