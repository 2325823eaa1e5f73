//! The side of the worker: takes orders until its input ends, or it is killed.

use std::collections::HashMap;
use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lock_core::failpoint::{self, Point};
use lock_core::process::{Process, ProcessSet};
use lock_core::{
    AcquireError, Guard, HoldError, LockBackend, LockSet, Locks, Request, Snapshot, StoreError,
    VerifyError,
};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::work::work;
use super::{
    ELSEWHERE, FIXTURE, HISTORY, LEASE_MS, NAME, Numbered, Order, PATIENCE_MS, Report, SPEC,
    parse_task,
};
use crate::cell::add_one;
use crate::fixture::Fixture;
use crate::history::{Recorder, Recording};
use crate::trial::with_causes;

/// Does the work of a worker, if this process was started as one; [`run`](crate::run) does that itself.
pub fn main(fixtures: &[Arc<dyn Fixture>]) -> Option<ExitCode> {
    let spec = env::var(SPEC).ok()?;
    let wanted = env::var(FIXTURE).unwrap_or_default();
    let fixture = fixtures.iter().find(|fixture| fixture.name() == wanted);
    if let Some(fixture) = fixture
        && let Some(code) = crate::power::perform(&**fixture, &spec)
    {
        return Some(code);
    }
    let opened = match fixture {
        Some(fixture) => {
            let opened = fixture.open(&spec).map_err(|error| refusal("Store", &error));
            opened.map(|backend| (backend, fixture.clone()))
        }
        None => Err(Report::Refused { kind: "Other".into(), text: format!("no fixture {wanted}") }),
    };
    let (backend, fixture) = match opened {
        Ok(opened) => opened,
        Err(report) => {
            tell(0, report);
            return Some(ExitCode::FAILURE);
        }
    };
    let recorder = env::var_os(HISTORY).map(|file| Recorder::open(file.as_ref()));
    let recorder = recorder.transpose().expect("a history can be written");
    let builder = match &recorder {
        Some(recorder) => Locks::builder(Recording::new(backend, recorder.clone())),
        None => Locks::builder(backend),
    };
    let mut builder = builder.name(env::var(NAME).unwrap_or_default());
    let time = |name| env::var(name).ok()?.parse().ok().map(Duration::from_millis);
    if let Some(lease) = time(LEASE_MS) {
        builder = builder.lease(lease);
    }
    if let Some(patience) = time(PATIENCE_MS) {
        builder = builder.store_patience(patience);
    }
    if env::var_os(ELSEWHERE).is_some() {
        let mut processes = ProcessSet::current();
        // One that no observer is in: the least inode of a namespace is far greater.
        processes.place.pid_ns = Some(1);
        builder = builder.processes(processes);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what a runtime needs").block_on(async {
        let state = Arc::new(State {
            locks: builder.build(),
            fixture,
            spec,
            recorder,
            requests: Mutex::default(),
            rests: AtomicBool::new(false),
        });
        tell(0, Report::Count(std::process::id().into()));
        // A thread of its own, since a read of the standard input cannot be given up.
        let (sender, mut orders) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let order = serde_json::from_str(&line).expect("orders are plain data");
                if sender.send(order).is_err() {
                    break;
                }
            }
        });
        while let Some(Numbered(number, order)) = orders.recv().await {
            let job = state.clone().obey(number, order);
            let job = tokio::spawn(async move { tell(number, job.await) });
            state.requests().entry(number).or_default().job = Some(job.abort_handle());
        }
    });
    Some(ExitCode::SUCCESS)
}

struct State {
    locks: Locks,
    fixture: Arc<dyn Fixture>,
    spec: String,
    recorder: Option<Recorder>,
    requests: Mutex<HashMap<u64, Asked>>,
    rests: AtomicBool,
}

/// What became of an order to acquire.
#[derive(Debug, Default)]
struct Asked {
    job: Option<AbortHandle>,
    guard: Option<Arc<Guard>>,
}

