//! Getting packages of Debian and unpacking them into a folder, without installing anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Where packages come from: a mirror as the machine's own sources name it.
#[derive(Debug)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

/// What is got.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) packages: &'static [&'static str],
    pub(crate) suite: Suite,
}

/// Where packages are, seen from the release that runs here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Suite {
    Own,
    /// Its own, and what was ported back to it from later ones.
    Backports,
    /// This one, with all that packages need, the C library too.
    Other(&'static str),
}

/// Downloads packages, and what they need that this machine has not got, and unpacks them.
pub(crate) fn fetch(wanted: Wanted, into: &Path) -> Result<(), Error> {
    let fail = |said: &str| Error::Program { program: "apt-get".into(), said: said.into() };
    let own = codename().ok_or_else(|| fail("/etc/os-release names no release"))?;
    let mirror = mirror(&own).ok_or_else(|| fail("no source of packages is configured"))?;
    let work = tempfile::tempdir_in(into.parent().unwrap_or(into))
        .map_err(Error::io("create a folder in", into))?;
    let root = work.path();
    let make = |path: &Path| fs::create_dir_all(path).map_err(Error::io("create", path));
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        make(&root.join(folder))?;
    }
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::write(&path, text).map_err(Error::io("write", path))
    };
    let signed = mirror.signed_by.map(|key| format!("Signed-By: {key}\n")).unwrap_or_default();
    let uri = mirror.uri;
    let (suites, target) = match wanted.suite {
        Suite::Own => (own.clone(), own),
        Suite::Backports => (format!("{own} {own}-backports"), format!("{own}-backports")),
        Suite::Other(suite) => (suite.into(), suite.into()),
    };
    let source = format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n{signed}");
    write("own.sources", &source)?;
    // Scripts that need Perl are not run.
    let architecture = run(Command::new("dpkg").arg("--print-architecture"))?;
    let perl = format!(
        "Package: perl\nStatus: install ok installed\nArchitecture: {architecture}\n\
         Multi-Arch: allowed\nVersion: 99\nMaintainer: none\nDescription: pretended\n"
    );
    write("status", &perl)?;
    let status = match wanted.suite {
        Suite::Other(_) => root.join("status"),
        Suite::Own | Suite::Backports => "/var/lib/dpkg/status".into(),
    };
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y", "--no-install-recommends"]);
        for (key, value) in [
            ("Dir::State", root.join("state")),
            ("Dir::State::status", status.clone()),
            ("Dir::Cache", root.join("cache")),
            ("Dir::Etc::sourcelist", root.join("own.sources")),
            ("Dir::Etc::sourceparts", "-".into()),
            ("APT::Sandbox::User", "".into()),
            ("Debug::NoLocking", "true".into()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::Retries", "3".into()),
        ] {
            command.arg("-o").arg(format!("{key}={}", path_text(&value)));
        }
        run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update"])?;
    apt(&[&["install", "--download-only", "-t", &target], wanted.packages].concat())?;
    let unpacked = root.join("root");
    make(&unpacked)?;
    let archives = root.join("cache/archives");
    for file in fs::read_dir(&archives).map_err(Error::io("read", &archives))? {
        let path = file.map_err(Error::io("read", &archives))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(&unpacked))?;
        }
    }
    fs::rename(&unpacked, into).map_err(Error::io("create", into))
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a program to its end and gives what it printed; it says the end of that when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String, Error> {
    let program = path_text(Path::new(command.get_program()));
    let output = command.output().map_err(Error::io("run", &program))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}\n{}", text(&output.stdout), text(&output.stderr));
    Err(Error::Program { program, said: tail(&said) })
}

/// The last lines of a text.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// The name of the release that runs here.
fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// The first source of the system for this release.
fn mirror(codename: &str) -> Option<Mirror> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(parts.map(|part| part.path()));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| {
        text.split("\n\n")
            .find_map(|stanza| of_stanza(stanza, codename))
            .or_else(|| text.lines().find_map(|line| of_line(line, codename)))
    })
}

/// A source in the format of `.sources` files.
fn of_stanza(stanza: &str, codename: &str) -> Option<Mirror> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let has = |field: Option<String>, word: &str| {
        field.is_some_and(|text| text.split_whitespace().any(|one| one == word))
    };
    if !has(field("Types:"), "deb")
        || !has(field("Suites:"), codename)
        || !has(field("Components:"), "main")
    {
        return None;
    }
    let uri = field("URIs:")?.split_whitespace().next()?.to_owned();
    Some(Mirror { uri, signed_by: field("Signed-By:").filter(|key| key.starts_with('/')) })
}

/// A source in the format of one line: `deb [options] URI SUITE COMPONENTS`.
fn of_line(line: &str, codename: &str) -> Option<Mirror> {
    let rest = line.trim().strip_prefix("deb ")?.trim();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    if words.len() < 3 || words[1] != codename || !words[2..].contains(&"main") {
        return None;
    }
    let key = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Mirror { uri: words[0].to_owned(), signed_by: key.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_understood_in_both_formats() {
        let stanza = "Types: deb\n# old\nURIs: http://mirror.test/debian\nSuites: stable stable-updates\n\
                      Components: main\nSigned-By: /key.gpg";
        let mirror = of_stanza(stanza, "stable").unwrap();
        assert_eq!(mirror.uri, "http://mirror.test/debian");
        assert_eq!(mirror.signed_by.as_deref(), Some("/key.gpg"));
        assert!(of_stanza(stanza, "sid").is_none());
        let line =
            "deb [arch=amd64 signed-by=/key.gpg] http://mirror.test/debian stable main contrib";
        let mirror = of_line(line, "stable").unwrap();
        assert_eq!(mirror.uri, "http://mirror.test/debian");
        assert_eq!(mirror.signed_by.as_deref(), Some("/key.gpg"));
        for line in
            ["", "# deb http://x stable main", "deb-src http://x stable main", "deb http://x"]
        {
            assert!(of_line(line, "stable").is_none(), "{line}");
        }
    }
}
