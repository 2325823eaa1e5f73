//! The server of the test cell: one process, one cell, durable in one file.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use lock_core::{Snapshot, Version};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use super::wire::{Reply, Request};

/// The variables that make the test binary a server: its file, and its port.
pub(crate) const FILE: &str = "LOCK_TEST_CELL_FILE";
pub(crate) const PORT: &str = "LOCK_TEST_CELL_PORT";

/// The extensions of the files that make it refuse writes, beside its own.
pub(crate) const READ_ONLY: &str = "read-only";
pub(crate) const FULL: &str = "full";

/// Serves, if this process was started for that, until its standard input ends.
pub(crate) fn main() -> Option<ExitCode> {
    let file = PathBuf::from(env::var_os(FILE)?);
    let port = env::var(PORT).ok()?.parse().expect("a port");
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.expect("the system has what a runtime needs").block_on(serve(file, port));
    eprintln!("the cell ends: {served:?}");
    Some(ExitCode::FAILURE)
}

/// A socket on a port that others of this user may have too, so that it can be kept.
pub(crate) fn socket(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

/// Reads the cell as it was last written.
pub(crate) fn read(file: &Path) -> io::Result<Snapshot> {
    match std::fs::read(file) {
        Ok(bytes) => match bytes.split_first_chunk() {
            Some((version, data)) => {
                Ok(Snapshot { version: Version(u64::from_be_bytes(*version)), data: data.into() })
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Snapshot::default()),
        Err(error) => Err(error),
    }
}

/// Writes the cell: all of it or nothing, whatever happens.
pub(crate) fn write(file: &Path, cell: &Snapshot) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = std::fs::File::create(&new)?;
    out.write_all(&cell.version.0.to_be_bytes())?;
    out.write_all(&cell.data)?;
    out.sync_data()?;
    std::fs::rename(&new, file)
}

#[derive(Debug)]
struct Cell {
    file: PathBuf,
    now: watch::Sender<Snapshot>,
}

async fn serve(file: PathBuf, port: u16) -> io::Result<()> {
    let now = watch::Sender::new(read(&file)?);
    let cell = Arc::new(Cell { file, now });
    let listener = socket(port)?.listen(256)?;
    writeln!(io::stdout(), "ready")?;
    loop {
        let (stream, _) = listener.accept().await?;
        let cell = cell.clone();
        tokio::spawn(async move {
            let _ = cell.converse(stream).await; // It hung up.
        });
    }
}

impl Cell {
    async fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let reply = match Request::read(&mut stream).await? {
                Request::Load => Reply::Cell(self.now.borrow().clone()),
                Request::Swap { expected, next } => {
                    let found = self.now.borrow().version;
                    eprintln!("swap from {expected} to {} found {found}", next.version);
                    match self.refusal() {
                        Some(refusal) => refusal,
                        None if found == expected => self.put(next)?,
                        None => Reply::Conflict,
                    }
                }
                Request::Restore(cell) => {
                    eprintln!("restore {}", cell.version);
                    self.put(cell)?
                }
                Request::Changed { seen } => {
                    let mut cells = self.now.subscribe();
                    let _ = cells.wait_for(|cell| cell.version != seen).await;
                    Reply::Done
                }
            };
            stream.write_all(&reply.encode()).await?;
        }
    }

    /// What it says to every write, if it was made to.
    fn refusal(&self) -> Option<Reply> {
        let is = |word| self.file.with_extension(word).exists();
        if is(READ_ONLY) { Some(Reply::ReadOnly) } else { is(FULL).then_some(Reply::Full) }
    }

    /// There is one thread and no await, so nobody comes in between.
    fn put(&self, cell: Snapshot) -> io::Result<Reply> {
        write(&self.file, &cell)?;
        self.now.send_replace(cell);
        Ok(Reply::Done)
    }
}
