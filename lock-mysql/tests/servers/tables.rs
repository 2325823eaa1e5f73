//! The table: how it is made, what tells its rows apart, and what is wrong with a table of strangers.

use lock_core::{BackendErrorKind, LockBackend, Locks, Snapshot, Swap, Version};
use lock_mysql::{MIGRATION, MySqlOptions};
use lock_servers::Kind;
use sqlx::{AssertSqlSafe, Executor, Row};

use crate::place::{Place, everywhere, expect, on_own, swap};

#[test]
fn namespaces_are_told_apart_byte_for_byte() {
    everywhere(async |place| {
        let long = "x".repeat(255);
        let names = [
            "n",
            "N",
            "n ",
            " n",
            "n  ",
            "\u{f1}",
            "n\u{303}",
            "\u{d1}",
            "ß",
            "ss",
            "🔒",
            "🔓",
            "%",
            "_",
            "n\u{200b}",
            "'; --",
            "\\",
            "0",
            "00",
            &long,
            &long[1..],
        ];
        let open = |name: &str| {
            MySqlOptions::from_url(&place.url()).unwrap().namespace(name).build().unwrap()
        };
        for (index, name) in names.iter().enumerate() {
            let backend = open(name);
            assert_eq!(backend.load().await.unwrap(), Snapshot::default(), "{name:?}");
            let data = format!("{{\"n\":{index}}}");
            assert_eq!(swap(&backend, 0, &data).await.unwrap(), Swap::Swapped, "{name:?}");
        }
        for (index, name) in names.iter().enumerate() {
            let cell = open(name).load().await.unwrap();
            assert_eq!(cell.data, format!("{{\"n\":{index}}}").into_bytes(), "{name:?}");
            // Turns are apart, too: nobody waits for another namespace.
            let other = open(names[(index + 1) % names.len()]);
            let mine = open(name);
            assert!(mine.load_in_turn().await.unwrap().is_some(), "{name:?}");
            assert!(other.load_in_turn().await.unwrap().is_some(), "{name:?}");
        }
        let rows = place.count("SELECT COUNT(*) FROM interlock").await;
        assert_eq!(usize::try_from(rows).unwrap(), names.len());
        for name in ["", "n\0", "a\nb", &"x".repeat(256)] {
            let refused = MySqlOptions::from_url(&place.url()).unwrap().namespace(name).build();
            let kind = refused.unwrap_err().kind();
            assert_eq!(kind, BackendErrorKind::Misconfigured, "{name:?}");
        }
    });
}

