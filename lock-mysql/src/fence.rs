//! Fencing in tables of your own: a write is refused once a newer holder of the lock has written.
//!
//! A holder that is paused for longer than its lease does not know that it has lost the lock, and goes
//! on writing as soon as it runs again: no check beforehand can prevent that. What can is the row that
//! it writes to, if that remembers the fence of whoever wrote last ([`Guard::fence`]) and refuses
//! smaller ones. Give the table a column for it:
//!
//! ```sql
//! ALTER TABLE account ADD COLUMN fence BIGINT UNSIGNED NOT NULL DEFAULT 0;
//! ```
//!
//! Then set it with every write, compare it in the same statement, and let [`update`] run that:
//!
//! ```
//! use lock_core::Guard;
//! use lock_mysql::fence::{self, FenceError};
//! use sqlx::MySqlPool;
//!
//! async fn pay(pool: &MySqlPool, guard: &Guard, id: u64, amount: i64) -> Result<(), FenceError> {
//!     let update = "UPDATE account SET balance = balance - ?, fence = ? WHERE id = ? AND fence <= ?";
//!     let update = sqlx::query(update).bind(amount).bind(guard.fence()).bind(id).bind(guard.fence());
//!     fence::update(pool, update).await?;
//!     Ok(())
//! }
//! ```
//!
//! `<=` lets one holder write as often as it likes. Fences of holds that conflict never go down, so
//! every row must be written under the same lock, or under locks of which each excludes the others.
//! If a request has several locks, bind [`Guard::fence_of`] the one that the row belongs to.
//!
//! # Several statements
//!
//! Run them in one transaction of yours, the fenced one first: what it has written is locked until
//! the transaction ends, and if it is refused nothing else is done.
//!
//! ```
//! # use lock_core::Guard;
//! # use lock_mysql::fence::{self, FenceError};
//! # use sqlx::MySqlPool;
//! async fn close(pool: &MySqlPool, guard: &Guard, id: u64) -> Result<(), FenceError> {
//!     let mut transaction = pool.begin().await?;
//!     let update = "UPDATE account SET closed = 1, fence = ? WHERE id = ? AND fence <= ?";
//!     let update = sqlx::query(update).bind(guard.fence()).bind(id).bind(guard.fence());
//!     fence::update(&mut *transaction, update).await?;
//!     let cards = sqlx::query("DELETE FROM card WHERE account = ?").bind(id);
//!     cards.execute(&mut *transaction).await?;
//!     transaction.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! Keep it short: whoever is paused in a transaction keeps its rows from the next holder, until the
//! server ends it. Never read or lock the row of Interlock's own table in a transaction of yours:
//! that stops every client of the namespace.
//!
//! # Rows that come and go
//!
//! A row that is not there has no fence. Create it without the lock's work in it, and then update it:
//!
//! ```sql
//! INSERT IGNORE INTO account (id, balance, fence) VALUES (?, 0, 0);
//! UPDATE account SET balance = ?, fence = ? WHERE id = ? AND fence <= ?;
//! ```
//!
//! Do not use `INSERT … ON DUPLICATE KEY UPDATE` with `IF(fence <= …)`: the server counts one row
//! also when nothing was written, so that a refusal looks like a success; [`update`] takes none.
//! Instead of deleting a row mark it as deleted, because a holder from before would create it anew.
//!
//! # Other clients than sqlx
//!
//! The statement is the same, but the count of rows may not be: where the client does not ask for
//! *matched* rows (`CLIENT_FOUND_ROWS`, as sqlx does) the server counts rows that *changed*, and one
//! holder that writes the same twice sees 0 as if it was refused.
//!
//! [`Guard::fence`]: lock_core::Guard::fence
//! [`Guard::fence_of`]: lock_core::Guard::fence_of

use sqlx::mysql::{MySql, MySqlArguments};
use sqlx::query::Query;
use sqlx::{Execute, Executor};

/// Why a fenced write was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// Nothing was written: the row has a greater fence, so a newer holder has written it; or there
    /// is no such row.
    #[error(
        "nothing was written: a newer holder of the lock has written the row, or it is not there"
    )]
    Refused,
    /// Nothing was sent, because it would not be fenced.
    #[error(
        "nothing was written: this statement is not fenced; write `UPDATE … SET …, fence = ? WHERE (…) \
         AND fence <= ?`"
    )]
    NotFenced,
    /// The database failed; if it cannot be told whether the write was done, do it again.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Runs an `UPDATE` that sets a fence and compares it, and tells how many rows it has written.
///
/// The [module](self) shows how to write one. It runs on whatever executes queries of sqlx: a pool, a
/// connection, a transaction. A row counts also if it had the same values before.
///
/// # Errors
///
/// [`FenceError::Refused`] when it has written no row. [`FenceError::NotFenced`] when the condition
/// compares no column by `<=` that the statement sets, or has an alternative to that (`OR`, `NOT`): nothing is
/// sent then. That finds the usual mistakes and is no proof, for the statement is not parsed as the
/// server does it. [`FenceError::Sql`] when the database fails.
///
/// # Cancel safety
///
/// If dropped, the write is done or not, as with any statement of sqlx. Doing it again is safe where
/// doing it twice is.
pub async fn update<'e>(
    executor: impl Executor<'e, Database = MySql>,
    mut update: Query<'_, MySql, MySqlArguments>,
) -> Result<u64, FenceError> {
    let arguments = update.take_arguments().map_err(sqlx::Error::Encode)?.unwrap_or_default();
    let persistent = Execute::persistent(&update);
    let sql = update.sql();
    if !is_fenced(sql.as_str()) {
        return Err(FenceError::NotFenced);
    }
    let update = sqlx::query_with(sql, arguments).persistent(persistent);
    match update.execute(executor).await?.rows_affected() {
        0 => Err(FenceError::Refused),
        rows => Ok(rows),
    }
}

