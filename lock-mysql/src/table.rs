//! The table of the cells: its name, its definition, and every statement on it.

use std::fmt;

use lock_core::{BackendError, BackendErrorKind};

use crate::session::Mark;

/// What [`MIGRATION`] calls the table.
const DEFAULT: &str = "interlock";
/// The longest identifier of MySQL, in characters.
const IDENTIFIER_MAX: usize = 64;
/// How long a turn is waited for: a client that is paused in its turn holds the others up for as
/// long, once.
const TURN_MILLISECONDS: u32 = 50;

/// The definition of the table, for those who have a migration tool of their own.
///
/// It creates the table `interlock` of the current database, if it is not there.
pub const MIGRATION: &str = include_str!("../migrations/interlock.sql");

/// Where the clients of a cell wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stile {
    First,
    Second,
}

impl Stile {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The statements on one table, by whatever name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    name: String,
    pub(crate) read: String,
    pub(crate) read_locked: String,
    pub(crate) insert: String,
    pub(crate) update: String,
    pub(crate) create: String,
    quoted: String,
    /// What the turnstiles of the table are named after, as arguments of a function.
    turnstile: String,
}

impl Table {
    /// A table by its name, which may be preceded by a database and a dot.
    pub(crate) fn new(name: &str) -> Result<Self, BackendError> {
        let parts: Vec<&str> = name.split('.').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_identifier(part)) {
            return Err(BackendError::new(
                BackendErrorKind::Misconfigured,
                format!(
                    "cannot use {name:?} as a table: write up to {IDENTIFIER_MAX} of the characters \
                     a-z, A-Z, 0-9, _ and $, and before that a database and a dot if you like"
                ),
            ));
        }
        let quoted = format!("`{}`", parts.join("`.`"));
        let turnstile = match parts[..] {
            [table] => format!("DATABASE(), '{table}'"),
            _ => format!("'{name}'"),
        };
        let read = format!("SELECT {} FROM {quoted} WHERE id = ?", columns("?", "?"));
        Ok(Self {
            name: name.into(),
            read_locked: format!("{read} LOCK IN SHARE MODE"),
            read,
            insert: format!("INSERT INTO {quoted} (version, data, id) VALUES (?, ?, ?)"),
            update: format!(
                "UPDATE {quoted} SET version = ?, data = ? WHERE id = ? AND version = ?"
            ),
            create: MIGRATION.replacen("EXISTS interlock", &format!("EXISTS {quoted}"), 1),
            quoted,
            turnstile,
        })
    }

    /// Waits for the turn at a turnstile of a cell, and reads the cell: two statements. The first also
    /// answers who is in the other turnstile. The second locks the row while it reads, and no longer while
    /// what it has read is sent.
    ///
    /// `MySQL` knows `GET_LOCK` with whole seconds only, 0.05 is none; it ends the statement with an
    /// error instead.
    pub(crate) fn read_in_turn(
        &self,
        is_mariadb: bool,
        stile: Stile,
        id: &[u8],
        known: Mark,
    ) -> String {
        let turnstile = self.turnstile(stile, id);
        let other = format!("IS_USED_LOCK({})", self.turnstile(stile.other(), id));
        let wait = if is_mariadb {
            format!("{other}, GET_LOCK({turnstile}, {TURN_MILLISECONDS}e-3)")
        } else {
            let limit = format!("/*+ MAX_EXECUTION_TIME({TURN_MILLISECONDS}) */");
            format!("{limit} {other}, GET_LOCK({turnstile}, 1)")
        };
        let Mark { version, checksum } = known;
        format!(
            "SELECT {wait}; SELECT {} FROM {} WHERE id = x'{}' LOCK IN SHARE MODE",
            columns(&version.0.to_string(), &checksum.to_string()),
            self.quoted,
            hex(id),
        )
    }

    /// Swaps, and lets the next client through a turnstile once the row is locked.
    ///
    /// So it finds the row locked when it reads, and waits until the swap is durable: the turns are
    /// shorter by one way to the server and back. What is set is not worked out before the row is
    /// locked, as a condition that does not depend on it would be.
    pub(crate) fn update_in_turn(&self, stile: Stile, id: &[u8]) -> String {
        let nothing = format!("IF(RELEASE_LOCK({}) > 1, 1, 0)", self.turnstile(stile, id));
        self.update.replacen("version = ?", &format!("version = ? + {nothing}"), 1)
    }

    /// Lets the next client through a turnstile.
    pub(crate) fn end_turn(&self, stile: Stile, id: &[u8]) -> String {
        format!("DO RELEASE_LOCK({})", self.turnstile(stile, id))
    }

    /// The name of a turnstile, as an expression: the server takes up to 64 characters.
    fn turnstile(&self, stile: Stile, id: &[u8]) -> String {
        format!("SHA2(CONCAT_WS('.', {}, {}, '{}'), 224)", self.turnstile, stile as u8, hex(id))
    }

    /// Asks for the storage engine of the table.
    pub(crate) fn engine(&self) -> String {
        let (schema, table) = match self.name.split_once('.') {
            Some((database, table)) => (format!("'{database}'"), table),
            None => ("DATABASE()".into(), self.name.as_str()),
        };
        format!(
            "SELECT ENGINE FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = '{table}'"
        )
    }

    /// A statement for each right that writing takes; it changes nothing, whoever may execute it.
    pub(crate) fn tries(&self) -> [(&'static str, String); 2] {
        let table = &self.quoted;
        [
            (
                "INSERT",
                format!(
                    "INSERT INTO {table} (version, data, id) \
                     SELECT version, data, id FROM {table} WHERE FALSE"
                ),
            ),
            ("UPDATE", format!("UPDATE {table} SET version = version, data = data WHERE FALSE")),
        ]
    }

    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// What an administrator types to let this account use it, the table being in that database.
    pub(crate) fn grant(&self, database: Option<&str>, account: Option<&str>) -> String {
        let place = match (self.name.split_once('.'), database) {
            (Some((database, table)), _) => {
                format!("{}.{}", quote(database, '`'), quote(table, '`'))
            }
            (None, Some(database)) => {
                format!("{}.{}", quote(database, '`'), quote(&self.name, '`'))
            }
            (None, None) => format!("DATABASE.{}", quote(&self.name, '`')),
        };
        let user = match account.and_then(|account| account.rsplit_once('@')) {
            Some((user, host)) => format!("{}@{}", quote(user, '\''), quote(host, '\'')),
            None => "USER".into(),
        };
        format!("GRANT SELECT, INSERT, UPDATE ON {place} TO {user}")
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new(DEFAULT).expect("it is an identifier")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What is read of a cell: what is known already need not be sent again.
///
/// A checksum, because whoever mends a cell by hand may leave its version; and whether the server is
/// read-only, because a node that has left its cluster is. The id shows how a table of strangers
/// compares it.
fn columns(version: &str, checksum: &str) -> String {
    format!(
        "version, CRC32(data), IF(version = {version} AND CRC32(data) = {checksum}, NULL, data), id, \
         CAST(@@global.read_only AS CHAR)"
    )
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

fn quote(text: &str, mark: char) -> String {
    format!("{mark}{}{mark}", text.replace(mark, &format!("{mark}{mark}")))
}

fn is_identifier(text: &str) -> bool {
    (1..=IDENTIFIER_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
        // MySQL takes a name of digits only for a number.
        && !text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_identifiers_are_tables() {
        for name in ["interlock", "Locks_2", "shop.locks", "a$", &"x".repeat(64)] {
            assert!(Table::new(name).unwrap().update.contains(&name.replace('.', "`.`")), "{name}");
        }
        for name in
            ["", ".", "a.", ".a", "a.b.c", "a b", "a`b", "a'b", "a-b", "é", "12", &"x".repeat(65)]
        {
            let error = Table::new(name).unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::Misconfigured, "{name}");
        }
    }

    #[test]
    fn the_grant_can_be_typed_as_it_is() {
        let table = Table::default();
        let grant = table.grant(Some("my-shop"), Some("o'neil@10.0.%"));
        let text = "GRANT SELECT, INSERT, UPDATE ON `my-shop`.`interlock` TO 'o''neil'@'10.0.%'";
        assert_eq!(grant, text);
        let grant = Table::new("ops.locks").unwrap().grant(Some("shop"), None);
        assert_eq!(grant, "GRANT SELECT, INSERT, UPDATE ON `ops`.`locks` TO USER");
    }

    #[test]
    fn the_migration_creates_the_table_by_any_name() {
        assert!(Table::default().create.contains("NOT EXISTS `interlock` ("));
        assert!(Table::new("shop.locks").unwrap().create.contains("NOT EXISTS `shop`.`locks` ("));
    }
}
