//! The supervisor: starts the tasks, kills some, frees what they held, starts them again, and reports.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait},
};
use tempfile::TempDir;

use crate::{
    Options,
    check::{self, TaskRecord},
    plan::{Job, Work, plan},
    record,
    tree::{Only, Tree},
    worker,
};

/// The user under whom some app tasks run, where sudo lets us.
const OTHER_USER: &str = "nobody";
/// About how long it is between two kills.
const KILL_INTERVAL: Duration = Duration::from_millis(1700);
/// How long the tasks may take that were started, until something is wrong.
const PATIENCE: Duration = Duration::from_mins(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Runs it all; false if a rule was broken.
pub(crate) fn run(options: &Options) -> io::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let jobs = plan(options.duration(), &mut random);
    let place = Place::new(options)?;
    println!("seed {seed}, {} tasks, store {}", jobs.len(), place.store_shown());
    // The orphans of whoever is killed are seen to end, too.
    set_child_subreaper(Some(getpid()))?;
    let mut platform = Platform {
        options,
        place,
        random,
        running: BTreeMap::new(),
        records: BTreeMap::new(),
        counts: Counts::default(),
        next_kill: KILL_INTERVAL,
        begin: Instant::now(),
    };
    platform.do_all(jobs)?;
    platform.report()
}

/// A directory of its own, and who may use it.
struct Place {
    dir: TempDir,
    store: Option<OsString>,
    lockctl: PathBuf,
    worker: PathBuf,
    has_other_user: bool,
}

impl Place {
    fn new(options: &Options) -> io::Result<Self> {
        let worker = env::current_exe()?;
        let beside = worker.with_file_name("lockctl");
        let lockctl = match &options.lockctl {
            Some(chosen) => fs::canonicalize(chosen)?,
            None if beside.exists() => beside,
            None => "lockctl".into(),
        };
        let dir = tempfile::Builder::new().prefix("platform-").tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let store = options.store.clone().map(OsString::from);
        let mut place = Self { dir, store, lockctl, worker, has_other_user: false };
        place.make_file("history.jsonl")?;
        let may_sudo = rustix::process::geteuid().is_root();
        if place.store.is_none() {
            let mut path = OsString::from("sqlite:");
            path.push(place.path("store/locks.db"));
            place.store = Some(path);
        }
        let store = place.store.as_ref().map(|store| store.to_string_lossy()).unwrap_or_default();
        if store.starts_with("sqlite:") || store.starts_with("file:") {
            // The other user is to use it, too. One that is there is left as it is.
            let group = may_sudo.then(|| group_of(OTHER_USER)).flatten();
            let group = group.map(|group| format!("--group={group}"));
            place.succeed(place.lockctl().arg("init").args(group))?;
        }
        place.succeed(place.lockctl().arg("list"))?;
        let of_other = place.command(true, place.lockctl.as_os_str()).arg("list").output();
        let works = |output: io::Result<std::process::Output>| {
            output.is_ok_and(|output| output.status.success())
        };
        let of_worker = place.command(true, place.worker.as_os_str()).arg("--help").output();
        place.has_other_user = may_sudo && works(of_other) && works(of_worker);
        if !place.has_other_user {
            println!(
                "no task runs under another user: that needs root, sudo, and a store that {OTHER_USER} can use"
            );
        }
        Ok(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that workers of all users append to.
    fn make_file(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        File::create_new(&path)?.set_permissions(Permissions::from_mode(0o666))?;
        Ok(path)
    }

    fn lockctl(&self) -> Command {
        self.command(false, self.lockctl.as_os_str())
    }

    /// A program that finds store and journal, under another user if that is wanted.
    fn command(&self, as_other: bool, program: &std::ffi::OsStr) -> Command {
        let mut command = if as_other {
            let mut sudo = Command::new("sudo");
            let kept = "--preserve-env=LOCKCTL_STORE,LOCKCTL_JOURNAL";
            sudo.args(["-n", "-u", OTHER_USER, kept, "--"]).arg(program);
            sudo
        } else {
            Command::new(program)
        };
        command.stdin(Stdio::null()).env("LOCKCTL_JOURNAL", self.path("history.jsonl"));
        if let Some(store) = &self.store {
            command.env("LOCKCTL_STORE", store);
        }
        command
    }

    fn succeed(&self, command: &mut Command) -> io::Result<()> {
        let failed = |why: String| io::Error::other(format!("{}: {why}", self.lockctl.display()));
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
    }

    /// The store without what may be a password.
    fn store_shown(&self) -> String {
        let store = self.store.as_ref().map(|store| store.to_string_lossy()).unwrap_or_default();
        match (store.split_once("://"), store.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => {
                let host = host.split(['?', '#']).next().unwrap_or_default();
                format!("{scheme}://…@{host}")
            }
            _ => store.split('?').next().unwrap_or_default().to_owned(),
        }
    }
}

/// The name of a user's first group.
fn group_of(user: &str) -> Option<String> {
    let output = Command::new("id").args(["-gn", user]).output().ok()?;
    let name = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| name.trim().to_owned())
}

/// A task that was started and has not ended.
struct Running {
    job: Job,
    /// That of its record.
    name: String,
    is_killed: bool,
}

#[derive(Debug, Default)]
struct Counts {
    started: usize,
    under_other_user: usize,
    killed: usize,
    freed: usize,
    restarted: usize,
    gave_up: usize,
    failed: Vec<String>,
}

struct Platform<'a> {
    options: &'a Options,
    place: Place,
    random: fastrand::Rng,
    running: BTreeMap<i32, Running>,
    /// When which task was killed; each has a log file of its own.
    records: BTreeMap<String, Vec<Duration>>,
    counts: Counts,
    next_kill: Duration,
    begin: Instant,
}

