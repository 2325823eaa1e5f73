//! A server for the pages that need one.

use std::{env, fs, os::unix::fs::PermissionsExt, sync::OnceLock};

use lock_servers::{Instance, Kind};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, mysql::MySqlConnectOptions};

/// The URL of a database `shop` for the user `shop`, as in the pages; none where there is no server.
pub(crate) fn url() -> Option<String> {
    static SERVER: OnceLock<Option<(Instance, tempfile::TempDir, String)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let instance = match Instance::start(Kind::MariaDb) {
            Ok(instance) => instance,
            Err(error) if error.is_unavailable() && env::var("CI").as_deref() != Ok("true") => {
                eprintln!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let root: MySqlConnectOptions = instance.url().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = root.connect().await.unwrap();
            for sql in [
                "CREATE DATABASE shop",
                "CREATE USER shop@'%' IDENTIFIED BY 'secret'",
                "GRANT CREATE, SELECT, INSERT, UPDATE ON shop.* TO shop@'%'",
            ] {
                connection.execute(AssertSqlSafe(sql)).await.unwrap();
            }
            connection.close().await.unwrap();
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        fs::write(&file, "secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let (host, port, file) = (root.get_host(), root.get_port(), file.display());
        let url = format!("mysql://shop@{host}:{port}/shop?password-file={file}");
        Some((instance, dir, url))
    });
    server.as_ref().map(|(_, _, url)| url.clone())
}
