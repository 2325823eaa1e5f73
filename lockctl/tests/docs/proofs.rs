//! Every test and every file that a page names is there, and every rule of the locks is whole and names a test.
//!
//! A page names a test as `FILE::test`, by the name of the file without its extension (that of the
//! folder if the file is `main.rs` or `mod.rs`), and a trial of the conformance suite as `LAYER::trial`.

use std::{collections::BTreeSet, path::Path};

use crate::{
    root,
    tree::{Page, files, text},
};

#[test]
fn every_test_that_a_page_names_is_there() {
    let tests = tests();
    let (mut named, mut missing) = (0, Vec::new());
    for path in files("md") {
        for (code, line) in Page::read(&text(&path)).codes {
            if is_name_of_a_test(&code) {
                named += 1;
                if !tests.contains(&code) {
                    missing.push(format!("{}:{line}: {code}", path.display()));
                }
            }
        }
    }
    assert!(named > 50, "only {named} tests are named");
    assert!(missing.is_empty(), "no such tests:\n{}", missing.join("\n"));
}

#[test]
fn every_rule_names_a_test() {
    let page = Page::read(&text(Path::new("docs/semantics.md")));
    let rules = page.sections.iter().filter(|(heading, _)| heading.ends_with('.'));
    let bare = rules.clone().filter(|(_, codes)| !codes.iter().any(|code| is_name_of_a_test(code)));
    assert!(rules.count() >= 15, "the rules are not found");
    assert_eq!(bare.map(|(heading, _)| heading).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn every_rule_says_why_it_is_so_where_it_comes_from_and_what_holds_it() {
    let page = text(Path::new("docs/semantics.md"));
    let rules: Vec<&str> = page.split("\n### ").skip(1).collect();
    let is_whole = |rule: &&&str| {
        let parts = rule.lines().filter(|line| line.starts_with('*'));
        let parts = parts.filter_map(|line| line.split_once(":*").map(|(part, _)| part));
        parts.eq(["*Why", "*From", "*Held by"])
    };
    let half = rules.iter().filter(|rule| !is_whole(rule)).filter_map(|rule| rule.lines().next());
    let half: Vec<&str> = half.collect();
    assert!(rules.len() >= 25, "only {} rules are found", rules.len());
    assert!(half.is_empty(), "not whole: {half:#?}");
}

#[test]
fn every_row_of_the_comparison_of_stores_names_a_test_or_a_bench() {
    is_shown_row_by_row(&text(Path::new("docs/choosing-a-store.md")));
}

#[test]
fn every_row_of_the_comparison_of_commands_names_a_test() {
    let page = text(Path::new("docs/coming-from-flock.md"));
    is_shown_row_by_row(page.split("## Side by side").nth(1).expect("there is such a section"));
}

#[test]
fn every_cell_that_compares_this_project_with_others_names_a_test() {
    let page = text(Path::new("docs/peers.md"));
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| **Interlock** |")).collect();
    let cells: Vec<_> = rows.iter().flat_map(|row| cells(row).split_off(1)).collect();
    let bare: Vec<_> = cells.iter().filter(|cell| !names(cell, is_name_of_a_test)).collect();
    assert!(rows.len() >= 7 && cells.len() >= 19, "{} in {} rows", cells.len(), rows.len());
    assert!(bare.is_empty(), "nothing shows: {bare:#?}");
}

/// The tables of the text are followed by what shows each of their rows, by its name.
fn is_shown_row_by_row(text: &str) {
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    let (proofs, claims): (Vec<_>, Vec<_>) = rows.map(cells).partition(|cells| cells.len() == 2);
    let is_shown = |claim: &str| {
        let shows = |code: &str| is_name_of_a_test(code) || code.starts_with("benches/src/");
        let proof = proofs.iter().find(|cells| cells[0] == claim);
        proof.is_some_and(|cells| names(cells[1], shows))
    };
    let bare: Vec<&str> = claims.iter().map(|cells| cells[0]).filter(|c| !is_shown(c)).collect();
    assert!(claims.len() > 15, "only {} rows are found", claims.len());
    assert!(bare.is_empty(), "nothing shows: {bare:?}");
}

/// What is in the row of a table.
fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// Whether one of the codes of a text is of this kind.
fn names(text: &str, is_it: impl Fn(&str) -> bool) -> bool {
    Page::read(text).codes.iter().any(|(code, _)| is_it(code))
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let folders: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir() && entry.file_name() != "target")
        .map(|entry| entry.file_name().into_string().unwrap() + "/")
        .collect();
    let (mut named, mut missing) = (0, Vec::new());
    for path in files("md") {
        for (code, line) in Page::read(&text(&path)).codes {
            if folders.iter().any(|folder| code.starts_with(folder.as_str())) {
                named += 1;
                if !root().join(&code).exists() {
                    missing.push(format!("{}:{line}: {code}", path.display()));
                }
            }
        }
    }
    assert!(named > 20, "only {named} files are named");
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

/// Two names of lower case, of which the first is no crate of this project: those are paths of Rust.
fn is_name_of_a_test(code: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let Some((place, test)) = code.split_once("::") else { return false };
    is_word(place) && is_word(test) && !place.starts_with("lock_")
}

fn tests() -> BTreeSet<String> {
    let mut found: BTreeSet<String> =
        lock_conformance::catalogue().map(|trial| trial.name.to_owned()).collect();
    for path in files("rs") {
        let stem = match path.file_stem().unwrap().to_str().unwrap() {
            "main" | "mod" => path.parent().and_then(Path::file_name),
            _ => path.file_stem(),
        };
        let stem = stem.unwrap_or_default().to_str().unwrap();
        let text = text(&path);
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some(function) = function.filter(|_| std::mem::take(&mut is_test)) {
                let name = function.split(['(', '<']).next().unwrap_or_default();
                found.insert(format!("{stem}::{name}"));
            }
        }
    }
    found
}

#[test]
fn tests_are_found_by_their_names() {
    let tests = tests();
    for test in [
        "proofs::tests_are_found_by_their_names",
        "process::a_stopped_process_is_alive",
        "handles::who_came_first_is_served_first",
        "table_properties::nobody_hangs",
    ] {
        assert!(tests.contains(test), "{test}");
    }
    assert!(!tests.contains("proofs::is_name_of_a_test"));
}
