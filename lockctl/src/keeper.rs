//! The keeper: a thread that asks for the locks of a run, watches over them, and gives them back.
//!
//! It tells what happens as [`Event`]s, so that the main thread can wait for signals, children and locks alike.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use lock_core::{
    AcquireError, Guard, LockBackend, Locks, Request, StoreError, Task, TaskId,
    process::ProcessSet, table::Blocker,
};
use tokio::{sync::oneshot, time};

use crate::{
    history::{Account, Journal},
    kin::Kin,
    store::Lease,
    supervise::Event,
};

/// How often the reason for waiting is looked up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the parent of who waits for a shorter time is looked for, at the least.
const LOOK_FOR_PARENT: Duration = Duration::from_secs(5);
/// How long a store is asked about a lease that runs out, before the run is ended for it.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const LAST_WORD_INTERVAL: Duration = Duration::from_millis(100);
/// How long a store that does not answer is asked to take back a request, when the run came to nothing.
///
/// What it did not hear of stays in the queue only until somebody sees that this process is gone.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// So long.
    For(Duration),
    /// As long as it takes.
    Endless,
}

/// What is to be held, for whom.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) backend: Arc<dyn LockBackend>,
    pub(crate) task: String,
    pub(crate) note: Option<String>,
    /// Whom the task is nested in.
    pub(crate) kin: Kin,
    /// What the client is called in the table.
    pub(crate) client: String,
    pub(crate) processes: ProcessSet,
    /// The processes that count from the grant on, where those are others.
    pub(crate) heirs: Option<ProcessSet>,
    pub(crate) lease: Lease,
    pub(crate) request: Request,
    pub(crate) patience: Patience,
    /// The time between TERM and KILL, which has to fit into what is left of the lease.
    pub(crate) kill_grace: Duration,
    /// Where it is told.
    pub(crate) journal: Journal,
}

/// The thread that keeps the locks.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: oneshot::Sender<Option<u8>>,
    done: Receiver<Result<(), StoreError>>,
}

impl Keeper {
    /// Starts to ask for the locks. What comes of it, and what becomes of them, is sent to `events`.
    pub(crate) fn start(plan: Plan, events: Sender<Event>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (report, done) = mpsc::channel();
        thread::Builder::new().name("keeper".into()).spawn(move || {
            let _fall = Fall(events.clone());
            let _ = report.send(runtime.block_on(keep(plan, &events, stopped)));
        })?;
        Ok(Self { stop, done })
    }

    /// Gives back the locks, and waits until that is written; the status is that of what ran under them.
    pub(crate) fn finish(self, status: Option<u8>) -> Result<(), StoreError> {
        let _ = self.stop.send(status);
        self.done.recv().unwrap_or(Ok(()))
    }

    /// Takes back a request that came to nothing; a store that does not answer is not waited for long.
    pub(crate) fn withdraw(self) {
        let _ = self.stop.send(None);
        // Nothing is held: the worst is a request that is seen until somebody sees us dead.
        let _ = self.done.recv_timeout(WITHDRAWAL_PATIENCE);
    }
}

/// Tells of an end of the keeper that nobody asked for, as when the system has no thread to give to the driver:
/// else a run would wait for ever, or go on under locks that nobody watches.
struct Fall(Sender<Event>);

impl Drop for Fall {
    fn drop(&mut self) {
        if thread::panicking() {
            let why = "the thread that keeps the locks has failed";
            let _ = self.0.send(Event::EndRun(why.into()));
        }
    }
}

async fn keep(
    plan: Plan,
    events: &Sender<Event>,
    stopped: oneshot::Receiver<Option<u8>>,
) -> Result<(), StoreError> {
    let Plan { backend, task, note, kin, client, processes, heirs, .. } = plan;
    let Plan { lease, request, patience, kill_grace, journal, .. } = plan;
    let mut account = Account::new(journal, &processes);
    let builder = Locks::builder(backend).name(client).processes(processes);
    let locks = match lease {
        Lease::For(length) => builder.lease(length).build(),
        Lease::None => builder.no_lease().build(),
    };
    let mut task = locks.task(task);
    if let Some(note) = &note {
        task = task.with_note(note);
    }
    let hold = async {
        let asking = Asking { request, note: note.as_deref(), patience };
        let granted = acquire(&locks, task, &kin, asking, &mut account, events).await;
        match hand_over(&locks, granted, heirs.clone()).await {
            Ok(guard) => {
                account.granted(&guard, heirs.as_ref());
                let guard = Arc::new(guard);
                let _ = events.send(Event::Granted(guard.clone()));
                let why = watch_over(&guard, kill_grace).await;
                account.lost();
                let _ = events.send(Event::EndRun(why));
                // Even now it is not given back before the run has ended.
                std::future::pending().await
            }
            Err(error) => {
                account.refused(&error);
                let _ = events.send(Event::Refused(error));
                std::future::pending().await
            }
        }
    };
    let status = tokio::select! {
        biased;
        stopped = stopped => stopped.unwrap_or_default(),
        never = hold => never,
    };
    account.over(status);
    locks.close().await
}

