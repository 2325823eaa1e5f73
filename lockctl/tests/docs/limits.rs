//! The numbers in `docs/limits.md` are those of the code.

use std::path::Path;

use crate::tree::text;

/// Where a limit is set, how, and the row of the page with the number as it says it.
const LIMITS: [(&str, &str, &str, &str); 24] = [
    ("lock-core/src/name.rs", "BYTES_MAX: usize = 512;", "name of a lock", "512 bytes"),
    ("lock-core/src/options.rs", "NAMESPACE_BYTES_MAX: usize = 255;", "namespace", "255 bytes"),
    ("lock-file/src/place.rs", "NAME_BYTES_MAX: usize = 240;", "namespace", "240"),
    ("lock-mysql/src/table.rs", "IDENTIFIER_MAX: usize = 64;", "table in MySQL", "64 characters"),
    ("lock-core/src/request.rs", "Limit(u32)", "holders of a limit", "2^32 − 1"),
    ("lock-core/src/ids.rs", "DEPTH_MAX: usize = 64;", "nesting of tasks", "64 deep"),
    ("lock-core/src/backend.rs", "MAX: Self = Self(1 << 53);", "version", "2^53"),
    (
        "lock-core/src/builder.rs",
        "TABLE_BYTES_MAX: usize = 8 << 20;",
        "table of a namespace",
        "8 MiB",
    ),
    ("lock-mysql/src/session.rs", "PACKET_REST: u64 = 4096;", "statement to MySQL", "4,096 bytes"),
    ("lock-file/src/folder.rs", "FILE_BYTES_MAX: u64 = 1 << 30;", "file of a namespace", "1 GiB"),
    ("lock-file/src/excl.rs", "KEEP: usize = 32;", "files of a namespace", "32 to 64"),
    ("lock-file/src/excl.rs", "MOST: usize = 64;", "files of a namespace", "32 to 64"),
    ("lock-core/src/builder.rs", "LEASE: Duration = Duration::from_secs(60);", "lease", "60 s"),
    (
        "lock-core/src/builder.rs",
        "LEASE_MIN: Duration = Duration::from_secs(1);",
        "lease",
        "1 s to a year",
    ),
    (
        "lock-core/src/builder.rs",
        "TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);",
        "lease",
        "1 s to a year",
    ),
    ("lock-core/src/driver/lease.rs", "RENEWALS: u32 = 3;", "renewal", "a third"),
    ("lock-core/src/driver/lease.rs", "MARGIN: u32 = 10;", "a holder is in doubt", "nine tenths"),
    (
        "lock-core/src/builder.rs",
        "PATIENCE: Duration = Duration::from_secs(30);",
        "patience",
        "30 s",
    ),
    (
        "lock-core/src/server/call.rs",
        "CALL_TIMEOUT: Duration = Duration::from_secs(5);",
        "one call",
        "5 s",
    ),
    ("lock-mysql/src/session.rs", "LOCK_WAIT_SECONDS: u32 = 2;", "a statement of MySQL", "2 s"),
    ("lock-mysql/src/table.rs", "TURN_MILLISECONDS: u32 = 50;", "a turn of MySQL", "50 ms"),
    (
        "lock-redis/src/session.rs",
        "REPLICAS_MILLISECONDS: u32 = 2_000;",
        "replicas of Redis",
        "2 s",
    ),
    ("lock-core/src/driver/deaths.rs", "WATCHES_MAX: usize = 64;", "processes that", "64"),
    ("lockctl/src/history/journal.rs", "BYTES_MAX: u64 = 4 << 20;", "journal", "4 MiB"),
];

#[test]
fn the_numbers_of_the_page_are_those_of_the_code() {
    let page = text(Path::new("docs/limits.md"));
    for (file, code, what, number) in LIMITS {
        assert!(text(Path::new(file)).contains(code), "{file} has no {code:?}: what of {what:?}?");
        let row = page.lines().find(|line| line.starts_with(&format!("| {what}")));
        let row = row.unwrap_or_else(|| panic!("docs/limits.md has no row of {what:?}"));
        assert!(row.contains(number), "docs/limits.md says of {what:?} not {number:?}");
    }
}
