//! Crates of somebody else: tested as they would be, outside of this workspace.

use std::fs;

use crate::steps::{Failure, a_cargo, root};

/// Its tests: those of its code, and the suite's of its store, as a cell and with locks in it.
const TESTS: [&[&str]; 3] = [
    &["--lib", "--test", "reports"],
    &["--test", "conformance", "--", "::contract::"],
    &["--test", "conformance", "--", "::handles::"],
];

/// Builds and tests it against the crates as others see them: public items, and only the features that
/// it names.
pub(crate) fn test() -> Result<(), Failure> {
    let target = root().join("target/downstream");
    for tests in TESTS {
        let status = a_cargo()
            .args(["test", "--quiet", "--locked", "--manifest-path"])
            .arg(root().join("examples/downstream/Cargo.toml"))
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

/// Puts what the README shows, its `Cargo.toml` and each of its programs, into an empty crate, and has it
/// checked there.
pub(crate) fn readme() -> Result<(), Failure> {
    let text = fs::read_to_string(root().join("README.md")).map_err(|e| e.to_string())?;
    let ours = format!("\"{}/", root().display());
    let [manifest] = &blocks(&text, "toml")[..] else { return Err("it has one manifest".into()) };
    let manifest = manifest.replace("\"../interlock/", &ours);
    let programs = blocks(&text, "rust");
    if programs.is_empty() {
        return Err("the README has no program".into());
    }
    let target = root().join("target/downstream");
    for (number, program) in programs.iter().enumerate() {
        let folder = target.join(format!("readme-{number}"));
        let write = |name: &str, text: &str| fs::write(folder.join(name), text);
        let name =
            format!("[package]\nname = \"readme-{number}\"\nedition = \"2024\"\n[workspace]\n");
        fs::create_dir_all(folder.join("src"))
            .and_then(|()| write("Cargo.toml", &(name + &manifest)))
            .and_then(|()| write("src/main.rs", program))
            // The same releases as here, of which all are there.
            .and_then(|()| fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")))
            .map_err(|e| format!("{}: {e}", folder.display()))?;
        let status = a_cargo()
            .args(["check", "--quiet", "--manifest-path"])
            .arg(folder.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("program {number} of the README: {status}"));
        }
    }
    Ok(())
}

/// The blocks of a page in this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let of_language = |info: &str| info.split(',').next() == Some(language);
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```").is_some_and(of_language) {
            let block = lines.by_ref().take_while(|line| *line != "```");
            blocks.push(block.flat_map(|line| [line, "\n"]).collect());
        }
    }
    blocks
}
