//! A connection that is set up for the cell, and the statements that are sent over it.

use std::time::Duration;

use lock_core::server::{IDLE_MAX, LastUse};
use lock_core::{Swap, Version};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Row};
use tokio::time::timeout;

use crate::error::{is_duplicate, is_lock_wait, is_timeout};
use crate::member::is_apart;
use crate::table::{Stile, Table};
use crate::way::{Bridge, Way};

/// How long a goodbye may take to get over the bridge.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a packet holds besides the data, generously.
const PACKET_REST: u64 = 4096;

/// How long the server makes a statement wait for a lock on the row or the table: less than its client
/// waits for the answer, so that the outcome is known, and no statement is left behind.
const LOCK_WAIT_SECONDS: u32 = 2;

/// The server keeps an idle connection for so long at least.
pub(crate) const IDLE_MIN_SECONDS: u64 = 2 * IDLE_MAX.as_secs();
/// And for so long at most: what a client that vanished has left there would stay.
const IDLE_MAX_SECONDS: u64 = 60 * 60;

/// A connection that was not looked for yet; the server counts from 1.
const UNSEEN: u64 = 0;

/// A connection, used by one call at a time.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one server")]
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: MySqlConnection,
    bridge: Bridge,
    last_use: LastUse,
    packet_max: u64,
    /// Whom the server takes this client for, as `USER@HOST`.
    pub(crate) account: String,
    /// Whether it could not be written, when that was last seen.
    pub(crate) is_read_only: bool,
    /// Whether it was not part of its cluster when it was connected to, or of a part without a quorum.
    pub(crate) is_apart: bool,
    is_mariadb: bool,
    /// A turnstile that was held up, and the connection that was in it then.
    stuck: Option<(Stile, u64)>,
    /// The turnstile through which this client went: it is its turn.
    turn: Option<Stile>,
    /// Whether the server has no turnstiles, as Galera in a strict mode that some makers give it.
    refuses_turns: bool,
}

/// What a read found: which cell, and the data unless that cell was known.
pub(crate) type Found = Option<(Mark, Option<Vec<u8>>)>;

/// What tells whether a cell is the same as before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: Version,
    pub(crate) checksum: u32,
}

impl Session {
    /// Connects this way and sets up the session.
    pub(crate) async fn open(way: Way, server: &MySqlConnectOptions) -> Result<Self, sqlx::Error> {
        let options = server
            .clone()
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .disable_statement_logging();
        let (mut connection, bridge) = way.connect(&options).await?;
        // In one round trip, since a server may be far away. Strict: a table that cannot keep what it
        // is given says so, and does not keep half of it. An isolation that every format of the binary
        // log goes with, and an idle time in which whoever comes back asks first whether the connection
        // is still there.
        let set_up = format!(
            "SELECT @@max_allowed_packet, CAST(@@global.read_only AS CHAR), VERSION(), \
             CURRENT_USER(); \
             SET NAMES utf8mb4, @@session.autocommit = 1, \
             @@session.sql_mode = 'STRICT_ALL_TABLES', \
             @@session.lock_wait_timeout = {LOCK_WAIT_SECONDS}, \
             @@session.innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}, \
             @@session.wait_timeout = CAST(LEAST(GREATEST(@@session.wait_timeout, \
             {IDLE_MIN_SECONDS}), {IDLE_MAX_SECONDS}) AS UNSIGNED); \
             SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE; \
             SHOW VARIABLES LIKE 'wsrep_sync_wait'"
        );
        let rows = connection.fetch_all(AssertSqlSafe(set_up)).await?;
        let row = rows.first().ok_or_else(|| foreign("the server answers nothing"))?;
        let has_wsrep = rows.len() > 1;
        let packet_max = row.try_get_unchecked::<u64, _>(0)?;
        let read_only: String = row.try_get_unchecked(1)?;
        let version: String = row.try_get_unchecked(2)?;
        let account = row.try_get_unchecked(3)?;
        let is_mariadb = version.contains("MariaDB");
        let is_apart = is_apart(&mut connection, has_wsrep).await?;
        Ok(Self {
            connection,
            bridge,
            last_use: LastUse::now(),
            packet_max,
            account,
            is_mariadb,
            is_read_only: is_on(&read_only),
            is_apart,
            stuck: None,
            turn: None,
            refuses_turns: false,
        })
    }

