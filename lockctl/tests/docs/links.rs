//! Every link within the project leads somewhere: to a file that is there, and to a heading of it.

use std::path::{Component, Path, PathBuf};

use crate::{
    page::comments,
    root,
    tree::{Page, files, text},
};

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let (mut followed, mut dead) = (0, Vec::new());
    for path in files("md") {
        for (link, line) in Page::read(&text(&path)).links {
            if is_of_the_project(&link) {
                followed += 1;
                if let Err(why) = follow(&path, &link) {
                    dead.push(format!("{}:{line}: {link}: {why}", path.display()));
                }
            }
        }
    }
    assert!(followed > 50, "only {followed} links were found");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// They are published without the pages and cannot link to them: they name them by their path, from the root or
/// from beside themselves.
#[test]
fn every_page_that_a_comment_of_rust_names_is_there() {
    let (mut named, mut missing) = (0, Vec::new());
    for path in files("rs") {
        for (code, line) in Page::read(&comments(&text(&path))).codes {
            if is_path_of_a_page(&code) {
                named += 1;
                let beside = path.with_file_name(&code);
                if !root().join(&code).is_file() && !root().join(beside).is_file() {
                    missing.push(format!("{}:{line}: {code}", path.display()));
                }
            }
        }
    }
    assert!(named > 2, "only {named} pages are named");
    assert!(missing.is_empty(), "no such pages:\n{}", missing.join("\n"));
}

fn is_path_of_a_page(code: &str) -> bool {
    let is_page = Path::new(code).extension().is_some_and(|extension| extension == "md");
    is_page && !code.contains(char::is_whitespace)
}

/// Others are on the web, or paths of Rust, which `cargo doc` follows.
fn is_of_the_project(link: &str) -> bool {
    let is_elsewhere = link.contains("://") || link.starts_with("mailto:");
    let is_rust = link.contains("::") || link.starts_with("crate");
    !is_elsewhere && !is_rust
}

fn follow(from: &Path, link: &str) -> Result<(), String> {
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let folder = from.parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() { from.to_owned() } else { plain(&folder.join(file))? };
    if !root().join(&path).exists() {
        return Err("there is no such file".into());
    }
    if fragment.is_empty() {
        return Ok(());
    }
    if path.extension().is_none_or(|extension| extension != "md") {
        return Err("only pages have headings".into());
    }
    let mut anchors = Page::read(&text(&path)).anchors;
    if path.components().any(|part| part.as_os_str() == "src") {
        // A part of the documentation of a crate, which goes on around it.
        let around = text(&path.with_file_name("lib.rs"));
        let lines = around.lines().filter_map(|line| line.trim_start().strip_prefix("//! "));
        anchors.extend(Page::read(&lines.collect::<Vec<_>>().join("\n")).anchors);
    }
    if anchors.iter().any(|anchor| anchor == fragment) {
        return Ok(());
    }
    Err(format!("{} has no such heading", path.display()))
}

/// A path without `..`; it must not lead out of the repository.
fn plain(path: &Path) -> Result<PathBuf, String> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return Err("it leads out of the repository".into()),
        }
    }
    Ok(plain)
}

#[test]
fn what_leads_nowhere_is_noticed() {
    let page = Path::new("docs/semantics.md");
    for link in
        ["../README.md", "#names-and-modes", "../ARCHITECTURE.md#invariants", "../lock-core"]
    {
        follow(page, link).unwrap();
    }
    for link in ["none.md", "#none", "../README.md#none", "../../README.md", "../Cargo.toml#a"] {
        follow(page, link).unwrap_err();
    }
}
