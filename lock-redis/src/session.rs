//! A connection to the server that has the cell, and what is sent over it.

use lock_core::server::LastUse;
use lock_core::{Snapshot, Swap, Version};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, cmd};

use crate::risk::Info;
use crate::script::{self, LACKING, READ, SHRINK, SWAP, TOUCH};
use crate::servers::{Address, Place, is_full};

/// How long the server waits for its replicas: less than its client waits for the answer.
const REPLICAS_MILLISECONDS: u32 = 2_000;

/// A connection; its clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    connection: MultiplexedConnection,
    /// Where the server is.
    pub(crate) place: Place,
    last_use: LastUse,
}

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(Swap),
    /// The server has no memory left for what is larger than before.
    NoMemory,
}

/// Where the cell is in the server.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) key: String,
    /// What is published there is the version after each swap.
    pub(crate) channel: String,
}

impl Session {
    pub(crate) fn new(connection: MultiplexedConnection, place: Place) -> Self {
        Self { connection, place, last_use: LastUse::now() }
    }

    /// Whether it belongs to this runtime.
    pub(crate) fn is_of_this_runtime(&self) -> bool {
        self.last_use.is_of_this_runtime()
    }

    pub(crate) fn used(&mut self) {
        self.last_use = LastUse::now();
    }

    /// Whether it is good for another call.
    pub(crate) async fn still_works(&mut self) -> bool {
        self.last_use.still_works(cmd("PING").query_async(&mut self.connection)).await
    }

    /// What the server tells of itself; `None` if it refuses to.
    pub(crate) async fn info(&mut self) -> RedisResult<Option<Info>> {
        let mut info = cmd("INFO");
        info.arg(&["replication", "memory", "persistence", "cluster"]);
        match info.query_async::<String>(&mut self.connection).await {
            Ok(text) => Ok(Some(Info::parse(&text))),
            // The user may not ask, or nobody may.
            Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) && !is_full(&error) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the cell; `Err` of the inner kind says why what is there is none.
    pub(crate) async fn read(&mut self, cell: &Cell) -> RedisResult<Result<Snapshot, String>> {
        let fields: Vec<Vec<u8>> =
            script::call(&mut self.connection, &READ, &cell.key, &[]).await?;
        Ok(snapshot(fields))
    }

    /// Which of its commands keep this user from swapping the cell.
    pub(crate) async fn lacking(&mut self, cell: &Cell) -> RedisResult<Vec<String>> {
        script::call(&mut self.connection, &LACKING, &cell.key, &[]).await
    }

    /// Swaps the cell.
    pub(crate) async fn swap(
        &mut self,
        cell: &Cell,
        (expected, next): (Version, Version),
        data: &[u8],
    ) -> RedisResult<Outcome> {
        let (expected, next) = (expected.to_string(), next.to_string());
        let arguments = [expected.as_bytes(), next.as_bytes(), data, cell.channel.as_bytes()];
        let connection = &mut self.connection;
        let answer: i8 = match script::call(connection, &SWAP, &cell.key, &arguments).await {
            Err(error) if error.code() == Some("OOM") => {
                let arguments = [&arguments[..], &[b"shrink"]].concat();
                script::call(connection, &SHRINK, &cell.key, &arguments).await?
            }
            answer => answer?,
        };
        match answer {
            1 => Ok(Outcome::Done(Swap::Swapped)),
            0 => Ok(Outcome::Done(Swap::Conflict)),
            -1 => Ok(Outcome::NoMemory),
            _ => Err(RedisError::from((
                ErrorKind::UnexpectedReturnType,
                "a script has answered what it cannot",
            ))),
        }
    }

    /// Has replicas confirm all that was written before, and tells how many have.
    pub(crate) async fn replicated(&mut self, cell: &Cell, replicas: u32) -> RedisResult<u32> {
        // The server counts from what this connection has written last.
        script::call::<()>(&mut self.connection, &TOUCH, &cell.key, &[]).await?;
        self.wait(replicas).await
    }

    /// Has replicas confirm what this connection has written, and tells how many have.
    pub(crate) async fn wait(&mut self, replicas: u32) -> RedisResult<u32> {
        let mut wait = cmd("WAIT");
        wait.arg(replicas).arg(REPLICAS_MILLISECONDS);
        wait.query_async(&mut self.connection).await
    }
}

/// What the fields of the hash are as a cell.
fn snapshot(fields: Vec<Vec<u8>>) -> Result<Snapshot, String> {
    if fields.is_empty() {
        return Ok(Snapshot::default());
    }
    let (mut version, mut data) = (None, None);
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match &*name {
            b"version" => version = Some(value),
            b"data" => data = Some(value),
            _ => return Err(format!("it has a field {:?}", String::from_utf8_lossy(&name))),
        }
    }
    let (Some(version), Some(data)) = (version, data) else {
        return Err("it lacks the field version or the field data".into());
    };
    Ok(Snapshot { version: parse(&version)?, data })
}

/// A version as the script compares it: the same number has no other text.
fn parse(text: &[u8]) -> Result<Version, String> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| {
        let version: u64 = text.parse().ok()?;
        (version.to_string() == text).then_some(Version(version))
    });
    parsed
        .filter(|version| (Version(1)..=Version::MAX).contains(version))
        .ok_or_else(|| format!("its version is {:?}", String::from_utf8_lossy(text)))
}

/// Where the key is, if a command went to a node of a cluster that has not got it.
pub(crate) fn redirection(error: &RedisError, from: &Place) -> Option<Place> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
        return None;
    }
    let mut address = Address::parse(error.redirect_node()?.0)?;
    // A node that does not know its name leaves it out: it is the one by which it was reached.
    if let (true, Place::Tcp(this)) = (address.host.is_empty(), from) {
        address.host.clone_from(&this.host);
    }
    Some(Place::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[&str]) -> Result<Snapshot, String> {
        snapshot(fields.iter().map(|field| field.as_bytes().to_vec()).collect())
    }

    #[test]
    fn only_what_a_swap_has_written_is_a_cell() {
        assert_eq!(of(&[]), Ok(Snapshot::default()));
        let cell = Snapshot { version: Version(1 << 53), data: b"x".to_vec() };
        assert_eq!(of(&["data", "x", "version", "9007199254740992"]), Ok(cell));
        for fields in [
            &["version", "1"][..],
            &["data", "x"],
            &["name", "x"],
            &["version", "1", "data", "x", "more", "y"],
            &["version", "0", "data", "x"],
            &["version", "01", "data", "x"],
            &["version", "+1", "data", "x"],
            &["version", "1.79e+15", "data", "x"],
            &["version", "9007199254740993", "data", "x"],
            &["version", "", "data", "x"],
        ] {
            assert!(of(fields).is_err(), "{fields:?}");
        }
    }
}