/// What is asked for.
struct Asking<'a> {
    request: Request,
    note: Option<&'a str>,
    patience: Patience,
}

/// Lets other processes be those that hold the locks, if there are any.
async fn hand_over(
    locks: &Locks,
    granted: Result<Guard, AcquireError>,
    heirs: Option<ProcessSet>,
) -> Result<Guard, AcquireError> {
    let guard = granted?;
    if let Some(heirs) = heirs {
        locks.set_processes(heirs).await?;
    }
    Ok(guard)
}

/// Asks for the locks, and tells meanwhile what is in the way.
async fn acquire(
    locks: &Locks,
    mut task: Task,
    kin: &Kin,
    asking: Asking<'_>,
    account: &mut Account,
    events: &Sender<Event>,
) -> Result<Guard, AcquireError> {
    let Asking { request, note, patience } = asking;
    let began = time::Instant::now();
    // To look for the parent asks the store too, so it counts as waiting; but whoever wants to wait for nobody has to
    // be told apart from its parent all the same.
    let parent = match patience {
        Patience::For(limit) => {
            let look = async {
                loop {
                    match kin.parent(locks).await {
                        // Whoever waits longer than the client does for a store that is away waits on.
                        Err(away) if away.is_unreachable() => {
                            let _ = events.send(Event::Blocked(Err(away)));
                            time::sleep(LOOK_INTERVAL).await;
                        }
                        parent => return parent,
                    }
                }
            };
            let parent = time::timeout(limit.max(LOOK_FOR_PARENT), look);
            parent.await.unwrap_or_else(|_| Ok(kin.told()))
        }
        Patience::None | Patience::Endless => kin.parent(locks).await,
    };
    if let Some(parent) = parent? {
        task = task.under(&parent);
    }
    let id = task.id().cloned();
    if let (Ok(id), Ok(locks)) = (&id, request.locks()) {
        account.asked(id, task.name(), note, locks, patience != Patience::None);
    }
    let asked = async {
        match patience {
            Patience::None => task.try_acquire(request).await,
            Patience::For(limit) => {
                task.acquire_timeout(request, limit.saturating_sub(began.elapsed())).await
            }
            Patience::Endless => task.acquire(request).await,
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        never = tell_blockers(locks, id.as_ref().ok(), account, events) => match never {},
    }
}

/// Tells again and again whom the task waits for; never returns.
async fn tell_blockers(
    locks: &Locks,
    id: Option<&TaskId>,
    account: &mut Account,
    events: &Sender<Event>,
) -> Infallible {
    loop {
        time::sleep(LOOK_INTERVAL).await;
        let denial = match id {
            Some(id) => locks.waits_for(id).await,
            None => Ok(None),
        };
        let blocked = denial.map(|denial| denial.map(|it| it.blockers).unwrap_or_default());
        if let Ok(blockers) = &blocked {
            account.waits(blockers);
        }
        let _ = events.send(Event::Blocked(blocked));
    }
}

/// Resolves with the reason when the run has to end: its locks are lost, or cannot be renewed in time.
async fn watch_over(guard: &Guard, kill_grace: Duration) -> String {
    let mut asked_since = None;
    loop {
        let spare =
            guard.remaining().map(|remaining| remaining.saturating_sub(kill_grace + LAST_WORD));
        let pause = match spare {
            // Nothing is renewed, so nothing runs out.
            None => Duration::MAX,
            Some(Duration::ZERO) => LAST_WORD_INTERVAL,
            Some(spare) => spare,
        };
        if spare == Some(Duration::ZERO) {
            // After a pause it may only look so: the store has the last word.
            let since = *asked_since.get_or_insert_with(time::Instant::now);
            if since.elapsed() >= LAST_WORD {
                return "its locks cannot be renewed in time".into();
            }
            tokio::select! {
                () = guard.lost() => return "its locks are lost".into(),
                _ = time::timeout(LAST_WORD, guard.verify()) => {}
            }
        } else {
            asked_since = None;
        }
        tokio::select! {
            () = guard.lost() => return "its locks are lost".into(),
            () = time::sleep(pause) => {}
        }
    }
}

/// The task that this process runs under.
pub(crate) async fn parent(locks: &Locks) -> Result<Option<TaskId>, StoreError> {
    Kin::of_this_process().parent(locks).await
}

/// Why locks were not granted, or the store could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// The locks were not granted.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The store could not be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not even be opened.
    #[error(transparent)]
    Open(#[from] lock_core::BackendError),
}

/// Whom a request waits for, as it was just seen.
pub(crate) type Blocked = Result<Vec<Blocker>, StoreError>;
