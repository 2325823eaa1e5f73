//! What the README says of MySQL and MariaDB is done to real servers: its statements, its program.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use lock_mysql::sqlx::{self, AssertSqlSafe, Connection, MySqlConnection};
use lock_servers::{Instance, Kind};

/// The URL in the program.
const URL: &str = env!("README_URL");

/// Servers of both kinds, as far as there are any.
fn servers() -> Vec<Instance> {
    let started = Kind::ALL.into_iter().map(Instance::start).filter_map(|started| match started {
        Ok(server) => Some(server),
        Err(error) if error.may_be_skipped() => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    });
    started.collect()
}

/// The README's statements, for a first try as it tells.
fn statements() -> String {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = page.split("\n### On MySQL or MariaDB\n").nth(1).expect("there is the section");
    let block = section.split("\n```sql\n").nth(1).expect("it has statements");
    let statements = block.split("```").next().unwrap();
    for word in ["'10.0.%'", "'…'"] {
        assert!(statements.contains(word), "{word} is not in {statements}");
    }
    statements.replace("'10.0.%'", "'127.0.0.1'").replace("'…'", "'secret'")
}

fn execute(url: &str, statements: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async {
        let mut connection = MySqlConnection::connect(url).await?;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await?;
        connection.close().await
    });
    done.unwrap();
}

fn program(url: &str) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_readme-mysql")).env("SHOP_STORE", url).output();
    program.unwrap()
}

/// The fence with which the program says that it saves.
fn fence(url: &str) -> u64 {
    let output = program(url);
    let (said, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{url}: {}: {said}{error}", output.status);
    let fence = said.trim().strip_prefix("saving with fence ").expect(&said);
    fence.parse().expect(fence)
}

#[test]
fn who_follows_the_readme_has_a_lock() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "secret\n").unwrap();
    for server in servers() {
        execute(&server.url(), statements());
        let mut url = URL.to_owned();
        let address = server.address().to_string();
        for (named, is) in
            [("db.internal", &*address), ("/etc/shop/password", file.to_str().unwrap())]
        {
            assert!(url.contains(named), "{named} is not in {url}");
            url = url.replace(named, is);
        }

        let chmod = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o644);
        let refused = program(&url);
        assert!(!refused.status.success(), "{}: the file is for all", server.kind());

        chmod(0o600);
        let first = fence(&url);
        assert!(fence(&url) > first, "{}: the table is there, and remembers", server.kind());
    }
}

/// As `cargo xtask servers` makes them.
#[test]
fn a_server_to_try_it_on_takes_the_program() {
    for server in servers() {
        server.create("interlock").unwrap();
        fence(&format!("{}/interlock", server.url()));
    }
}
