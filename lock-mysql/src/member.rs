//! Whether a server is where it belongs: in its cluster, on the side of the majority.

use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::error::{is_not_to_be_called, is_unknown_variable};
use crate::session::IDLE_MIN_SECONDS;

/// Whether a server has lost its cluster; one that has none has not.
///
/// It also has a member of a cluster wait, before it reads, until what others have committed has been
/// applied there.
pub(crate) async fn is_apart(
    connection: &mut MySqlConnection,
    has_wsrep: bool,
) -> Result<bool, sqlx::Error> {
    if has_wsrep { is_no_node(connection).await } else { is_no_member(connection).await }
}

/// Whether this is a node of Galera that does not see more than half of the nodes.
async fn is_no_node(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    // Waits also before a swap, which would find an old version, and so a conflict where there is none. Reading what
    // is out of date, which a node may allow everybody, would not wait.
    let ready = "SELECT @@session.wsrep_on; SHOW GLOBAL STATUS LIKE 'wsrep_ready'; \
                 SET @@session.wsrep_sync_wait = 3, @@session.wsrep_dirty_reads = OFF";
    let rows = connection.fetch_all(ready).await?;
    let [node, ready, ..] = &rows[..] else { return Ok(false) };
    let is_ready = ready.try_get_unchecked::<&str, _>(1)? == "ON";
    Ok(node.try_get_unchecked::<i64, _>(0)? != 0 && !is_ready)
}

/// Whether this is a member of a group that is not online, or does not see more than half of the
/// members.
async fn is_no_member(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    // Some releases know both variables only where the plugin is there, some one of them always.
    let wait = "SET @@session.group_replication_consistency = 'BEFORE'; \
                SELECT @@global.group_replication_group_name";
    let name: Option<String> = match connection.fetch_one(wait).await {
        Err(error) if is_unknown_variable(&error) => return Ok(false),
        name => name?.try_get_unchecked(0)?,
    };
    if name.is_none_or(|name| name.is_empty()) {
        return Ok(false);
    }
    // For as long as this the server keeps a statement that waits for what others have committed, also when its client
    // has given up and gone: https://dev.mysql.com/doc/refman/9.0/en/group-replication-configuring-consistency-guarantees.html
    let idle = format!("SET @@session.wait_timeout = {IDLE_MIN_SECONDS}");
    connection.execute(AssertSqlSafe(idle)).await?;
    // Nobody needs a right for it, as for the table of the members, and it is refused elsewhere.
    match connection.fetch_one("SELECT group_replication_get_communication_protocol()").await {
        Err(error) if is_not_to_be_called(&error) => Ok(true),
        other => other.map(|_| false),
    }
}
