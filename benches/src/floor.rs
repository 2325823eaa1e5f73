//! The floor: the one bare statement that a swap consists of, on a cell of its own.

use std::time::{Duration, Instant};

use redis::Script;

use crate::Failure;
use crate::store::{Connection, Server};

/// The statement, and where it is sent.
pub(crate) struct Floor {
    connection: Connection,
    id: String,
    version: u64,
    script: Script,
}

impl Floor {
    pub(crate) async fn new(server: &Server, data: &str) -> Result<Self, Failure> {
        let (_, id) = server.fresh();
        let script = include_str!("../../lock-redis/src/scripts/swap.lua");
        let script = Script::new(&format!("#!lua\n{script}"));
        let mut floor = Self { connection: server.connect().await?, id, version: 1, script };
        match &mut floor.connection {
            Connection::Sql(connection) => {
                sqlx::query("INSERT INTO interlock (version, data, id) VALUES (1, ?, ?)")
                    .bind(data)
                    .bind(floor.id.as_bytes())
                    .execute(connection)
                    .await?;
            }
            Connection::Redis(connection) => {
                floor.script.load_async(connection).await?;
                let mut set = redis::cmd("HSET");
                set.arg(&floor.id).arg("version").arg(1).arg("data").arg(data);
                set.query_async::<()>(connection).await?;
            }
        }
        Ok(floor)
    }

    /// How long one takes.
    pub(crate) async fn swap(&mut self, data: &str) -> Result<Duration, Failure> {
        let start = Instant::now();
        let changed = match &mut self.connection {
            Connection::Sql(connection) => sqlx::query(
                "UPDATE interlock SET version = ?, data = ? WHERE id = ? AND version = ?",
            )
            .bind(self.version + 1)
            .bind(data)
            .bind(self.id.as_bytes())
            .bind(self.version)
            .execute(connection)
            .await?
            .rows_affected(),
            Connection::Redis(connection) => {
                let mut call = redis::cmd("EVALSHA");
                call.arg(self.script.get_hash()).arg(1).arg(&self.id).arg(self.version);
                call.arg(self.version + 1).arg(data).arg(&self.id);
                call.query_async(connection).await?
            }
        };
        let took = start.elapsed();
        if changed != 1 {
            return Err("the bare swap changed nothing".into());
        }
        self.version += 1;
        Ok(took)
    }
}
