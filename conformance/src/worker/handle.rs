//! The side of the trial: starts workers, orders, waits for reports, kills.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lock_core::failpoint::FAILPOINT;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::{
    ELSEWHERE, FIXTURE, HISTORY, LEASE_MS, NAME, Numbered, Order, PATIENCE_MS, Report, SPEC,
};
use crate::scene::LIVENESS;
use crate::trial::Failure;

/// How a worker is started.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    pub(crate) name: String,
    pub(crate) spec: Option<String>,
    lease: Duration,
    patience: Option<Duration>,
    failpoint: Option<String>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    elsewhere: bool,
    history: Option<PathBuf>,
}

/// So long that no lease ends while a trial runs: only the proof of a death can free anything.
const LEASE: Duration = Duration::from_secs(3600);

impl WorkerOptions {
    /// A worker whose client has this name, and a lease of an hour.
    ///
    /// So it is not by their leases that its locks are freed when it is killed.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            spec: None,
            lease: LEASE,
            patience: None,
            failpoint: None,
            wrapper: Vec::new(),
            environment: Vec::new(),
            elsewhere: false,
            history: None,
        }
    }

    /// Reaches the store by another spec, such as that of a proxy.
    #[must_use]
    pub fn spec(mut self, spec: impl Into<String>) -> Self {
        self.spec = Some(spec.into());
        self
    }

    /// Takes a lease of this length.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Waits so long for a store that does not answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Kills or stops itself at a failpoint: `swap-sent:2:kill`.
    #[must_use]
    pub fn failpoint(mut self, plan: impl Into<String>) -> Self {
        self.failpoint = Some(plan.into());
        self
    }

    /// Is started by this command, such as `["unshare", "--pid", "--fork"]`.
    #[must_use]
    pub fn wrapped_in<S: Into<String>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.wrapper.extend(command.into_iter().map(Into::into));
        self
    }

    /// Says that its processes are in another place: nobody can probe it, so that its lease decides.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Writes down the history of its client in this file, for [`Order::Play`].
    #[must_use]
    pub fn history(mut self, file: impl Into<PathBuf>) -> Self {
        self.history = Some(file.into());
        self
    }

    /// Has this in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// A hold of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The number of the order that acquired it.
    pub key: u64,
    /// Its fence.
    pub fence: u64,
    /// The id of its task.
    pub task: String,
}

/// A client of the store in a process of its own. Killed when dropped.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    reports: Receiver<Numbered<Report>>,
    early: HashMap<u64, Report>,
    last: u64,
    pid: u32,
}

