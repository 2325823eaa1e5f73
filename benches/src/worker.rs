//! Processes that do what they are told, seen by who started them.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use lock_bench_worker::{FAILED, Failure, THREADS, now};

use crate::approaches;

/// Set in the environment of workers of this program, to the approach that they are.
pub(crate) const VARIABLE: &str = "LOCK_BENCH_WORKER";

/// Nothing here takes as long; it is only that nobody waits for ever.
const PATIENCE: Duration = Duration::from_mins(1);

/// How workers of some kind are started.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The program of the peers; none: this one.
    pub(crate) program: Option<PathBuf>,
    pub(crate) approach: String,
    pub(crate) at: String,
}

/// A worker; it ends with this value.
#[derive(Debug)]
pub(crate) struct Worker {
    process: Child,
    orders: ChildStdin,
    words: Receiver<String>,
}

impl Recipe {
    /// A worker of this program.
    pub(crate) fn new(approach: &str, at: impl Into<String>) -> Self {
        Self { program: None, approach: approach.into(), at: at.into() }
    }

    /// This product at a URL.
    pub(crate) fn product(url: impl Into<String>, bell: bool) -> Self {
        Self::new(if bell { "interlock" } else { "interlock-without-bell" }, url)
    }

    pub(crate) fn start(&self) -> Result<Worker, Failure> {
        self.start_with(1)
    }

    /// Starts one whose runtime has that many threads.
    pub(crate) fn start_with(&self, threads: usize) -> Result<Worker, Failure> {
        let program = self.program.clone().map_or_else(env::current_exe, Ok)?;
        let mut command = Command::new(program);
        command.env(VARIABLE, &self.approach).env(THREADS, threads.to_string()).arg(&self.at);
        let mut worker = Worker::start(&mut command)?;
        worker.hear()?;
        Ok(worker)
    }

    pub(crate) fn start_many(&self, count: usize) -> Result<Vec<Worker>, Failure> {
        (0..count).map(|_| self.start()).collect()
    }
}

impl Worker {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, words) = channel();
        // A pipe has no time limit.
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok(Self { process, orders, words })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn tell(&mut self, order: &str) -> Result<(), Failure> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    /// The next line that it says.
    pub(crate) fn hear(&mut self) -> Result<String, Failure> {
        self.hear_within(PATIENCE)?.ok_or_else(|| "a worker has said nothing for a minute".into())
    }

    /// The next line, if it comes within that time.
    pub(crate) fn hear_within(&mut self, time: Duration) -> Result<Option<String>, Failure> {
        match self.words.recv_timeout(time) {
            Ok(line) => match line.strip_prefix(FAILED) {
                Some(why) => Err(why.into()),
                None => Ok(Some(line)),
            },
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("a worker has ended".into()),
        }
    }

    /// The next line, as a time on the clock that all processes of this host share.
    pub(crate) fn hear_time(&mut self) -> Result<Duration, Failure> {
        time(&self.hear()?)
    }

    /// The next line as such a time, if it comes within that time.
    pub(crate) fn hear_time_within(
        &mut self,
        within: Duration,
    ) -> Result<Option<Duration>, Failure> {
        self.hear_within(within)?.map(|line| time(&line)).transpose()
    }

    /// Says and hears that nothing is held any more; when it was asked to.
    pub(crate) fn release(&mut self) -> Result<Duration, Failure> {
        self.tell("release")?;
        let asked = self.hear_time()?;
        self.hear()?;
        Ok(asked)
    }

    pub(crate) fn acquire(&mut self, name: &str) -> Result<Duration, Failure> {
        self.tell(&format!("acquire {name}"))?;
        self.hear_time()
    }

    /// The next line, as durations.
    pub(crate) fn hear_samples(&mut self) -> Result<Vec<Duration>, Failure> {
        self.hear()?.split_whitespace().map(time).collect()
    }

    /// Ends it by `SIGKILL`, and says when.
    pub(crate) fn kill(mut self) -> Result<Duration, Failure> {
        let killed = now();
        self.process.kill()?;
        Ok(killed)
    }
}

fn time(text: &str) -> Result<Duration, Failure> {
    Ok(Duration::from_nanos(text.parse()?))
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The lock server on this socket.
pub(crate) fn start_lock_server(path: &Path) -> Result<Worker, Failure> {
    let mut command = Command::new(env::current_exe()?);
    let mut server = Worker::start(command.env(VARIABLE, "lock-server").arg(path))?;
    server.hear()?;
    Ok(server)
}

/// Is a worker until nobody tells it anything.
pub(crate) fn run(approach: &str) -> Result<(), Failure> {
    let at = env::args().nth(1).ok_or("a worker is told where")?;
    if approach == "lock-server" {
        return approaches::socket::serve(Path::new(&at));
    }
    lock_bench_worker::serve(async || approaches::open(approach, &at).await)
}
