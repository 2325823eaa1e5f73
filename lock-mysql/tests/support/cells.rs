//! What is done to the table of a store behind the back of the backend.

use lock_conformance::{Damage, Verdict};
use lock_core::Snapshot;
use lock_mysql::MIGRATION;

use super::sql;

/// The statement that puts a cell into the table, as restoring a dump does.
pub(crate) fn put(cell: &Snapshot) -> String {
    let data = cell.data.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let version = cell.version;
    format!("REPLACE INTO interlock (id, version, data) VALUES ('default', {version}, x'{data}')")
}

/// Puts another table in the place of the one that is there.
pub(crate) fn replace(url: &str, cell: Option<&Snapshot>) -> Verdict {
    let put = cell.map(put);
    let create = MIGRATION.replacen("interlock", "another", 1);
    let mut steps =
        vec![create.as_str(), "DROP TABLE interlock", "RENAME TABLE another TO interlock"];
    steps.extend(put.as_deref());
    sql(url, &steps)
}

/// Damages the cell, and keeps what it was.
pub(crate) fn damage(url: &str, how: Damage) -> Option<Verdict> {
    let keep = "CREATE TABLE aside LIKE interlock; INSERT INTO aside SELECT * FROM interlock";
    let harm = match how {
        Damage::Truncated => "UPDATE interlock SET data = LEFT(data, LENGTH(data) / 2)",
        Damage::Garbage => "UPDATE interlock SET data = REPEAT('\u{1}noise', 100)",
        Damage::Foreign => {
            "DROP TABLE interlock; CREATE TABLE interlock (name VARCHAR(9) PRIMARY KEY); \
             INSERT INTO interlock VALUES ('x')"
        }
        _ => return None,
    };
    Some(sql(url, &[keep, harm]))
}

/// Undoes what [`damage`] did.
pub(crate) fn repair(url: &str) -> Verdict {
    sql(url, &["DROP TABLE interlock", "RENAME TABLE aside TO interlock"])
}