impl Worker {
    pub(crate) fn start(
        fixture: &str,
        spec: &str,
        options: &WorkerOptions,
    ) -> Result<Self, Failure> {
        let binary = env::current_exe()?;
        let mut command = match options.wrapper.split_first() {
            None => Command::new(binary),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(binary);
                command
            }
        };
        command
            .env(FIXTURE, fixture)
            .env(SPEC, spec)
            .env(NAME, &options.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.env(LEASE_MS, options.lease.as_millis().to_string());
        if let Some(patience) = options.patience {
            command.env(PATIENCE_MS, patience.as_millis().to_string());
        }
        if let Some(plan) = &options.failpoint {
            command.env(FAILPOINT, plan);
        }
        if options.elsewhere {
            command.env(ELSEWHERE, "");
        }
        if let Some(file) = &options.history {
            command.env(HISTORY, file);
        }
        command.envs(options.environment.iter().cloned());
        let mut child = command.spawn()?;
        let orders = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, reports) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Ok(report) = serde_json::from_str(&line) else { continue };
                if sender.send(report).is_err() {
                    break;
                }
            }
        });
        let mut worker =
            Self { pid: child.id(), child, orders, reports, early: HashMap::new(), last: 0 };
        // Its first report is its own pid, which differs from the child's under a wrapper.
        match worker.report(0)? {
            Report::Count(pid) => worker.pid = u32::try_from(pid).unwrap_or_default(),
            other => return Err(Failure::failed(format!("the worker cannot start: {other:?}"))),
        }
        Ok(worker)
    }

    /// The pid of the worker, as it sees it itself.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends an order, and returns the number of its report.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone.
    pub fn order(&mut self, order: Order) -> Result<u64, Failure> {
        self.order_all([order])?;
        Ok(self.last)
    }

    /// Sends orders that the worker begins all at once.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone.
    pub fn order_all(&mut self, orders: impl IntoIterator<Item = Order>) -> Result<(), Failure> {
        let mut lines = String::new();
        for order in orders {
            self.last += 1;
            lines += &serde_json::to_string(&Numbered(self.last, order))?;
            lines += "\n";
        }
        let Some(input) = &mut self.orders else { return Err(Failure::failed("it was closed")) };
        Ok(input.write_all(lines.as_bytes())?)
    }

    /// Waits for the report on an order.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone, or silent for longer than anything may take.
    pub fn report(&mut self, number: u64) -> Result<Report, Failure> {
        let none = || Failure::failed(format!("no report on order {number}"));
        self.report_within(number, LIVENESS)?.ok_or_else(none)
    }

    /// Waits for the report on an order for so long.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone.
    pub fn report_within(
        &mut self,
        number: u64,
        time: Duration,
    ) -> Result<Option<Report>, Failure> {
        let end = Instant::now() + time;
        loop {
            if let Some(report) = self.early.remove(&number) {
                return Ok(Some(report));
            }
            match self.reports.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Numbered(of, report)) => drop(self.early.insert(of, report)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return Err(Failure::failed(format!("the worker has ended: {status}")));
                }
            }
        }
    }

    /// Orders, and waits for the report.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone or silent.
    pub fn call(&mut self, order: Order) -> Result<Report, Failure> {
        let number = self.order(order)?;
        self.report(number)
    }

    /// Asks for an exclusive lock, as a task of its own, and returns the number of the request.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the worker is gone.
    pub fn ask(&mut self, lock: &str, wait: Option<Duration>) -> Result<u64, Failure> {
        self.order(Order::acquire(&format!("task {lock}"), lock, wait))
    }

    /// Waits for an exclusive lock.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it is not granted.
    pub fn acquire(&mut self, lock: &str) -> Result<Held, Failure> {
        let key = self.ask(lock, None)?;
        self.granted(key)
    }

    /// Waits until a request is granted.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it is not.
    pub fn granted(&mut self, key: u64) -> Result<Held, Failure> {
        match self.report(key)? {
            Report::Granted { fence, task } => Ok(Held { key, fence, task }),
            other => Err(Failure::failed(format!("request {key} is not granted: {other:?}"))),
        }
    }

    /// Tells whether it runs, also while others have it in their hands.
    ///
    /// Under a wrapper: whether the wrapper does.
    pub fn pulse(&self) -> Pulse {
        Pulse(self.child.id())
    }

    /// Sends the worker a signal.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.expect("a child has a pid"), signal)?)
    }

    /// Sends the worker a signal, and not the wrapper that it was started in.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be found or reached.
    pub fn signal_inner(&self, signal: Signal) -> Result<(), Failure> {
        if self.child.id() == self.pid {
            return self.signal(signal);
        }
        let wrapper = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children"))?;
        let pid = children.trim().parse().ok().and_then(Pid::from_raw);
        let none = || Failure::failed(format!("the wrapper has not one child, but: {children}"));
        Ok(kill_process(pid.ok_or_else(none)?, signal)?)
    }

    /// Kills it with `SIGKILL`, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be killed.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself, or by its failpoint.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it goes on for longer than anything may take.
    pub fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let end = Instant::now() + LIVENESS;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                return Err(Failure::failed("the worker does not end"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Gives back everything, and waits for its end.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it does not end well.
    pub fn close(mut self) -> Result<(), Failure> {
        match self.call(Order::Close)? {
            Report::Done => {}
            other => return Err(Failure::failed(format!("the worker cannot close: {other:?}"))),
        }
        self.orders = None;
        self.ended()?;
        Ok(())
    }
}

/// Tells whether the process of a worker runs.
#[derive(Debug, Clone, Copy)]
pub struct Pulse(u32);

impl Pulse {
    /// Whether it has ended.
    pub fn has_ended(self) -> bool {
        // No such child: it was waited for.
        self.is_in(WaitIdOptions::EXITED).unwrap_or(true)
    }

    /// Whether it is stopped.
    pub fn is_stopped(self) -> bool {
        self.is_in(WaitIdOptions::STOPPED).unwrap_or(false)
    }

    fn is_in(self, state: WaitIdOptions) -> rustix::io::Result<bool> {
        let options = state | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.id()), options)?.is_some())
    }

    /// Lets it go on after it was stopped.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it is gone.
    pub fn go_on(self) -> Result<(), Failure> {
        Ok(kill_process(self.id(), Signal::CONT)?)
    }

    fn id(self) -> Pid {
        i32::try_from(self.0).ok().and_then(Pid::from_raw).expect("a child has a pid")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
