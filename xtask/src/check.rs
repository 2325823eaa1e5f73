//! What a release has to pass besides the tests: features, documentation, licences of dependencies, packages, long
//! commands.

use std::{
    env,
    fs::{self, DirEntry},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use lock_servers::find_program;

use crate::metadata::{self, list, text};
use crate::steps::{Failure, a_cargo, ask, cargo, root, target};

/// The largest package, compressed, in bytes: what is larger has something in it that nobody needs.
const PACKAGE_BYTES_MAX: u64 = 256 << 10;

/// The largest `lockctl`, built for a release, in bytes.
const LOCKCTL_BYTES_MAX: u64 = 12 << 20;

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
    let lock = root().join("Cargo.lock");
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
    cargo(&check.into_iter().chain(exclude).collect::<Vec<_>>())
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
    let built = target().join("packages");
    forget(&published, &built)?;
    let folder = built.display().to_string();
    let package = ["package", "--workspace", "--locked", "--allow-dirty", "--target-dir", &folder];
    cargo(&[&package[..], &exclude].concat())?;
    for Member { name, version, .. } in published {
        let list = ask(&["package", "--list", "--allow-dirty", "--locked", "-p", &name])?;
        if let Some(file) = FILES.iter().find(|file| !list.lines().any(|line| line == **file)) {
            return Err(format!("the package of {name} has no {file}"));
        }
        let package = built.join(format!("package/{name}-{version}.crate"));
        let bytes =
            fs::metadata(&package).map_err(|e| format!("{}: {e}", package.display()))?.len();
        println!("xtask: {name} has {} KiB", bytes >> 10);
        if bytes > PACKAGE_BYTES_MAX {
            return Err(format!("the package of {name} has more than {PACKAGE_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

/// Has cargo forget the packages of an earlier run: it would take what it has unpacked and built of them for the
/// same, as the versions are, and build the others from it.
fn forget(packages: &[Member], built: &Path) -> Result<(), Failure> {
    let remove = |folder: &Path| match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    };
    remove(built)?;
    let registries = cargo_home().and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    // Those that are folders of this machine have no host in their names.
    let is_folder = |registry: &DirEntry| registry.file_name().as_encoded_bytes().starts_with(b"-");
    for registry in registries.into_iter().flatten().flatten().filter(is_folder) {
        for Member { name, version, .. } in packages {
            remove(&registry.path().join(format!("{name}-{version}")))?;
        }
    }
    Ok(())
}

/// A release build of `lockctl` is small.
pub(crate) fn lockctl() -> Result<(), Failure> {
    cargo(&["build", "--release", "--locked", "-p", "lockctl"])?;
    let program = target().join("release/lockctl");
    let bytes = fs::metadata(&program).map_err(|e| format!("{}: {e}", program.display()))?.len();
    println!("xtask: lockctl has {} KiB", bytes >> 10);
    if bytes > LOCKCTL_BYTES_MAX {
        return Err(format!("lockctl has more than {LOCKCTL_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// The workspaces beside this one compile without a warning, and their dependencies come from where they may.
pub(crate) fn beside() -> Result<(), Failure> {
    need("cargo-deny")?;
    let config = root().join("deny.toml").display().to_string();
    for (name, folder) in BESIDE {
        let manifest = root().join(folder).join("Cargo.toml").display().to_string();
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
    let metadata = metadata::read("--no-deps")?;
    let member = |package: &serde_json::Value| {
        let [name, version] = ["name", "version"].map(|key| text(&package[key]).to_owned());
        Member { name, version, is_published: package["publish"].is_null() }
    };
    Ok(list(&metadata["packages"]).map(member).collect())
}

/// Where cargo has what it keeps for this user.
fn cargo_home() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// Whether a command of cargo is there, and how to get it.
fn need(program: &str) -> Result<(), Failure> {
    if find_program(program, cargo_home().map(|home| home.join("bin"))).is_some() {
        return Ok(());
    }
    Err(format!("there is no {program} here: cargo install --locked {program}"))
}
