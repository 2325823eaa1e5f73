//! What a release has to pass besides the tests: features, documentation, licences of dependencies, packages, long
//! commands.

use std::{env, fs, path::PathBuf};

use crate::{Failure, a_cargo, cargo};

/// The largest package, compressed, in bytes: what is larger has something in it that nobody needs.
const PACKAGE_BYTES_MAX: u64 = 256 << 10;

/// What has to be in each package.
const FILES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// The workspaces beside this one: what is built of each, and where it is.
const BESIDE: [(&str, &str); 3] =
    [("peers", "benches/peers"), ("downstream", "examples/downstream"), ("fuzz", "fuzz")];

/// Every combination of features compiles without a warning.
pub(crate) fn features() -> Result<(), Failure> {
    need("cargo-hack")?;
    let hack = ["hack", "clippy", "--workspace", "--ignore-private", "--locked"];
    // What is on by default is a combination like any other.
    let all = ["--feature-powerset", "--exclude-features", "default", "--", "-D", "warnings"];
    cargo(&[&hack[..], &all].concat())
}

/// Every crate that is published compiles with the oldest versions of its dependencies that it allows.
///
/// That these are chosen is not stable in cargo, and the only thing here that is not.
pub(crate) fn oldest_dependencies() -> Result<(), Failure> {
    let lock = PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.lock");
    let chosen = fs::read(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let checked = check_oldest();
    fs::write(&lock, chosen).map_err(|e| format!("{}: {e}", lock.display()))?;
    checked
}

fn check_oldest() -> Result<(), Failure> {
    let mut update = a_cargo();
    update.args(["update", "-Z", "direct-minimal-versions"]).env("RUSTC_BOOTSTRAP", "1");
    let status = update.status().map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err(format!(
            "cargo update: {status}: raise the version of the dependency it names"
        ));
    }
    let folder = target().join("oldest").display().to_string();
    let check = ["check", "--workspace", "--all-features", "--target-dir", &folder];
    let private = members()?.into_iter().filter(|member| !member.is_published);
    let private: Vec<String> = private.map(|member| member.name).collect();
    let exclude = private.iter().flat_map(|name| ["--exclude", name]);
    crate::cargo(&check.into_iter().chain(exclude).collect::<Vec<_>>())
}

/// The documentation of every crate that is published can be built as docs.rs does it, where `docsrs` is set: what is
/// behind that is compiled nowhere else.
///
/// Each by itself, for a crate that another needs may have features on. In a folder of its own, since the nightly
/// features that docs.rs has would have dependencies built anew.
pub(crate) fn documentation() -> Result<(), Failure> {
    let folder = target().join("docsrs").display().to_string();
    let doc = ["doc", "--no-deps", "--all-features", "--locked", "--target-dir", &folder, "-p"];
    for Member { name, .. } in members()?.into_iter().filter(|member| member.is_published) {
        let mut command = a_cargo();
        command.args(doc).arg(&name).env("RUSTC_BOOTSTRAP", "1");
        command.env("RUSTDOCFLAGS", "--cfg docsrs -D warnings");
        let status = command.status().map_err(|e| format!("cargo: {e}"))?;
        if !status.success() {
            return Err(format!("the documentation of {name} as docs.rs builds it: {status}"));
        }
    }
    Ok(())
}

/// What dependencies demand of those who pass them on, which are banned, and where they come from.
///
/// Their known flaws are for the workflow: the list of them comes from the network.
pub(crate) fn dependencies() -> Result<(), Failure> {
    need("cargo-deny")?;
    cargo(&["deny", "--all-features", "--locked", "check", "licenses", "bans", "sources"])
}

/// Every crate that is published can be packaged, in the order of their dependencies, and built from
/// nothing but what is in the packages.
pub(crate) fn packages() -> Result<(), Failure> {
    let (published, private): (Vec<_>, Vec<_>) =
        members()?.into_iter().partition(|m| m.is_published);
    let exclude: Vec<&str> = private.iter().flat_map(|m| ["--exclude", &*m.name]).collect();
    let package = ["package", "--workspace", "--locked", "--allow-dirty"];
    cargo(&[&package[..], &exclude].concat())?;
    for Member { name, version, .. } in published {
        let list = ask(&["package", "--list", "--allow-dirty", "--locked", "-p", &name])?;
        if let Some(file) = FILES.iter().find(|file| !list.lines().any(|line| line == **file)) {
            return Err(format!("the package of {name} has no {file}"));
        }
        let package = target().join(format!("package/{name}-{version}.crate"));
        let bytes =
            fs::metadata(&package).map_err(|e| format!("{}: {e}", package.display()))?.len();
        println!("xtask: {name} has {} KiB", bytes >> 10);
        if bytes > PACKAGE_BYTES_MAX {
            return Err(format!("the package of {name} has more than {PACKAGE_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

/// The workspaces beside this one compile without a warning, and their dependencies come from where they may.
pub(crate) fn beside() -> Result<(), Failure> {
    need("cargo-deny")?;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = root.join("deny.toml").display().to_string();
    for (name, folder) in BESIDE {
        let manifest = root.join(folder).join("Cargo.toml").display().to_string();
        let built = target().join(name).display().to_string();
        let clippy = ["clippy", "--all-targets", "--locked", "--manifest-path", &manifest];
        cargo(&[&clippy[..], &["--target-dir", &built, "--", "-D", "warnings"]].concat())?;
        // None of them is passed on to anybody, and what other crates are made of is theirs to say.
        let deny = ["deny", "--locked", "--manifest-path", &manifest, "--config", &config];
        cargo(&[&deny[..], &["check", "sources"]].concat())?;
    }
    Ok(())
}

/// Every command of cargo in the documentation does what it says, also those that take long.
pub(crate) fn commands() -> Result<(), Failure> {
    let docs = ["test", "--locked", "-p", "lockctl", "--all-features", "--test", "docs"];
    // What it prints is a report of some length on what it does.
    cargo(&[&docs[..], &["--", "--ignored", "--nocapture"]].concat())
}

/// A crate of this workspace.
struct Member {
    name: String,
    version: String,
    is_published: bool,
}

fn members() -> Result<Vec<Member>, Failure> {
    let metadata = ask(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let member = |package: &serde_json::Value| {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let is_published = package["publish"].is_null();
        Member { name: text("name"), version: text("version"), is_published }
    };
    Ok(metadata["packages"].as_array().into_iter().flatten().map(member).collect())
}

fn target() -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    env::var_os("CARGO_TARGET_DIR").map_or_else(own, PathBuf::from)
}

/// Whether a command of cargo is there, and how to get it.
fn need(program: &str) -> Result<(), Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let places = env::split_paths(&path).chain(home.map(|home| home.join("bin")));
    if places.into_iter().any(|place| place.join(program).is_file()) {
        return Ok(());
    }
    Err(format!("there is no {program} here: cargo install --locked {program}"))
}

/// What a command of cargo prints.
fn ask(args: &[&str]) -> Result<String, Failure> {
    let output = a_cargo().args(args).output().map_err(|e| format!("cargo: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("cargo {}: {}: {}", args.join(" "), output.status, said.trim()))
}