impl State {
    fn requests(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Asked>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guard(&self, key: u64) -> Result<Arc<Guard>, Report> {
        let none = || Report::Refused { kind: "Other".into(), text: format!("no hold {key}") };
        self.requests().get(&key).and_then(|asked| asked.guard.clone()).ok_or_else(none)
    }

    fn backend(&self) -> Result<Arc<dyn LockBackend>, Report> {
        self.fixture.open(&self.spec).map_err(|error| refusal("Store", &error))
    }

    async fn obey(self: Arc<Self>, number: u64, order: Order) -> Report {
        self.try_to(number, order).await.unwrap_or_else(|refused| refused)
    }

    async fn try_to(&self, number: u64, order: Order) -> Result<Report, Report> {
        match order {
            Order::Acquire { task, under, locks, wait } => {
                let mut task = self.locks.task(task);
                if let Some(under) = under {
                    task = task.under(&parse_task(&under));
                }
                let request = request(&locks);
                let granted = match wait {
                    None => task.acquire(request).await,
                    Some(Duration::ZERO) => task.try_acquire(request).await,
                    Some(time) => task.acquire_timeout(request, time).await,
                };
                let guard = granted.map_err(|error| refusal(kind(&error), &error))?;
                let report =
                    Report::Granted { fence: guard.fence(), task: guard.task_id().to_string() };
                self.requests().entry(number).or_default().guard = Some(Arc::new(guard));
                return Ok(report);
            }
            Order::Drop(key) => {
                let asked = self.requests().remove(&key).unwrap_or_default();
                if let Some(job) = asked.job {
                    job.abort();
                }
            }
            Order::Release(key) => {
                let guard = self.guard(key)?;
                self.requests().remove(&key);
                let guard = Arc::into_inner(guard).ok_or_else(|| Report::Refused {
                    kind: "Other".into(),
                    text: "in use".into(),
                })?;
                guard.release().await.map_err(|error: StoreError| refusal("Store", &error))?;
            }
            Order::Downgrade(key) => {
                self.guard(key)?.downgrade().await.map_err(|error| refused(&error))?;
            }
            Order::Check(key) => {
                self.guard(key)?.check().map_err(|error| refused(&error.into()))?;
            }
            Order::Doubt(key) => {
                let guard = self.guard(key)?;
                let asked = tokio::task::spawn_blocking(move || certain_after_doubt(&guard));
                return Ok(Report::Count(asked.await.expect("it only asks")));
            }
            Order::Verify(key) => {
                self.guard(key)?.verify().await.map_err(|error| refused(&error))?;
            }
            Order::Lost(key) => self.guard(key)?.lost().await,
            Order::ReleaseTask(name) => {
                let tasks = self.locks.release_task(name).await;
                let tasks = tasks.map_err(|error| refusal("Store", &error))?;
                return Ok(Report::Count(tasks as u64));
            }
            Order::Block(time) => std::thread::sleep(time),
            Order::Processes(others) => {
                let mut processes = ProcessSet::current();
                processes.processes.extend(others.into_iter().filter_map(Process::find));
                let set = self.locks.set_processes(processes).await;
                set.map_err(|error| refusal("Store", &error))?;
            }
            Order::Work { seed, locks, directory } => {
                return work(&self.locks, seed, &locks, &directory, &self.rests)
                    .await
                    .map(Report::Count)
                    .map_err(|text| Report::Refused { kind: "Other".into(), text });
            }
            Order::Rest => self.rests.store(true, Ordering::Relaxed),
            Order::Exit => std::process::exit(0),
            Order::Load => {
                let Snapshot { version, data } =
                    self.backend()?.load().await.map_err(|error| refusal("Store", &error))?;
                return Ok(Report::Cell { version: version.0, data });
            }
            Order::Count(times) => {
                let backend = self.backend()?;
                for _ in 0..times {
                    add_one(&*backend).await.map_err(|error| refusal("Store", &error))?;
                }
            }
            Order::Hits => {
                let hits = |point: &Point| (point.name().into(), failpoint::hits(*point));
                return Ok(Report::Counts(Point::ALL.iter().map(hits).collect()));
            }
            Order::Play(play) => {
                let recorder = self.recorder.as_ref().ok_or_else(|| other("it has no history"))?;
                play.run(&self.locks, recorder).await.map_err(other)?;
            }
            Order::Update(update) => update.run(&self.locks).await.map_err(other)?,
            Order::Close => {
                self.locks.close().await.map_err(|error| refusal("Store", &error))?;
            }
        }
        Ok(Report::Done)
    }
}

fn certain_after_doubt(guard: &Guard) -> u64 {
    let (mut was_in_doubt, mut times) = (false, 0);
    loop {
        match guard.check() {
            Ok(()) => times += u64::from(was_in_doubt),
            Err(HoldError::Lost) => return times,
            Err(_) => was_in_doubt = true,
        }
    }
}

fn other(text: impl Into<String>) -> Report {
    Report::Refused { kind: "Other".into(), text: text.into() }
}

fn request(locks: &[(String, u32)]) -> Request {
    locks.iter().fold(Request::from(LockSet::new()), |request, (name, holders)| match holders {
        0 => request.and_shared(name),
        &holders => request.and_limit(name, holders),
    })
}

fn kind(error: &AcquireError) -> &'static str {
    match error {
        AcquireError::Busy(_) => "Busy",
        AcquireError::TimedOut(_) => "TimedOut",
        AcquireError::Deadlock(_) => "Deadlock",
        AcquireError::Released => "Released",
        AcquireError::Store(_) => "Store",
        AcquireError::Closed => "Closed",
        _ => "Other",
    }
}

fn refused(error: &VerifyError) -> Report {
    let kind = match error {
        VerifyError::Hold(HoldError::Lost) => "Lost",
        VerifyError::Hold(HoldError::InDoubt) => "InDoubt",
        VerifyError::Store(_) => "Store",
        _ => "Other",
    };
    refusal(kind, error)
}

fn refusal(kind: &str, error: &dyn std::error::Error) -> Report {
    Report::Refused { kind: kind.into(), text: with_causes(error) }
}

/// One write for each report: nothing is left in a buffer when the process is killed.
pub(crate) fn tell(number: u64, report: Report) {
    let line = serde_json::to_string(&Numbered(number, report)).expect("reports are plain data");
    let mut out = std::io::stdout().lock();
    let _ = out.write_all((line + "\n").as_bytes()).and_then(|()| out.flush());
}