impl Platform<'_> {
    fn do_all(&mut self, jobs: Vec<Job>) -> io::Result<()> {
        let mut jobs = jobs.into_iter().peekable();
        let limit = self.options.duration() + PATIENCE;
        loop {
            while let Some(job) = jobs.next_if(|job| job.at <= self.begin.elapsed()) {
                self.start(job)?;
            }
            let has_children = self.reap()?;
            if !has_children && jobs.peek().is_none() {
                return Ok(());
            }
            if !self.options.no_kills && jobs.peek().is_some() {
                self.kill_some()?;
            }
            if self.begin.elapsed() > limit {
                let names: Vec<&str> =
                    self.running.values().map(|run| run.job.name.as_str()).collect();
                return Err(io::Error::other(format!("they do not end: {}", names.join(", "))));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    fn start(&mut self, job: Job) -> io::Result<()> {
        // One that is started again has the same name, and a record of its own.
        let name = format!("{}.{}", job.name, self.counts.started + 1);
        let log = self.place.make_file(&format!("{name}.log"))?;
        let is_app = matches!(job.work, Work::App(_));
        let as_other = is_app && self.place.has_other_user && self.counts.started.is_multiple_of(3);
        let lock = match job.work {
            _ if self.options.one_lock => "platform".to_owned(),
            Work::App(app) => format!("app/{app}"),
            work => format!("task/{}", work.kind()),
        };
        let program = if is_app && self.options.without_locks {
            &self.place.worker
        } else {
            &self.place.lockctl
        };
        let mut command = self.place.command(as_other, program.as_os_str());
        if program == &self.place.lockctl {
            command.args(["run", "--quiet", "--task", &job.name, "-l", &lock]);
            command.args(job.gives_up.then_some("--no-wait")).arg("--").arg(&self.place.worker);
        }
        command.args(worker::arguments(&log, &job.name, job.work, job.part));
        if !is_app && !self.options.one_lock {
            command.arg("--lockctl").arg(&self.place.lockctl);
        }
        let errors = File::create(self.place.path(&format!("{name}.err")))?;
        // Not waited for by this handle: all children are, together.
        let child = command.stdout(Stdio::null()).stderr(errors).spawn()?;
        self.counts.started += 1;
        self.counts.under_other_user += usize::from(as_other);
        self.records.insert(name.clone(), Vec::new());
        let pid = i32::try_from(child.id()).unwrap_or_default();
        self.running.insert(pid, Running { job, name, is_killed: false });
        Ok(())
    }

    /// Takes in who ended; false if nobody is left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::CHILD) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            // Others are orphans of whoever was killed.
            let Some(run) = self.running.remove(&pid.as_raw_pid()) else { continue };
            self.ended(&run, status);
        }
    }

    fn ended(&mut self, run: &Running, status: WaitStatus) {
        match status.exit_status() {
            _ if run.is_killed => {}
            Some(0) => {}
            Some(75) if run.job.gives_up => self.counts.gave_up += 1,
            _ => self.counts.failed.push(format!("{} ended with {status:?}", run.job.name)),
        }
    }

    /// Kills some processes of one task now and then.
    fn kill_some(&mut self) -> io::Result<()> {
        if self.begin.elapsed() < self.next_kill || self.running.is_empty() {
            return Ok(());
        }
        self.next_kill = self.begin.elapsed() + KILL_INTERVAL.mul_f64(0.5 + self.random.f64());
        let whom = self.random.usize(..self.running.len());
        let (pid, run) = self.running.iter_mut().nth(whom).expect("it is one of them");
        let Some(pid) = Pid::from_raw(*pid) else { return Ok(()) };
        let only = match self.random.usize(..4) {
            0 => Some(Only::Top),
            1 => Some(Only::Last),
            _ => None,
        };
        // All of them, for what they hold is freed then.
        let tree = Tree::of(pid, only.is_none())?;
        let job = run.job.clone();
        run.is_killed = true;
        self.counts.killed += 1;
        // From below: it certainly lived until now.
        self.records.entry(run.name.clone()).or_default().push(record::now());
        tree.kill(only);
        if only.is_none() { self.free_and_restart(&tree, job) } else { Ok(()) }
    }

    /// What a dead worker held is free by its name; whoever waits for it has it at once anyway.
    fn free_and_restart(&mut self, tree: &Tree, job: Job) -> io::Result<()> {
        if !tree.wait(Duration::from_secs(10)) {
            return Err(io::Error::other(format!("{} does not die", job.name)));
        }
        let freed = self.place.lockctl().args(["release", "--task", &job.name]).output()?;
        match freed.status.code() {
            Some(0) => self.counts.freed += 1,
            // Somebody found it dead before.
            Some(1) => {}
            _ => self.counts.failed.push(String::from_utf8_lossy(&freed.stderr).into_owned()),
        }
        if !job.gives_up {
            self.counts.restarted += 1;
            self.start(job)?;
        }
        Ok(())
    }

    /// Says what was, and checks the rules.
    fn report(mut self) -> io::Result<bool> {
        let took = self.begin.elapsed();
        let (mut spans, mut wrong) = (Vec::new(), Vec::new());
        for (task, kills) in std::mem::take(&mut self.records) {
            let path = self.place.path(&format!("{task}.log"));
            let lines = read_lines(&path, &mut wrong)?;
            let (some, more) = check::spans(&TaskRecord { task, lines, kills });
            spans.extend(some);
            wrong.extend(more);
        }
        let Counts { started, under_other_user, killed, freed, restarted, gave_up, failed } =
            &self.counts;
        println!(
            "{started} tasks in {:.1} s, {under_other_user} under another user; {killed} hit by kill -9, \
             {restarted} of them started again, {freed} freed by name; {gave_up} refused, as one of its \
             type ran\n{} parts recorded, up to {} at once",
            took.as_secs_f64(),
            spans.len(),
            check::most_at_once(&spans)
        );
        if let Some(picture) = &self.options.svg {
            self.draw(picture)?;
        }
        let broken = check::broken(&spans);
        for line in broken.iter().chain(&wrong).chain(failed) {
            println!("BROKEN: {line}");
        }
        let is_good = broken.is_empty() && wrong.is_empty() && failed.is_empty();
        if is_good {
            println!("no rule was broken");
        }
        if !is_good || self.options.keep {
            println!("records and history are in {}", self.place.dir.keep().display());
        }
        Ok(is_good)
    }

    fn draw(&self, picture: &Path) -> io::Result<()> {
        let title = if self.options.one_lock {
            "One global lock: everything waits for everything"
        } else {
            "A lock for each app and each type of task"
        };
        let mut command = self.place.lockctl();
        command.arg("history").arg("--svg").arg(picture).args(["--title", title]);
        if let Some(span) = &self.options.span {
            command.args(["--span", span]);
        }
        self.place.succeed(&mut command)
    }
}

fn read_lines(path: &Path, wrong: &mut Vec<String>) -> io::Result<Vec<record::Line>> {
    let text = fs::read_to_string(path)?;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.parse() {
            Ok(line) => lines.push(line),
            Err(()) => wrong.push(format!("{} has a line that is none: {line}", path.display())),
        }
    }
    Ok(lines)
}
