//! What the server runs: every command on the cell is a script, called by its hash.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind, cmd};

/// Reads the cell.
pub(crate) static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/read.lua")));
/// Swaps the cell; refused by a server that has no memory left.
pub(crate) static SWAP: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!("#!lua\n", include_str!("scripts/swap.lua"))));
/// The same, for one argument more: what is not larger than before takes no memory.
pub(crate) static SHRINK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!("#!lua flags=allow-oom\n", include_str!("scripts/swap.lua")))
});
/// Asks which rights are missing for a swap.
pub(crate) static LACKING: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/lacking.lua")));
/// Writes the cell as it is.
pub(crate) static TOUCH: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/touch.lua")));

/// Calls a script on a key, and loads it first if the server does not know it.
pub(crate) async fn call<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    script: &Script,
    key: &str,
    arguments: &[&[u8]],
) -> RedisResult<T> {
    let mut call: Cmd = cmd("EVALSHA");
    call.arg(script.get_hash()).arg(1).arg(key).arg(arguments);
    match call.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            // It has restarted, somebody has emptied its cache, or it was never asked before.
            script.load_async(connection).await?;
            call.query_async(connection).await
        }
        result => result,
    }
}
