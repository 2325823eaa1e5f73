//! Servers for the pages that need one.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt, process::Command};

use lock_servers::{Error, Instance, Kind, RedisKind, RedisServer};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, mysql::MySqlConnectOptions};

/// What a block may need.
pub(crate) const KINDS: [&str; 2] = ["mysql", "redis"];

/// A server that stands for that of the pages; it ends with this value.
pub(crate) struct Server {
    /// How the pages call it.
    pub(crate) named: &'static str,
    /// Where it is.
    pub(crate) url: String,
    /// Programs that find it without being told where it is, and scripts that are these.
    pub(crate) clients: Vec<(&'static str, String)>,
    /// Whoever may do everything, if it takes statements.
    root: Option<MySqlConnectOptions>,
    _process: Box<dyn std::any::Any>,
}

impl Server {
    /// Has statements executed, by one who may do everything.
    pub(crate) fn execute(&self, statements: &str) -> sqlx::Result<()> {
        let root = self.root.clone().expect("it takes statements").database("shop");
        execute(&root, &[statements])
    }
}

/// Starts one; none where there is no such program.
pub(crate) fn start(needs: &str) -> Option<Server> {
    let started = match needs {
        "mysql" => mysql(),
        _ => redis(),
    };
    match started {
        Ok(server) => Some(server),
        Err(error) if error.may_be_skipped() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A database `shop` for the user `shop`.
fn mysql() -> Result<Server, Error> {
    let instance = Instance::start(Kind::MariaDb)?;
    let root: MySqlConnectOptions = instance.url().parse().unwrap();
    let statements = [
        "CREATE DATABASE shop",
        "CREATE USER shop@'%' IDENTIFIED BY 'secret'",
        "GRANT CREATE, SELECT, INSERT, UPDATE ON shop.* TO shop@'%'",
    ];
    execute(&root, &statements).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let (host, port, file) = (root.get_host(), root.get_port(), file.display());
    Ok(Server {
        named: "mysql://shop@db.internal/shop?password-file=/etc/shop/password",
        url: format!("mysql://shop@{host}:{port}/shop?password-file={file}"),
        clients: Vec::new(),
        root: Some(root),
        _process: Box::new((instance, dir)),
    })
}

/// With its client, which the pages call where the server is.
fn redis() -> Result<Server, Error> {
    let server = RedisServer::start(RedisKind::Redis)?;
    Ok(Server {
        named: "redis://localhost",
        url: server.url(),
        clients: vec![("redis-cli", script(&server.client()?))],
        root: None,
        _process: Box::new(server),
    })
}

fn execute(who: &MySqlConnectOptions, statements: &[&str]) -> sqlx::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = who.connect().await?;
        for sql in statements {
            connection.execute(AssertSqlSafe(*sql)).await?;
        }
        connection.close().await
    })
}

/// A script that is this command, with more arguments.
fn script(command: &Command) -> String {
    let mut script = String::from("#!/bin/sh\nexec env");
    for (name, value) in command.get_envs() {
        let _ = write!(script, " '{}={}'", name.display(), value.unwrap_or_default().display());
    }
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let _ = write!(script, " '{}'", word.display());
    }
    script + " \"$@\"\n"
}
