//! Takes the program for MySQL out of the README, so that a test can run it as it stands there.

use std::{env, fs, path::Path};

/// What only the program for MySQL has in it.
const MARK: &str = "use lock_mysql::";

fn main() {
    let page = "../../README.md";
    println!("cargo::rerun-if-changed={page}");
    let text = fs::read_to_string(page).expect("the README is there");
    let blocks =
        text.split("\n```rust,no_run\n").skip(1).filter_map(|rest| rest.split("```").next());
    let programs: Vec<&str> = blocks.filter(|block| block.contains(MARK)).collect();
    let [program] = programs[..] else { panic!("{} programs have {MARK}", programs.len()) };

    // All but where the server is.
    let (before, rest) = program.split_once("\"mysql://").expect("the program has a URL");
    let (url, after) = rest.split_once('"').expect("the URL ends");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let program = format!("{before}&std::env::var(\"SHOP_STORE\")?{after}");
    fs::write(Path::new(&out).join("mysql.rs"), program).expect("it can be written");
    println!("cargo::rustc-env=README_URL=mysql://{url}");
}
