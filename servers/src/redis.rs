//! Redis and Valkey: a server with a directory of its own, or a sentinel that watches over servers.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::Error;
use crate::fetch::{Suite, Wanted};
use crate::instance::Port;
use crate::process::Process;
use crate::programs::{cache, get, libraries, lock, on_path};

/// Which server of that family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisKind {
    /// Redis, of the release that the system's distribution has.
    Redis,
    /// Valkey, of the newest release that there is for the system's distribution.
    Valkey,
}

impl RedisKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        }
    }

    /// The variable with the URL of a server that is there already, such as `redis://127.0.0.1`:
    /// tests may make users and keys in it.
    pub fn url_variable(self) -> &'static str {
        match self {
            Self::Redis => "INTERLOCK_REDIS_URL",
            Self::Valkey => "INTERLOCK_VALKEY_URL",
        }
    }

    /// Gets it, if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where there is none and none can be got.
    pub fn prepare(self) -> Result<(), Error> {
        self.program("server").map(drop)
    }

    fn wanted(self) -> Wanted {
        match self {
            Self::Redis => Wanted { packages: &["redis-server"], suite: Suite::Own },
            Self::Valkey => Wanted { packages: &["valkey-server"], suite: Suite::Backports },
        }
    }

    /// The `server`, or its `cli`, to be given arguments.
    fn program(self, what: &str) -> Result<Command, Error> {
        let cache = cache()?;
        let _lock = lock(&cache, self.name())?;
        let root = cache.join(self.name());
        let why = get(self.wanted(), &root);
        let name = format!("{}-{what}", self.name());
        if root.exists() {
            let mut program = Command::new(root.join("usr/bin").join(name));
            program.env("LD_LIBRARY_PATH", libraries(&root));
            return Ok(program);
        }
        match on_path(&name) {
            Some(program) => Ok(Command::new(program)),
            None => Err(Error::unavailable(self, self.url_variable(), self.wanted(), why)),
        }
    }
}

impl fmt::Display for RedisKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// A server with a directory of its own, on loopback; it ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    kind: RedisKind,
    is_sentinel: bool,
    process: Process,
    port: Port,
    second: Port,
}

impl RedisServer {
    /// Starts a server that keeps all that it acknowledges.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub fn start(kind: RedisKind) -> Result<Self, Error> {
        Self::start_with(kind, &["appendonly yes", "appendfsync always"])
    }

    /// Starts a server with these lines in its configuration; `{directory}` and `{second}` are its
    /// directory and a second port of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], or it does not come up.
    pub fn start_with(kind: RedisKind, lines: &[&str]) -> Result<Self, Error> {
        let server = Self::lay(kind, false, lines)?;
        server.start_again()?;
        Ok(server)
    }

    /// Starts a sentinel with these lines in its configuration.
    ///
    /// # Errors
    ///
    /// As [`start_with`](Self::start_with).
    pub fn start_sentinel(kind: RedisKind, lines: &[&str]) -> Result<Self, Error> {
        let server = Self::lay(kind, true, lines)?;
        server.start_again()?;
        Ok(server)
    }

    fn lay(kind: RedisKind, is_sentinel: bool, lines: &[&str]) -> Result<Self, Error> {
        let process = Process::lay()?;
        let (port, second) = (Port::reserve()?, Port::reserve()?);
        let server = Self { kind, is_sentinel, process, port, second };
        server.configure(lines)?;
        Ok(server)
    }

    /// Writes its configuration anew, for its next start.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn configure(&self, lines: &[&str]) -> Result<(), Error> {
        let directory = self.directory().display().to_string();
        let mut text = format!(
            "bind 127.0.0.1\nport {}\ndir {directory}\nlogfile {}\nprotected-mode no\n",
            self.address().port(),
            self.log().display(),
        );
        if !self.is_sentinel {
            let _ = write!(text, "unixsocket {}\nsave \"\"\n", self.socket().display());
        }
        let second = self.second.address.port().to_string();
        for line in lines {
            text += &line.replace("{directory}", &directory).replace("{second}", &second);
            text.push('\n');
        }
        let path = self.directory().join("server.conf");
        fs::write(&path, text).map_err(Error::io("write", path))
    }

    /// What kind of server it is.
    pub fn kind(&self) -> RedisKind {
        self.kind
    }

    /// Where it listens; the same for all its life.
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Its second port, for what its configuration says.
    pub fn second_address(&self) -> SocketAddr {
        self.second.address
    }

    /// The URL of its user `default`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The program for people who type commands, which reaches this server.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`]: there is a server, and no such program.
    pub fn client(&self) -> Result<Command, Error> {
        let mut client = self.kind.program("cli")?;
        let address = self.address();
        client.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        Ok(client)
    }

    /// The path of its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("sock")
    }

    /// The folder of its files.
    pub fn directory(&self) -> &Path {
        self.process.directory()
    }

    /// What it writes about itself.
    pub fn log(&self) -> PathBuf {
        self.process.log()
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.process.pid()
    }

    /// Ends it by `SIGKILL`.
    ///
    /// # Errors
    ///
    /// The system refused.
    pub fn kill(&self) -> Result<(), Error> {
        self.process.kill()
    }

    /// Stops it by `SIGSTOP` until [`go_on`](Self::go_on).
    pub fn stop(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Lets it go on after [`stop`](Self::stop).
    pub fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Starts it again after [`kill`](Self::kill), at the same address, and waits until it serves.
    ///
    /// # Errors
    ///
    /// It does not come up: with the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        self.launch(&[b"+PONG", b"-NOAUTH"])
    }

    /// Starts it again, and waits only until it answers: it may still have to read its data.
    ///
    /// # Errors
    ///
    /// It does not come up: with the end of its log.
    pub fn start_reading(&self) -> Result<(), Error> {
        self.launch(&[b"+", b"-"])
    }

    /// Starts it, and waits for an answer that begins with one of these.
    fn launch(&self, answers: &[&[u8]]) -> Result<(), Error> {
        let mut server = self.kind.program("server")?;
        server.arg(self.directory().join("server.conf"));
        if self.is_sentinel {
            server.arg("--sentinel");
        }
        self.process.start(&server, self.kind, || {
            let answer = self.ping().unwrap_or_default();
            answers.iter().any(|good| answer.starts_with(good))
        })
    }

    /// The beginning of what it answers.
    fn ping(&self) -> std::io::Result<Vec<u8>> {
        let second = Duration::from_secs(1);
        let mut stream = TcpStream::connect_timeout(&self.address(), second)?;
        stream.set_read_timeout(Some(second))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer)?;
        answer.truncate(length);
        Ok(answer)
    }
}
