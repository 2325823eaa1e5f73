//! A key of Redis that is set if it is not there and expires: `SET NX PX`, and a script that deletes one's own.

use std::time::Duration;

use async_trait::async_trait;
use lock_bench_worker::{Approach, Failure, Held, POLL};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Script};

use super::owner;

/// When a key expires: a lock that is held for longer is lost, because nothing renews it here.
const EXPIRY: Duration = Duration::from_secs(10);

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const DELETE: &str =
    "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0";

/// A lock is held while its key is there.
pub(crate) struct SetNx {
    client: redis::Client,
    connection: MultiplexedConnection,
    delete: Script,
}

impl SetNx {
    pub(crate) async fn open(url: &str) -> Result<Self, Failure> {
        let client = redis::Client::open(url)?;
        let connection = connect(&client).await?;
        Ok(Self { client, connection, delete: Script::new(DELETE) })
    }
}

/// A connection that also waits for a server whose disk is slow.
async fn connect(client: &redis::Client) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

#[async_trait]
impl Approach for SetNx {
    async fn acquire(&self, name: &str) -> Result<Box<dyn Held>, Failure> {
        let (mut connection, owner) = (self.connection.clone(), owner());
        let mut set = redis::cmd("SET");
        set.arg(name).arg(&owner).arg("NX").arg("PX").arg(EXPIRY.as_secs() * 1000);
        while set.query_async::<Option<String>>(&mut connection).await?.is_none() {
            tokio::time::sleep(POLL).await;
        }
        let (client, delete) = (self.client.clone(), self.delete.clone());
        Ok(Box::new(Key { client, connection, delete, name: name.into(), owner }))
    }
}

struct Key {
    client: redis::Client,
    connection: MultiplexedConnection,
    delete: Script,
    name: String,
    owner: String,
}

#[async_trait]
impl Held for Key {
    async fn release(mut self: Box<Self>) -> Result<(), Failure> {
        let mut call = self.delete.prepare_invoke();
        call.key(&self.name).arg(&self.owner);
        let mut deleted = call.invoke_async::<u32>(&mut self.connection).await;
        if deleted.as_ref().is_err_and(redis::RedisError::is_unrecoverable_error) {
            // The server has ended since.
            self.connection = connect(&self.client).await?;
            deleted = call.invoke_async(&mut self.connection).await;
        }
        match deleted? {
            1 => Ok(()),
            _ => Err("it was not held any more".into()),
        }
    }
}
