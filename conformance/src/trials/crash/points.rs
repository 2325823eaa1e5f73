//! Runs a script again and again, and each time kills or stops its process at another moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::failpoint::Point;
use lock_core::process::Liveness;
use lock_core::table::{Listing, LockTable};
use lock_core::{AcquireError, BlockingGuard, BlockingLocks, Request};
use rustix::process::Signal;

use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};
use crate::worker::{Held, Order, Report, Worker, WorkerOptions};

/// The name of the client that acts.
const SUBJECT: &str = "subject";
/// A lock that somebody else holds all the time.
const BYSTANDERS: &str = "bystander/own";

/// How often a script is run undisturbed: what is passed each time is passed again.
const REHEARSALS: usize = 3;
/// How often a script is run for a pass that the timing may prevent.
const TRIES_MAX: usize = 20;
/// How many passes of one point are tried in a long run, besides the first.
const HITS_MAX: usize = 50;
const SIGKILL: i32 = Signal::KILL.as_raw();

/// What a process does while it is killed or stopped.
pub(super) struct Script {
    /// What it does, in orders to the worker. It ends with an error as soon as that is dead.
    pub(super) act: fn(&mut Stage) -> Verdict,
    /// All that is locked in it.
    pub(super) locks: &'static [&'static str],
    pub(super) lease: Duration,
}

/// How often each point was passed.
pub(super) type Hits = BTreeMap<String, u64>;

/// One run of a script.
pub(super) struct Stage<'a> {
    pub(super) subject: Worker,
    pub(super) scene: &'a Scene,
    /// Somebody else, in this process.
    pub(super) other: BlockingLocks,
    locks: &'static [&'static str],
    /// What the subject certainly holds, by the numbers of its orders.
    holds: Arc<Mutex<BTreeSet<u64>>>,
    fence: u64,
    rival: Option<Receiver<Result<BlockingGuard, String>>>,
    from: Hits,
    hits: Hits,
}