    /// Whether it belongs to this runtime; another's connection must not even be closed in it.
    pub(crate) fn is_of_this_runtime(&self) -> bool {
        self.last_use.is_of_this_runtime()
    }

    /// Whether the server takes a statement with that much data.
    pub(crate) fn takes(&self, bytes: usize) -> bool {
        bytes as u64 <= self.data_max()
    }

    /// How much data a statement may have.
    pub(crate) fn data_max(&self) -> u64 {
        self.packet_max.saturating_sub(PACKET_REST)
    }

    pub(crate) fn packet_max(&self) -> u64 {
        self.packet_max
    }

    pub(crate) fn used(&mut self) {
        self.last_use = LastUse::now();
    }

    /// Whether it is good for another call.
    pub(crate) async fn still_works(&mut self) -> bool {
        self.last_use.still_works(self.connection.ping()).await
    }

    /// Says goodbye, so that the server does not note an aborted connection.
    pub(crate) async fn close(self) {
        let Self { connection, mut bridge, .. } = self;
        let _ = connection.close().await;
        if let Some(bridge) = &mut bridge.0 {
            let _ = timeout(GOODBYE, bridge).await;
        }
    }

    /// Reads the cell; its data only if it is not at the known version.
    ///
    /// In its turn, this waits for a swap that is just being made durable: it comes from a client that
    /// does not know of any rival, and who read what was before it would lose against the next one too.
    pub(crate) async fn read(
        &mut self,
        table: &Table,
        id: &[u8],
        known: Mark,
    ) -> Result<Found, sqlx::Error> {
        let rows = match self.turn {
            None => self.rows(&table.read, id, known).await?,
            Some(_) => match self.rows(&table.read_locked, id, known).await {
                // Its commit takes long: its rival is not waited for.
                Err(error) if is_lock_wait(&error) => {
                    self.end_turn(table, id).await?;
                    self.rows(&table.read, id, known).await?
                }
                rows => rows?,
            },
        };
        if rows.is_empty() {
            self.find_nothing().await?;
        }
        self.found(&rows, id)
    }

    async fn rows(
        &mut self,
        read: &str,
        id: &[u8],
        known: Mark,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        let read = sqlx::query(AssertSqlSafe(read)).bind(known.version.0).bind(known.checksum);
        read.bind(id).fetch_all(&mut self.connection).await
    }

    /// There is no row, which otherwise tells whether the server is read-only by now.
    async fn find_nothing(&mut self) -> Result<(), sqlx::Error> {
        let read_only = "SELECT CAST(@@global.read_only AS CHAR)";
        let row = self.connection.fetch_one(read_only).await?;
        self.is_read_only = is_on(row.try_get_unchecked(0)?);
        Ok(())
    }

    /// What is in the rows that were read for an id.
    fn found(&mut self, rows: &[MySqlRow], id: &[u8]) -> Result<Found, sqlx::Error> {
        let row = match rows {
            [] => return Ok(None),
            [row] => row,
            _ => return Err(foreign("it has several rows for one id")),
        };
        if row.try_get_unchecked::<&[u8], _>(3)? != id {
            return Err(foreign("it does not compare the id byte for byte"));
        }
        self.is_read_only = is_on(&row.try_get_unchecked::<String, _>(4)?);
        // Checked: the bytes of a text would pass for a number.
        let version = Version(row.try_get(0)?);
        if version == Version::ABSENT {
            return Err(foreign("it has a cell with the version 0"));
        }
        let mark = Mark { version, checksum: row.try_get_unchecked(1)? };
        Ok(Some((mark, row.try_get_unchecked(2)?)))
    }