/// Whether a statement sets a column that its condition compares by `<=`, with no alternative to that.
///
/// It knows no more of SQL than it takes to see the usual mistakes.
fn is_fenced(sql: &str) -> bool {
    let mut sql = sql.to_ascii_lowercase().replace('`', "").replace("<=", " <eq ");
    for sign in ["(", ")", ",", "=", "||", "!"] {
        sql = sql.replace(sign, &format!(" {sign} "));
    }
    sql = sql.replace("!  =", "<>");
    let words: Vec<&str> = sql.split_whitespace().collect();
    let Some(index) = words.iter().position(|word| *word == "where") else { return false };
    let (set, condition) = words.split_at(index);
    let name = |word: &str| word.rsplit('.').next().unwrap_or_default().to_owned();
    let is_set = |column: &str| {
        let mut places = set.windows(4).map(|four| [four[0], four[1], four[2], four[3]]);
        places.any(|[before, to, sign, value]| {
            let is_whole = matches!(before, "set" | ",") && sign == "=";
            is_whole && name(to) == column && name(value) != column
        })
    };
    // Of each parenthesis that is open: whether it has alternatives, and whether the fence is in it.
    let mut open = vec![(false, false)];
    for (at, word) in condition.iter().enumerate() {
        let innermost = open.len() - 1;
        match *word {
            "(" => open.push((matches!(condition[at - 1], "not" | "!"), false)),
            ")" if innermost > 0 && open[innermost] == (true, true) => return false,
            ")" if innermost > 0 => {
                open[innermost - 1].1 |= open[innermost].1;
                open.pop();
            }
            "not" | "!" if condition.get(at + 2) == Some(&"<eq") => open[innermost].0 = true,
            "or" | "xor" | "||" => open[innermost].0 = true,
            "<eq" if condition.get(at + 1).is_some_and(|next| !next.starts_with('>')) => {
                let column = name(condition[at - 1]);
                open[innermost].1 |= is_set(&column) && name(condition[at + 1]) != column;
            }
            _ => {}
        }
    }
    set.first() == Some(&"update") && open == [(false, true)]
}

#[cfg(test)]
mod tests {
    use super::is_fenced;

    #[test]
    fn only_an_update_that_sets_what_it_compares_is_fenced() {
        for sql in [
            "UPDATE t SET a = ?, fence = ? WHERE id = ? AND fence <= ?",
            "update `t` set `fence`=? where(`fence`<=?)and id=?",
            "UPDATE t SET fence = ? WHERE (id = ? OR (name = ? AND day <= ?)) AND fence <= ?",
            "UPDATE t SET fence = ? WHERE a IS NOT NULL AND b NOT IN (?) AND c != ? AND fence <= ?",
            "UPDATE t SET fence = ? WHERE NOT (a = ? AND b) AND fence <= ?",
            "UPDATE t\n  SET t.f_1 = ?,\n  whereabouts = ?\nWHERE day <= ? AND t.f_1 <= ?",
        ] {
            assert!(is_fenced(sql), "{sql}");
        }
        for sql in [
            "",
            "UPDATE t SET a = ?, fence = ?",
            "UPDATE t SET a = ?, fence = ? WHERE id = ?",
            "UPDATE t SET a = ? WHERE id = ? AND fence <= ?",
            "UPDATE t SET a = ?, fence = ? WHERE id = ? AND fence < ?",
            "UPDATE t SET old_fence = ?, a = ? WHERE id = ? AND fence <= ?",
            "UPDATE t SET a = b = ?, fences = ? WHERE b <= ?",
            "UPDATE t SET fence = fence WHERE fence <= ?",
            "UPDATE t SET fence = ? WHERE 1 <= ?",
            "UPDATE t SET fence = ? WHERE fence <=> ?",
            "UPDATE t SET fence = ? WHERE id = ? OR fence <= ?",
            "UPDATE t SET fence = ? WHERE id = ? || fence<=?",
            "UPDATE t SET fence = ? WHERE id = ? AND (a = 1 XOR (fence <= ?))",
            "UPDATE t SET fence = ? WHERE id = ? AND (fence <= ?",
            "UPDATE t SET a = fence WHERE fence <= ?",
            "UPDATE t SET fence = ? WHERE id = ? AND NOT (fence <= ?)",
            "UPDATE t SET fence = ? WHERE id = ? AND !(fence <= ?)",
            "UPDATE t SET fence = ? WHERE id = ? AND NOT fence <= ?",
            "UPDATE t SET fence = ? WHERE id = ? AND fence <= fence",
            "DELETE FROM t WHERE fence <= ?",
            "INSERT INTO t VALUES (?) ON DUPLICATE KEY UPDATE fence = IF(fence <= ?, ?, fence)",
        ] {
            assert!(!is_fenced(sql), "{sql}");
        }
    }
}