impl Stage<'_> {
    pub(super) fn ask(&mut self, order: Order) -> Result<u64, Failure> {
        self.scene.count("operations", 1);
        self.subject.order(order)
    }

    pub(super) fn granted(&mut self, key: u64) -> Result<Held, Failure> {
        let held = self.subject.granted(key)?;
        self.holds().insert(key);
        self.fence = self.fence.max(held.fence);
        Ok(held)
    }

    /// Takes what nobody keeps from it.
    pub(super) fn take(&mut self, request: impl Into<Request>) -> Result<Held, Failure> {
        let key = self.ask(Order::acquire("task", request, None))?;
        self.granted(key)
    }

    pub(super) fn release(&mut self, held: &Held) -> Verdict {
        self.holds().remove(&held.key);
        self.does(Order::Release(held.key))
    }

    pub(super) fn does(&mut self, order: Order) -> Verdict {
        let key = self.ask(order)?;
        self.reports(key, |report| *report == Report::Done)
    }

    pub(super) fn is_refused(&mut self, key: u64, wanted: &str) -> Verdict {
        self.reports(key, |report| matches!(report, Report::Refused { kind, .. } if kind == wanted))
    }

    pub(super) fn reports(&mut self, key: u64, wanted: impl Fn(&Report) -> bool) -> Verdict {
        match self.subject.report(key)? {
            report if wanted(&report) => Ok(()),
            report => Err(Failure::failed(format!("order {key} is answered by {report:?}"))),
        }
    }

    pub(super) fn close(&mut self) -> Verdict {
        self.holds().clear();
        self.does(Order::Close)?;
        self.hits = self.now_hit()?;
        Ok(())
    }

    /// What is before this is left to other scripts.
    pub(super) fn begins_here(&mut self) -> Verdict {
        self.from = self.now_hit()?;
        Ok(())
    }

    /// How often the subject has passed each point by now.
    pub(super) fn now_hit(&mut self) -> Result<Hits, Failure> {
        match self.subject.call(Order::Hits)? {
            Report::Counts(hits) => Ok(hits.into_iter().collect()),
            other => Err(Failure::failed(format!("{other:?}"))),
        }
    }

    /// Waits until the store says something, or the subject is dead.
    pub(super) fn until(&mut self, what: &str, seen: impl Fn(&Listing) -> bool) -> Verdict {
        let end = Instant::now() + LIVENESS;
        while !seen(&self.other.list()?) {
            if self.subject.pulse().has_ended() {
                return Err(Failure::failed("the subject has ended"));
            }
            if Instant::now() > end {
                return Err(Failure::failed(format!("not seen: {what}")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until the subject is in the queue.
    pub(super) fn until_it_waits(&mut self) -> Verdict {
        self.until("it waits", |listing| listing.waiting.iter().any(|w| *w.client.name == *SUBJECT))
    }

    /// From now on a rival waits for all the locks.
    pub(super) fn is_waited_for(&mut self) -> Verdict {
        self.rival = Some(self.rival()?);
        self.until("the rival", |listing| {
            let waits = listing.waiting.iter().any(|waiter| *waiter.task == *"rival");
            waits || listing.holds.iter().any(|hold| *hold.task == *"rival")
        })
    }

    /// Somebody who waits for all the locks, and sees whether they are really free then.
    fn rival(&self) -> Result<Receiver<Result<BlockingGuard, String>>, Failure> {
        let locks = self.scene.builder()?.name("rival").build().blocking();
        let all = all_of(self.locks);
        let (holds, pulse) = (self.holds.clone(), self.subject.pulse());
        let (sender, granted) = mpsc::channel();
        thread::spawn(move || {
            let guard = locks.acquire(all).map_err(|error| error.to_string());
            let held = holds.lock().unwrap_or_else(PoisonError::into_inner);
            let result = match guard {
                Ok(_) if !held.is_empty() && !pulse.has_ended() => {
                    Err(format!("the rival has what orders {held:?} of the subject hold"))
                }
                guard => guard,
            };
            drop(held);
            let _ = sender.send(result);
        });
        Ok(granted)
    }

    fn holds(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the runs of a script share.
struct Set<'a> {
    scene: &'a Scene,
    script: &'a Script,
    other: BlockingLocks,
    bystander: BlockingGuard,
}

/// How often points were passed in a run: before what it is about, and by its end.
struct Run {
    from: Hits,
    to: Hits,
    /// Whether its plan came true.
    is_struck: bool,
}

/// Runs a script once, undisturbed, and returns how often each point was passed in it.
pub(super) fn rehearse(scene: &Scene, script: &Script) -> Result<Hits, Failure> {
    Ok(Set::new(scene, script)?.perform(None)?.to)
}

/// Kills and stops the subject of a script at each first pass of a point and at one drawn, in a long
/// run at all that there are.
pub(super) fn survive(scene: &Scene, script: &Script) -> Verdict {
    let set = Set::new(scene, script)?;
    let mut rehearsals = Vec::new();
    for _ in 0..REHEARSALS {
        rehearsals.push(set.perform(None)?);
    }
    for (stream, point) in (0..).zip(all_points()) {
        let hits = |hits: &Hits| hits.get(point).copied().unwrap_or_default();
        let first = rehearsals.iter().map(|run| hits(&run.from)).min().unwrap_or_default() + 1;
        let passes = || rehearsals.iter().map(|run| hits(&run.to));
        // What is passed now and then only, by the timing, is tried and not insisted on.
        let (sure, last) = (passes().min().unwrap_or_default(), passes().max().unwrap_or_default());
        let mut random = scene.random(stream);
        let mut chosen: Vec<u64> = (first..=last).collect();
        let others = if scene.cases(1) > 1 { HITS_MAX } else { 1 };
        if chosen.len() > others {
            random.shuffle(&mut chosen[1..]);
            chosen.truncate(1 + others);
        }
        for hit in chosen {
            for what in ["kill", "stop"] {
                let plan = format!("{point}:{hit}:{what}");
                let tries = if hit <= sure { TRIES_MAX } else { 1 };
                let is_struck = set.strike(&plan, tries).map_err(|failure| failure.at(&plan))?;
                if !is_struck && hit <= sure {
                    let text = format!("{plan}: passed in each rehearsal, in none of {tries} runs");
                    return Err(Failure::failed(text));
                }
                scene.count("cases", is_struck.into());
            }
        }
    }
    Ok(())
}

impl<'a> Set<'a> {
    fn new(scene: &'a Scene, script: &'a Script) -> Result<Self, Failure> {
        scene.needs_processes()?;
        let other = scene.builder()?.name("other").build().blocking();
        let bystanders = scene.builder()?.name("bystander").build().blocking();
        let bystander = bystanders.acquire(BYSTANDERS)?;
        Ok(Self { scene, script, other, bystander })
    }

    /// Runs it with this plan until that comes true, but not more often than so.
    fn strike(&self, plan: &str, tries: usize) -> Result<bool, Failure> {
        for _ in 0..tries {
            if self.perform(Some(plan))?.is_struck {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn perform(&self, plan: Option<&str>) -> Result<Run, Failure> {
        let mut options = WorkerOptions::new(SUBJECT).lease(self.script.lease);
        if let Some(plan) = plan {
            options = options.failpoint(plan);
        }
        let mut stage = Stage {
            subject: self.scene.worker_with(&options)?,
            scene: self.scene,
            other: self.other.clone(),
            locks: self.script.locks,
            holds: Arc::default(),
            fence: 0,
            rival: None,
            from: Hits::new(),
            hits: Hits::new(),
        };
        let pulse = stage.subject.pulse();
        let (end, looked) = thread::scope(|scope| {
            let script = scope.spawn(|| (self.script.act)(&mut stage));
            let looked = loop {
                // In this order: what is stopped by the end of the script is seen.
                let is_over = script.is_finished();
                if pulse.is_stopped() {
                    let looked = self.look_at_stopped();
                    break Some(pulse.go_on().and(looked));
                }
                if is_over {
                    break None;
                }
                thread::sleep(Duration::from_micros(200));
            };
            let end = script.join();
            (end.unwrap_or_else(|_| Err(Failure::failed("the script panicked"))), looked)
        });
        let is_stopped = looked.is_some();
        looked.unwrap_or(Ok(()))?;
        let is_killed = plan.is_some_and(|plan| plan.ends_with("kill"))
            && (end.is_err() || pulse.has_ended())
            && stage.subject.ended().is_ok_and(|status| status.signal() == Some(SIGKILL));
        if !is_killed {
            end?;
        }
        self.scene.count("stops", is_stopped.into());
        self.scene.count("kills", is_killed.into());
        self.is_recovered(&mut stage)?;
        Ok(Run { from: stage.from, to: stage.hits, is_struck: is_stopped || is_killed })
    }

    /// What a stopped process holds stays its own.
    fn look_at_stopped(&self) -> Verdict {
        let listing = self.other.list()?;
        for hold in listing.holds.iter().filter(|hold| *hold.client.name == *SUBJECT) {
            if hold.client.state != Liveness::Alive {
                return Err(Failure::failed(format!("while it is stopped: {hold:?}")));
            }
            for name in hold.locks.keys() {
                match self.other.try_acquire(name.as_str()) {
                    Err(AcquireError::Busy(denial))
                        if denial.blockers.iter().any(|blocker| {
                            blocker.client.id == hold.client.id
                                && blocker.client.state == Liveness::Alive
                        }) => {}
                    // What it sent before it was stopped may arrive at any time.
                    _ if !self.other.list()?.holds.iter().any(|one| one.id == hold.id) => {}
                    other => {
                        let text = format!("the subject holds {name} and is stopped: {other:?}");
                        return Err(Failure::failed(text));
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything can be had, and nothing but that was touched.
    fn is_recovered(&self, stage: &mut Stage<'_>) -> Verdict {
        let rival = match stage.rival.take() {
            Some(rival) => rival,
            None => stage.rival()?,
        };
        let guard = rival.recv_timeout(LIVENESS).map_err(|_| {
            Failure::failed(format!("the locks are not freed: {:?}", self.other.list()))
        })?;
        let guard = guard.map_err(Failure::failed)?;
        if guard.fence() <= stage.fence {
            let text = format!("fence {} comes after {}", guard.fence(), stage.fence);
            return Err(Failure::failed(text));
        }
        guard.release()?;
        self.bystander.verify()?;
        let end = Instant::now() + LIVENESS;
        // What a script drops when it ends early is given back in the background.
        while let Err(failure) = self.is_clean() {
            if Instant::now() > end {
                return Err(failure);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The bystander has what it had, and nobody else is in the table.
    fn is_clean(&self) -> Verdict {
        let listing = self.other.list()?;
        let own = listing.holds.iter().find(|hold| hold.id == self.bystander.as_async().id());
        if own.is_none_or(|hold| hold.fence != self.bystander.fence()) {
            return Err(Failure::failed(format!("the bystander is not there: {listing:?}")));
        }
        let cell = self.scene.block_on(self.scene.backend()?.load())?;
        let clients = LockTable::decode(&cell)?.clients().count();
        if (clients, listing.holds.len(), listing.waiting.len()) != (1, 1, 0) {
            let text = String::from_utf8_lossy(&cell.data);
            return Err(Failure::failed(format!("something is left: {text}")));
        }
        Ok(())
    }
}

fn all_of(locks: &[&str]) -> Request {
    let mut names = locks.iter();
    let first = Request::exclusive(names.next().expect("a script locks something"));
    names.fold(first, Request::and_exclusive)
}

/// All points there are.
pub(super) fn all_points() -> impl Iterator<Item = &'static str> {
    Point::ALL.iter().map(|point| point.name())
}