/// What a table is like, in words that both kinds of server share.
async fn shape(place: &Place, table: &str) -> Vec<String> {
    let mut connection = place.connect().await;
    let sql = format!(
        "SELECT CONCAT_WS(' ', column_name, REPLACE(column_type, 'bigint(20)', 'bigint'), is_nullable, NULLIF(column_key, ''), \
         COALESCE(collation_name, '-'), column_comment, engine, table_comment) \
         FROM information_schema.columns JOIN information_schema.tables \
         USING (table_schema, table_name) \
         WHERE table_schema = '{0}' AND table_name = '{table}' ORDER BY ordinal_position",
        place.name
    );
    let rows = connection.fetch_all(AssertSqlSafe(sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
}

#[test]
fn both_ways_make_the_same_table_on_both_servers() {
    everywhere(async |place| {
        let create = "SHOW CREATE TABLE interlock";
        place.run(&["DROP TABLE interlock", MIGRATION]).await;
        let by_file = place.text(create, 1).await;
        place.run(&["DROP TABLE interlock"]).await;
        let backend = place.backend();
        backend.migrate().await.unwrap();
        assert_eq!(place.text(create, 1).await, by_file);
        println!("{by_file}");
        assert_eq!(swap(&backend, 0, "{}").await.unwrap(), Swap::Swapped);
        backend.migrate().await.expect("it is there");
        assert_eq!(backend.load().await.unwrap().version, Version(1), "nothing is lost by it");
        let shape = shape(place, "interlock").await;
        let columns = [
            "id varbinary(255) NO PRI - namespace, compared byte for byte",
            "version bigint unsigned NO - grows with every change",
            "data longtext NO utf8mb4_bin who holds and waits",
        ];
        assert_eq!(shape, columns.map(|column| format!("{column} InnoDB locks of Interlock")));

        let other = place.backend_with("table=Other_1$");
        expect(place, other.load().await, BackendErrorKind::Misconfigured, &[1146], "Other_1$");
        other.migrate().await.unwrap();
        assert_eq!(swap(&other, 0, "{}").await.unwrap(), Swap::Swapped);
        let renamed = place.text("SHOW CREATE TABLE Other_1$", 1).await;
        assert_eq!(renamed.replace("Other_1$", "interlock"), by_file);
    });
}

#[test]
fn a_table_of_strangers_is_named_at_the_first_use() {
    everywhere(async |place| {
        let says = "the table interlock is not as the SQL file";
        let wrong = BackendErrorKind::Misconfigured;
        for (columns, rows) in [
            ("name TEXT", ""),
            ("id VARCHAR(255) PRIMARY KEY, data LONGTEXT", ""),
            ("id INT PRIMARY KEY, version BIGINT, data LONGTEXT", "(0, 1, '{}')"),
            (
                "id VARCHAR(255) PRIMARY KEY COLLATE utf8mb4_general_ci, version BIGINT UNSIGNED, \
                 data LONGTEXT",
                "('DEFAULT', 1, '{}')",
            ),
            (
                "id VARCHAR(255) PRIMARY KEY COLLATE utf8mb4_general_ci, version BIGINT UNSIGNED, \
                 data LONGTEXT",
                "('default ', 1, '{}')",
            ),
            (
                "id VARBINARY(255), version BIGINT UNSIGNED, data LONGTEXT",
                "('default', 1, '{}'), ('default', 1, '{}')",
            ),
            (
                "id VARBINARY(255) PRIMARY KEY, version TEXT, data LONGTEXT",
                "('default', 'x', '{}')",
            ),
        ] {
            println!("{columns} {rows}");
            place
                .run(&["DROP TABLE interlock", &format!("CREATE TABLE interlock ({columns})")])
                .await;
            let backend = place.backend();
            backend.migrate().await.expect("there is a table of that name");
            if !rows.is_empty() {
                place.run(&[&format!("INSERT INTO interlock VALUES {rows}")]).await;
            }
            let error = backend.load().await.expect_err(columns);
            println!("{error:?}");
            assert!(error.to_string().contains(says) && error.kind() == wrong, "{error}");
            let locks = Locks::new(place.backend());
            let error = locks.try_acquire("a").await.expect_err(columns);
            assert!(error.to_string().contains(says), "{error}");
            drop(locks);
        }
    });
}

#[test]
fn a_table_that_cannot_keep_what_it_is_given_keeps_none_of_it() {
    // Servers that would cut off what does not fit, and say nothing.
    on_own(
        |_| vec!["--sql-mode=".into()],
        async |place| {
            let id = "id VARBINARY(255) NOT NULL PRIMARY KEY";
            let wrong = BackendErrorKind::Misconfigured;
            for (columns, kind, numbers) in [
                (format!("{id}, version BIGINT, data TEXT CHARACTER SET utf8mb4"), BackendErrorKind::TooLarge, &[1406][..]),
                (format!("{id}, version INT, data LONGTEXT CHARACTER SET utf8mb4"), wrong, &[1264][..]),
                (
                    format!("{id}, version BIGINT, data LONGTEXT CHARACTER SET latin1"),
                    wrong,
                    &[1366, 3988][..],
                ),
                (
                    "id VARBINARY(3) PRIMARY KEY, version BIGINT, data LONGTEXT CHARACTER SET utf8mb4".into(),
                    BackendErrorKind::TooLarge,
                    &[1406][..],
                ),
                (format!("{id}, version BIGINT, data LONGTEXT CHARACTER SET utf8mb4, more INT NOT NULL"), wrong, &[1364][..]),
            ] {
                println!("{columns}");
                place
                    .run(&["DROP TABLE interlock", &format!("CREATE TABLE interlock ({columns})")])
                    .await;
                let data = format!("\"🔒{}\"", "x".repeat(70_000));
                let backend = place.backend();
                let swapped = backend
                    .compare_and_swap(Version::ABSENT, Version(1 << 50), data.as_bytes())
                    .await;
                expect(place, swapped, kind, numbers, "");
                assert_eq!(place.count("SELECT COUNT(*) FROM interlock").await, 0);
            }
            // What this server calls a text is also good enough.
            if place.kind == Kind::MariaDb {
                place.run(&["DROP TABLE interlock"]).await;
                place
                    .run(&[&format!(
                        "CREATE TABLE interlock ({id}, version BIGINT UNSIGNED, data JSON)"
                    )])
                    .await;
                let locks = Locks::new(place.backend());
                locks.acquire("a").await.unwrap().release().await.unwrap();
                locks.close().await.unwrap();
            }
        },
    );
}

#[test]
fn data_of_strangers_is_left_as_it_is() {
    everywhere(async |place| {
        place.run(&["INSERT INTO interlock VALUES ('default', 5, 'not JSON')"]).await;
        let locks = Locks::new(place.backend());
        let error = locks.try_acquire("a").await.unwrap_err();
        println!("{error}");
        assert!(error.to_string().contains(locks.store()), "{error}");
        let lock_core::AcquireError::Store(error) = error else { panic!("{error:?}") };
        assert!(error.is_misconfigured());
        locks.close().await.unwrap();
        assert_eq!(place.count("SELECT CAST(version AS SIGNED) FROM interlock").await, 5);
        assert_eq!(place.text("SELECT data FROM interlock", 0).await, "not JSON");
    });
}
