//! What a server says of itself: for tools that look after a store.

use lock_core::server::{Doing, host_and_port};
use lock_core::{BackendError, Version};
use sqlx::mysql::MySqlSslMode;
use sqlx::{AssertSqlSafe, Executor, Row};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use crate::MySqlBackend;
use crate::error::{is_denied, sort};
use crate::session::Session;
use crate::table::Table;

/// How long a server has to answer all questions.
const TIME: Duration = Duration::from_secs(10);

/// What a server of a store says of itself and of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct ServerFacts {
    /// The address by which it is reached.
    pub address: String,
    /// Its release, such as `10.11.6-MariaDB` or `9.7.0`.
    pub release: String,
    /// Whom it takes this client for, as `USER@HOST`.
    pub account: String,
    /// The version of the cell there.
    pub version: Version,
    /// The bytes of the cell there.
    pub data_bytes: u64,
    /// The most bytes that a cell may have there, by its `max_allowed_packet`.
    pub data_bytes_max: u64,
    /// `innodb_flush_log_at_trx_commit`: 1 if a crash of the server loses nothing.
    pub flush_log_at_trx_commit: u64,
    /// `sync_binlog`: 1 if a crash of the whole machine loses nothing either. `None` without a binary log.
    pub sync_binlog: Option<u64>,
    /// The storage engine of the table; `None` if this account may not see that.
    pub engine: Option<String>,
    /// Whether it cannot be written.
    pub is_read_only: bool,
    /// Whether it has lost its cluster.
    pub is_apart: bool,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// Whether it has shown a certificate for its name (`ssl-mode=verify-identity`): without that, whoever
    /// can put itself in between may be taken for it.
    pub is_verified: bool,
    /// The rights on the table that are missing: of `INSERT` and `UPDATE`, as whoever lacks `SELECT`
    /// comes not that far.
    pub lacking: Vec<&'static str>,
    /// What the administrator has to type to give all rights that are needed, and no other.
    pub grant: String,
    /// Whether the account may write what is read-only, or do anything at all.
    pub is_mighty: bool,
}

impl MySqlBackend {
    /// Asks every server that the URL names, in its order.
    ///
    /// Nothing is changed: whether rows may be written is tried with statements that match none.
    ///
    /// # Errors
    ///
    /// For each server, [`BackendError`] when it cannot be reached or does not let the table be read.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn inspect(&self) -> Vec<Result<ServerFacts, BackendError>> {
        let mut all = Vec::new();
        for server in 0..self.servers.len() {
            let time = self.connect_timeout + TIME;
            let asked = timeout(time, self.ask(server)).await;
            all.push(asked.unwrap_or_else(|_| Err(Doing::Reading.silent(&self.store, time))));
        }
        all
    }

    async fn ask(&self, server: usize) -> Result<ServerFacts, BackendError> {
        let options = &self.servers[server];
        let address = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => host_and_port(options.get_host(), options.get_port(), 0),
        };
        let time = self.connect_timeout;
        let limit = Instant::now() + time;
        let connecting = timeout_at(limit, self.connect_to(options, limit)).await;
        let mut session =
            connecting.unwrap_or_else(|_| Err(Doing::Connecting.silent(&self.store, time)))?;
        let _ = self.account.set(session.account.clone());
        let facts = session.facts(&self.table, self.id()).await;
        let facts = facts.map_err(|error| sort(Doing::Reading, &self.site(), error))?;
        let grant = self.table.grant(options.get_database(), Some(&session.account));
        session.close().await;
        let is_verified = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyIdentity);
        Ok(ServerFacts { address, is_verified, grant, ..facts })
    }
}

impl Session {
    /// Everything but what the options tell.
    async fn facts(&mut self, table: &Table, id: &[u8]) -> Result<ServerFacts, sqlx::Error> {
        let found = self.read(table, id, crate::session::Mark::default()).await?;
        let (version, data) = match found {
            Some((mark, data)) => (mark.version, data.unwrap_or_default()),
            None => (Version::ABSENT, Vec::new()),
        };
        let row = self
            .connection
            .fetch_one(
                "SELECT VERSION(), CAST(@@global.innodb_flush_log_at_trx_commit AS UNSIGNED), \
                 IF(@@global.log_bin, CAST(@@global.sync_binlog AS UNSIGNED), NULL)",
            )
            .await?;
        let release = row.try_get_unchecked(0)?;
        let flush_log_at_trx_commit = row.try_get_unchecked(1)?;
        let sync_binlog = row.try_get_unchecked(2)?;
        let engine = self.connection.fetch_optional(AssertSqlSafe(table.engine())).await?;
        let engine = engine.map(|row| row.try_get_unchecked(0)).transpose()?.flatten();
        let cipher =
            self.connection.fetch_optional("SHOW SESSION STATUS LIKE 'Ssl_cipher'").await?;
        let cipher: Option<String> = cipher.map(|row| row.try_get_unchecked(1)).transpose()?;
        let mut grants = String::new();
        for row in self.connection.fetch_all("SHOW GRANTS").await? {
            grants += &row.try_get_unchecked::<String, _>(0)?;
            grants.push('\n');
        }
        let mut lacking = Vec::new();
        for (right, statement) in table.tries() {
            match self.connection.execute(AssertSqlSafe(statement)).await {
                Err(error) if is_denied(&error) => lacking.push(right),
                // A server that cannot be written says so to whoever may.
                Err(_) if self.is_read_only => {}
                done => {
                    done?;
                }
            }
        }
        Ok(ServerFacts {
            address: String::new(),
            release,
            account: self.account.clone(),
            version,
            data_bytes: data.len() as u64,
            data_bytes_max: self.data_max(),
            flush_log_at_trx_commit,
            sync_binlog,
            engine,
            is_read_only: self.is_read_only,
            is_apart: self.is_apart,
            is_encrypted: cipher.is_some_and(|cipher| !cipher.is_empty()),
            is_verified: false,
            lacking,
            grant: String::new(),
            is_mighty: is_mighty(&grants),
        })
    }
}

/// Whether rights on everything are among these, or one that passes by `read_only`.
fn is_mighty(grants: &str) -> bool {
    let everywhere = grants.lines().filter(|grant| grant.contains(" ON *.* "));
    let mighty =
        ["ALL PRIVILEGES", "SUPER", "READ ONLY ADMIN", "READ_ONLY ADMIN", "CONNECTION_ADMIN"];
    everywhere.into_iter().any(|grant| mighty.iter().any(|right| grant.contains(right)))
}

#[cfg(test)]
mod tests {
    use super::is_mighty;

    #[test]
    fn only_rights_on_everything_are_mighty() {
        for grants in [
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION",
            "GRANT SELECT, SUPER, EVENT ON *.* TO `a`@`%`",
            "GRANT USAGE ON *.* TO `a`@`%`\nGRANT READ ONLY ADMIN ON *.* TO `a`@`%`",
        ] {
            assert!(is_mighty(grants), "{grants}");
        }
        for grants in [
            "GRANT USAGE ON *.* TO `shop`@`%`\nGRANT SELECT, INSERT, UPDATE ON `shop`.`interlock` TO `shop`@`%`",
            "GRANT USAGE ON *.* TO `shop`@`%`\nGRANT ALL PRIVILEGES ON `shop`.* TO `shop`@`%`",
        ] {
            assert!(!is_mighty(grants), "{grants}");
        }
    }
}