    /// Waits for this client's turn, and reads; `None` if it did not come in time.
    ///
    /// There are two turnstiles. Who finds the first one held up goes to the other, and on as long as
    /// the same client is stuck: one that is paused in its turn costs each of the others one wait, and
    /// no race of all.
    pub(crate) async fn read_in_turn(
        &mut self,
        table: &Table,
        id: &[u8],
        known: Mark,
    ) -> Result<Option<Found>, sqlx::Error> {
        if self.refuses_turns {
            return Ok(None);
        }
        self.end_turn(table, id).await?;
        let mut stile = self.stuck.map_or(Stile::First, |(stile, _)| stile.other());
        for _ in 0..2 {
            let both = table.read_in_turn(self.is_mariadb, stile, id, known);
            self.turn = Some(stile);
            let rows = match self.connection.fetch_all(AssertSqlSafe(both)).await {
                // Whatever took too long.
                Err(error) if is_timeout(&error) => {
                    self.end_turn(table, id).await?;
                    Vec::new()
                }
                // A server that refuses such locks, or somebody has locked the row: there are no turns
                // now, and a plain read will tell what else is wrong.
                Err(sqlx::Error::Database(error)) => {
                    tracing::debug!(%error, "no turn");
                    match self.end_turn(table, id).await {
                        Err(sqlx::Error::Database(_)) => self.refuses_turns = true,
                        ended => ended?,
                    }
                    break;
                }
                rows => rows?,
            };
            let mut other: Option<u64> = None;
            let mut taken: Option<i64> = None;
            if let Some(row) = rows.first() {
                (other, taken) = (row.try_get_unchecked(0)?, row.try_get_unchecked(1)?);
            }
            if taken == Some(1) {
                self.stuck = match (self.stuck, other) {
                    (Some((_, UNSEEN)), Some(connection)) => Some((stile.other(), connection)),
                    (Some((_, before)), Some(connection)) if before == connection => self.stuck,
                    _ => None,
                };
                if rows.len() == 1 {
                    self.find_nothing().await?;
                }
                return self.found(&rows[1..], id).map(Some);
            }
            self.turn = None;
            self.stuck = Some((stile, UNSEEN));
            stile = stile.other();
        }
        self.stuck = None;
        Ok(None)
    }

    /// Swaps, in one statement that commits itself.
    pub(crate) async fn swap(
        &mut self,
        table: &Table,
        id: &[u8],
        (expected, next): (Version, Version),
        data: &str,
    ) -> Result<Swap, sqlx::Error> {
        let creates = expected == Version::ABSENT;
        let sql = match self.turn {
            _ if creates => table.insert.clone(),
            None => table.update.clone(),
            Some(stile) => table.update_in_turn(stile, id),
        };
        let query = sqlx::query(AssertSqlSafe(sql)).bind(next.0).bind(data).bind(id);
        let query = if creates { query } else { query.bind(expected.0) };
        let swap = match query.execute(&mut self.connection).await {
            // Matched rows: sqlx asks for them, and the version changes anyway.
            Ok(done) if done.rows_affected() == 1 => {
                self.turn = self.turn.filter(|_| creates);
                Swap::Swapped
            }
            Ok(_) => Swap::Conflict,
            Err(error) if creates && is_duplicate(&error) => Swap::Conflict,
            Err(error) => return Err(error),
        };
        Ok(swap)
    }

    /// Lets the next client have its turn.
    pub(crate) async fn end_turn(&mut self, table: &Table, id: &[u8]) -> Result<(), sqlx::Error> {
        if let Some(stile) = self.turn.take() {
            let end = table.end_turn(stile, id);
            self.connection.execute(AssertSqlSafe(end)).await?;
        }
        Ok(())
    }

    pub(crate) async fn create(&mut self, table: &Table) -> Result<(), sqlx::Error> {
        self.connection.execute(AssertSqlSafe(table.create.as_str())).await.map(drop)
    }
}

fn is_on(value: &str) -> bool {
    !matches!(value, "0" | "OFF")
}

/// A table that is not ours.
fn foreign(why: &str) -> sqlx::Error {
    sqlx::Error::Decode(why.into())
}
