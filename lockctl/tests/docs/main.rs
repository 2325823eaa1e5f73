//! Every command in the documentation is run as it is written, and has to come to what the page shows;
//! every link within the project, and every test and file that a page names, is there.
//!
//! What is understood:
//! - `console` blocks: lines after `$ ` are commands, typed one after the other into one shell; what
//!   follows is what they print, stdout and stderr together, and `…` stands for whatever is there. A
//!   command for which nothing is shown may print anything. It has to succeed, unless `echo $?` follows.
//! - `sh` blocks: a script, each line of which has to succeed.
//! - A command that ends with `&` goes on beside the others until the block ends; one of `lockctl` has
//!   its locks, or its place in the queue, before the next command is typed.
//! - `<!-- needs: mysql -->` before a block: a server is started for it, and only the URL is another.
//! - `cargo run … -p lockctl --` is `lockctl`. `cargo xtask …` is left to the tests of `xtask`, which check
//!   the command line: it runs these tests itself.
//!
//! Blocks of other languages have no commands in them. A language that is not known here is an error,
//! so that no command escapes by being called something else.

mod flock;
mod limits;
mod links;
mod page;
mod proofs;
mod server;
mod shell;
mod tree;

use std::{fs, path::Path};

use page::{Block, Language};
use shell::Shell;

/// The pages, from the root of the repository; all of `docs` besides.
const PAGES: [&str; 4] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "conformance/src/guide.md"];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn blocks_of(page: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    page::blocks(page, &text)
}

fn all_pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let docs = docs.map(|path| format!("docs/{}", path.file_name().unwrap().display()));
    PAGES.iter().map(|page| (*page).to_owned()).chain(docs).collect()
}

/// Runs the blocks of all pages that need this, each in a place of its own.
fn run_all(needs: Option<&str>) {
    let (mut ran, mut failed) = (0, Vec::new());
    for page in all_pages() {
        for block in blocks_of(&page) {
            let is_run = matches!(block.language, Language::Console | Language::Script);
            if is_run && block.needs.as_deref() == needs {
                println!("{}", block.place);
                let url = match needs {
                    None => None,
                    Some(_) => match server::url() {
                        Some(url) => Some(url),
                        None => return,
                    },
                };
                let run = std::panic::AssertUnwindSafe(|| Shell::new(url).run(&block));
                if std::panic::catch_unwind(run).is_err() {
                    failed.push(block.place);
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 0, "no page has such a block");
    assert!(failed.is_empty(), "not as the pages say: {failed:?}");
}

#[test]
fn commands_that_need_nothing() {
    run_all(None);
}

#[test]
fn commands_that_need_a_server() {
    run_all(Some("mysql"));
}

#[test]
fn no_block_hides_commands() {
    for page in all_pages() {
        for block in blocks_of(&page) {
            let needs = block.needs.as_deref();
            assert!(matches!(needs, None | Some("mysql")), "{}: nobody has {needs:?}", block.place);
            if block.language == Language::Other {
                let hidden = block.text.lines().find(|line| {
                    ["$ ", "lockctl ", "cargo "]
                        .iter()
                        .any(|start| line.trim_start().starts_with(start))
                });
                assert_eq!(hidden, None, "{}: a command that is not run", block.place);
            }
        }
    }
}
