//! A cell that a process of its own serves over TCP: the smallest store that has a server to lose.

pub(crate) mod backend;
pub(crate) mod server;
mod wire;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lock_conformance::{Damage, Failure, Fixture, Server, Start, Store, Verdict};
use lock_core::{BackendError, BackendErrorKind, LockBackend, Snapshot};
use tempfile::TempDir;
use tokio::net::TcpSocket;

use backend::TcpBackend;
use wire::{Request, ask};

/// The test cell, for the suite.
pub(crate) struct Tcp;

impl Fixture for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn start(&self) -> Start {
        let port = server::socket(0)?;
        let address = port.local_addr()?;
        let process = Mutex::default();
        let cell = Cell { directory: tempfile::tempdir()?, address, _port: port, process };
        Server::start(&cell)?;
        Ok(Box::new(cell))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let bad = |error: std::net::AddrParseError| {
            BackendError::new(BackendErrorKind::Misconfigured, format!("no address: {spec}"))
                .with_source(error)
        };
        Ok(Arc::new(TcpBackend::new(spec.parse().map_err(bad)?)))
    }
}

struct Cell {
    directory: TempDir,
    address: SocketAddr,
    /// Keeps the port while the server is down: it is bound and never listens.
    _port: TcpSocket,
    process: Mutex<Option<Child>>,
}

impl Cell {
    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("cell")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn put(&self, cell: &Snapshot) -> Verdict {
        if self.process().is_none() {
            return Ok(server::write(&self.file(), cell)?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let restore = Request::Restore(cell.clone());
        runtime.block_on(async {
            let mut stream = tokio::net::TcpStream::connect(self.address).await?;
            ask(&mut stream, &restore).await
        })?;
        Ok(())
    }
}

impl Store for Cell {
    fn spec(&self) -> String {
        self.address.to_string()
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        // On a thread of its own, since whoever asks may be in a runtime.
        Some(std::thread::scope(|scope| {
            scope.spawn(|| self.put(cell)).join().expect("it does not panic")
        }))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        let word = match how {
            Damage::ReadOnly => server::READ_ONLY,
            Damage::Full => server::FULL,
            _ => return None,
        };
        Some(fs::write(self.file().with_extension(word), "").map_err(Failure::from))
    }

    fn repair(&self) -> Verdict {
        for word in [server::READ_ONLY, server::FULL] {
            match fs::remove_file(self.file().with_extension(word)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn tells_of_changes(&self) -> bool {
        true
    }

    fn server(&self) -> Option<&dyn Server> {
        Some(self)
    }

    fn logs(&self) -> Vec<PathBuf> {
        vec![self.log(), self.file()]
    }
}

impl Server for Cell {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn spec_at(&self, address: SocketAddr) -> String {
        address.to_string()
    }

    fn kill(&self) -> Result<(), Failure> {
        if let Some(mut child) = self.process().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn start(&self) -> Result<(), Failure> {
        *self.process() = Some(serve(&self.file(), self.address.port(), &self.log())?);
        Ok(())
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Starts the server, and waits until it listens.
fn serve(file: &Path, port: u16, log: &Path) -> Result<Child, Failure> {
    let mut child = Command::new(env::current_exe()?)
        .env(server::FILE, file)
        .env(server::PORT, port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(OpenOptions::new().create(true).append(true).open(log)?)
        .spawn()?;
    let mut ready = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut ready)?;
    if ready.trim() == "ready" {
        return Ok(child);
    }
    let status = child.wait()?;
    let said = fs::read_to_string(log)?;
    Err(Failure::failed(format!("the cell does not come up: {status}: {said}")))
}
