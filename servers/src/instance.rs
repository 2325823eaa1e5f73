//! A private server: its data directory, its port and its life.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use rustix::process::Signal;

use crate::fetch::run;
use crate::process::Process;
use crate::programs::Programs;
use crate::{Error, Kind};

/// Lets root in over TCP, which the data directory of `MySQL` does not.
const LET_IN: &str = "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
                      GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";

/// A server with a data directory of its own, on loopback; it ends with this value.
#[derive(Debug)]
pub struct Instance {
    programs: Programs,
    arguments: Vec<String>,
    /// Whether it takes less memory and disk than its makers would have it take.
    is_small: bool,
    /// Whether it executes a file of statements when it starts.
    is_told: bool,
    /// The search path of its programs, where it is not the usual one.
    path: Option<String>,
    process: Process,
    port: Port,
    other_ports: Vec<Port>,
}

/// A port that nobody else gets, also while no server listens there: it is bound and never listens.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _socket: OwnedFd,
}

impl Instance {
    /// Starts a server as its makers deliver it, save for sizes of memory and logs.
    ///
    /// # Errors
    ///
    /// As [`Programs::find`], or it does not come up.
    pub fn start(kind: Kind) -> Result<Self, Error> {
        Self::start_with(kind, &[])
    }

    /// Starts a server with more arguments.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(kind: Kind, arguments: &[&str]) -> Result<Self, Error> {
        Self::lay(Programs::find(kind)?)?.begin(arguments)
    }

    /// Starts a server that has its makers' sizes too, with more arguments: to measure it.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_in_full(kind: Kind, arguments: &[&str]) -> Result<Self, Error> {
        let mut instance = Self::lay(Programs::find(kind)?)?;
        instance.is_small = false;
        instance.begin(arguments)
    }

    fn begin(mut self, arguments: &[&str]) -> Result<Self, Error> {
        self.with_arguments(arguments.iter().map(|&argument| argument.to_owned()));
        self.is_told()?;
        self.start_again()?;
        Ok(self)
    }

    /// A server with a copy of the template, not started yet.
    pub(crate) fn lay(programs: Programs) -> Result<Self, Error> {
        let process = Process::lay()?;
        let data = process.directory().join("data");
        run(Command::new("cp").arg("-a").arg(&programs.template).arg(&data))?;
        Ok(Self {
            programs,
            arguments: Vec::new(),
            is_small: true,
            is_told: false,
            path: None,
            process,
            port: Port::reserve()?,
            other_ports: Vec::new(),
        })
    }

    /// Has it take more arguments, at every start.
    pub(crate) fn with_arguments(&mut self, arguments: impl IntoIterator<Item = String>) {
        self.arguments.extend(arguments);
    }

    /// Has it execute statements at every start, which let root in and may be more.
    pub(crate) fn is_told(&mut self) -> Result<(), Error> {
        self.is_told = true;
        self.at_next_start("")
    }

    /// Has it find programs there.
    pub(crate) fn with_path(&mut self, path: String) {
        self.path = Some(path);
    }

    /// Keeps these ports for it too.
    pub(crate) fn with_ports(&mut self, ports: impl IntoIterator<Item = Port>) {
        self.other_ports.extend(ports);
    }

    /// The value of one of its own arguments.
    pub(crate) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find_map(|argument| argument.strip_prefix(name))
    }

    /// Whether its process runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Makes a template of its data directory, whole or not at all.
    pub(crate) fn become_template(&self, template: &Path) -> Result<(), Error> {
        let made = template.with_extension("new");
        let _ = fs::remove_dir_all(&made);
        run(Command::new("cp").arg("-a").arg(self.data()).arg(&made))?;
        fs::rename(&made, template).map_err(Error::io("create", template))
    }

    /// What kind of server it is.
    pub fn kind(&self) -> Kind {
        self.programs.kind
    }

    /// Where it listens; the same for all its life.
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// The URL of its user root, without a database.
    pub fn url(&self) -> String {
        format!("mysql://root@{}", self.address())
    }

    /// The path of its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("sock")
    }

    /// The folder of its files, for keys and the like.
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

    /// Starts it once more with a database of this name.
    ///
    /// # Errors
    ///
    /// As [`start_again`](Self::start_again).
    pub fn create(&self, database: &str) -> Result<(), Error> {
        self.kill()?;
        self.at_next_start(&format!("CREATE DATABASE IF NOT EXISTS {database};\n"))?;
        self.start_again()
    }

    /// Has it execute statements at its next start, before anybody can connect: one to a line.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn at_next_start(&self, statements: &str) -> Result<(), Error> {
        let path = self.directory().join("init.sql");
        fs::write(&path, format!("{LET_IN}{statements}")).map_err(Error::io("write", path))
    }

    /// Starts it again after [`kill`](Self::kill), at the same address, and waits until it serves.
    ///
    /// # Errors
    ///
    /// It does not come up: with the end of its log.
    pub fn start_again(&self) -> Result<(), Error> {
        self.start_again_with(&[])
    }

    /// Starts it again with arguments for this time alone.
    ///
    /// # Errors
    ///
    /// As [`start_again`](Self::start_again).
    pub fn start_again_with(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut server = self.command();
        server.args(arguments);
        if self.is_told {
            server.arg(format!("--init-file={}", self.directory().join("init.sql").display()));
        }
        self.process.start(&server, self.kind(), || self.greets())?;
        self.at_next_start("")
    }

    /// The server with the arguments of every start.
    pub(crate) fn command(&self) -> Command {
        let mut server = self.programs.server();
        let path = |name: &str| self.directory().join(name).display().to_string();
        server.args([
            format!("--datadir={}", path("data")),
            format!("--socket={}", path("sock")),
            format!("--pid-file={}", path("pid")),
            format!("--log-error={}", path("server.log")),
            format!("--tmpdir={}", self.directory().display()),
            format!("--port={}", self.address().port()),
            "--bind-address=127.0.0.1".into(),
        ]);
        server.args(self.options());
        if let Some(path) = &self.path {
            server.env("PATH", path);
        }
        server
    }

    /// What it is told that differs from what its makers deliver, places aside.
    pub fn options(&self) -> Vec<String> {
        let kind = self.programs.kind;
        let mut options = vec!["--skip-name-resolve"];
        if kind == Kind::MySql {
            options.extend(["--mysqlx=OFF", "--secure-file-priv=NULL"]);
        }
        if self.is_small {
            options.extend([
                "--performance-schema=OFF",
                "--innodb-buffer-pool-size=64M",
                // What replicas would need of it is not kept: it would fill the disk.
                "--max-binlog-size=64M",
                "--binlog-expire-logs-seconds=1",
                match kind {
                    Kind::MariaDb => "--innodb-log-file-size=8M",
                    Kind::MySql => "--innodb-redo-log-capacity=8M",
                },
            ]);
        }
        options.into_iter().map(str::to_owned).chain(self.arguments.iter().cloned()).collect()
    }

    /// Whether it greets who connects, as it does once it serves.
    fn greets(&self) -> bool {
        let greeting = || -> std::io::Result<usize> {
            let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.read(&mut [0])
        };
        greeting().is_ok_and(|bytes| bytes == 1)
    }
}

impl Port {
    /// A server may listen there, because both allow reuse.
    pub(crate) fn reserve() -> Result<Self, Error> {
        let reserve = || -> rustix::io::Result<Self> {
            let port = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::io::fcntl_setfd(&port, rustix::io::FdFlags::CLOEXEC)?;
            sockopt::set_socket_reuseaddr(&port, true)?;
            bind(&port, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
            let address = SocketAddr::try_from(getsockname(&port)?)?;
            Ok(Self { address, _socket: port })
        };
        reserve().map_err(|error| Error::io("reserve", "a port")(error.into()))
    }
}
