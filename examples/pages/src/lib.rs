//! The Rust in the project's pages, as documentation tests: nobody publishes this crate, so it may depend on
//! every store, and read files that are in no package. The README's program for MySQL is run on servers besides
//! (`tests/mysql.rs`).

#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/fencing.md")]
    struct Fencing;
    #[doc = include_str!("../../../docs/migrating.md")]
    struct Migrating;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Else an example would be compiled by nobody.
    #[test]
    fn every_page_with_rust_in_it_is_here() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut found = 0;
        for folder in ["", "docs/"] {
            for entry in fs::read_dir(root.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                let is_page = path.extension().is_some_and(|extension| extension == "md");
                if !is_page || !fs::read_to_string(&path).unwrap().contains("\n```rust") {
                    continue;
                }
                found += 1;
                let included = format!("include_str!(\"../../../{folder}{name}\")");
                assert!(include_str!("lib.rs").contains(&included), "{folder}{name} is missing");
            }
        }
        assert!(found >= 3, "only {found} pages have Rust in them");
    }
}
