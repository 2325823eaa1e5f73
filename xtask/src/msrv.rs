//! Checks that each crate's `rust-version` is true: no lower than that of anything it is built from.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::metadata::{self, list, text};
use crate::steps::Failure;

/// A Rust version as manifests write it, `1.88` being `1.88.0`.
type RustVersion = Vec<u32>;

/// Asks cargo for the resolved dependencies, and compares.
pub(crate) fn check() -> Result<(), Failure> {
    let metadata = metadata::read("--all-features")?;
    let untrue = untrue(&metadata);
    if untrue.is_empty() { Ok(()) } else { Err(untrue.join("; ")) }
}

/// Says of each workspace crate with which dependency its `rust-version` is not true.
fn untrue(metadata: &Value) -> Vec<String> {
    let packages: HashMap<&str, &Value> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let needs: HashMap<&str, Vec<&str>> = list(&metadata["resolve"]["nodes"])
        .map(|node| (text(&node["id"]), built_from(node).collect()))
        .collect();
    let mut found = Vec::new();
    for member in list(&metadata["workspace_members"]).map(text) {
        let name = text(&packages[member]["name"]);
        let Some(own) = rust_version(packages[member]) else {
            found.push(format!("{name} states no rust-version"));
            continue;
        };
        let (mut seen, mut open) = (HashSet::new(), vec![member]);
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(needs.get(id).into_iter().flatten());
            }
        }
        found.extend(seen.into_iter().filter_map(|id| {
            let theirs = rust_version(packages[id]).filter(|theirs| *theirs > own)?;
            let their_name = text(&packages[id]["name"]);
            Some(format!("{name} states Rust {own:?}, {their_name} needs {theirs:?}"))
        }));
    }
    found.sort();
    found
}

/// What a package is built from: its normal and build dependencies; tests may need more.
fn built_from(node: &Value) -> impl Iterator<Item = &str> {
    list(&node["deps"])
        .filter(|dep| list(&dep["dep_kinds"]).any(|kind| kind["kind"] != "dev"))
        .map(|dep| text(&dep["pkg"]))
}

fn rust_version(package: &Value) -> Option<RustVersion> {
    let mut parts: RustVersion =
        package["rust_version"].as_str()?.split('.').map_while(|part| part.parse().ok()).collect();
    parts.resize(3, 0);
    Some(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `ours` needs `middle`, which needs `deep`; and `deep` only for tests.
    fn metadata(ours: Option<&str>, deep: &str, kind_of_middle: Value) -> Value {
        let on = |pkg, kind| json!({"pkg": pkg, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                {"id": "o", "name": "ours", "rust_version": ours},
                {"id": "m", "name": "middle", "rust_version": null},
                {"id": "d", "name": "deep", "rust_version": deep},
            ],
            "workspace_members": ["o"],
            "resolve": {"nodes": [
                {"id": "o", "deps": [on("m", kind_of_middle), on("d", json!("dev"))]},
                {"id": "m", "deps": [on("d", json!(null))]},
                {"id": "d", "deps": []},
            ]},
        })
    }

    #[test]
    fn a_dependency_of_a_dependency_counts() {
        assert_eq!(untrue(&metadata(Some("1.88"), "1.88.1", json!(null))).len(), 1);
        assert_eq!(untrue(&metadata(Some("1.88"), "1.100", json!("build"))).len(), 1);
        assert!(untrue(&metadata(Some("1.88"), "1.88.0", json!(null))).is_empty());
    }

    #[test]
    fn what_only_tests_need_does_not_count() {
        assert!(untrue(&metadata(Some("1.88"), "1.99", json!("dev"))).is_empty());
    }

    #[test]
    fn a_crate_without_a_rust_version_is_named() {
        assert_eq!(
            untrue(&metadata(None, "1.50", json!(null))),
            ["ours states no rust-version".to_owned()]
        );
    }
}
