//! A crate of somebody else: tested as that would be, outside of this workspace.

use std::path::Path;

use crate::{Failure, a_cargo};

/// Its tests: those of its code, and the suite's of its store, as a cell and with locks in it.
const TESTS: [&[&str]; 3] = [
    &["--lib", "--test", "reports"],
    &["--test", "conformance", "--", "::contract::"],
    &["--test", "conformance", "--", "::handles::"],
];

/// Builds and tests it against the crates as others see them: public items, and only the features that
/// it names.
pub(crate) fn test() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = root.join("target/downstream");
    for tests in TESTS {
        let status = a_cargo()
            .args(["test", "--quiet", "--locked", "--manifest-path"])
            .arg(root.join("examples/downstream/Cargo.toml"))
            .args(tests)
            .env("CARGO_TARGET_DIR", &target)
            // Not among the results of this workspace's own backends.
            .env("LOCK_CONFORMANCE_RESULTS", target.join("conformance"))
            .status()
            .map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("cargo test {}: {status}", tests.join(" ")));
        }
    }
    Ok(())
}
