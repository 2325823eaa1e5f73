//! Every command in the documentation is run as it is written, and has to come to what the page shows;
//! every link within the project, and every test and file that a page names, is there.
//!
//! The documentation is all pages of Markdown, the comments of Rust that become pages, and the examples in
//! the help of `lockctl`. What is understood:
//! - `console` blocks: lines after `$ ` are commands, typed one after the other into one shell; what
//!   follows is what they print, stdout and stderr together, and `…` stands for whatever is there. A
//!   command for which nothing is shown may print anything. It has to succeed, unless `echo $?` follows.
//! - `sh` blocks: a script, each line of which has to succeed; so does each command of a `crontab`.
//! - A command that ends with `&` goes on beside the others until the block ends; one of `lockctl` has
//!   its locks, or its place in the queue, before the next command is typed.
//! - `<!-- needs: mysql -->` or `redis` before a block: a server is started for it, and only the address
//!   is another. `<!-- needs: sqlite3 -->`: it is skipped where there is no such program. `<!-- needs: root -->`:
//!   it is skipped for others, and its `/var/log` is one of its own.
//! - `sql` blocks: statements, which MariaDB has to take; `?` is a number.
//! - `--at-least 2m` is a second there, for nobody else wants the lock.
//! - `cargo run … -p lockctl --` is `lockctl`. Blocks with other commands of cargo, and those in tables, are
//!   run in a copy of the repository, by a test of their own that takes long.
//!
//! Blocks of other languages have no commands in them. A language that is not known here is an error,
//! so that no command escapes by being called something else.

mod flock;
mod help;
mod limits;
mod links;
mod page;
mod proofs;
mod server;
mod shell;
mod tree;
mod workspace;

use std::{collections::BTreeSet, env, path::Path, process::Command};

use page::{Block, Language};
use server::Server;
use shell::Shell;

/// Programs that a block may need and that not everybody has.
const PROGRAMS: [&str; 1] = ["sqlite3"];

/// What a block needs that is for root.
const ROOT: &str = "root";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The blocks of all pages.
fn blocks() -> Vec<Block> {
    let paths = ["md", "rs"].into_iter().flat_map(tree::files);
    paths.flat_map(|path| page::blocks(&path, &tree::text(&path))).collect()
}

/// Runs blocks, each in a place of its own; all have to come to what they show.
fn run_all(blocks: &[Block], server: Option<&Server>) {
    let failed = blocks.iter().filter(|block| {
        println!("{}", block.place);
        let run = || Shell::new(server).run(block);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
    });
    let failed: Vec<_> = failed.map(|block| &block.place).collect();
    assert!(!blocks.is_empty(), "no page has such a block");
    assert!(failed.is_empty(), "not as the pages say: {failed:?}");
}

/// The blocks with commands that need this, and are not for the whole workspace.
fn that_need(needs: Option<&str>) -> Vec<Block> {
    let is_run = |block: &Block| {
        matches!(block.language, Language::Console | Language::Script)
            && block.needs.as_deref() == needs
            && !workspace::has_commands_of_cargo(block)
    };
    blocks().into_iter().filter(is_run).collect()
}

#[test]
fn commands_that_need_nothing() {
    run_all(&that_need(None), None);
}

#[test]
fn commands_that_need_a_program() {
    for needs in PROGRAMS {
        if Command::new(needs).arg("--version").output().is_ok() {
            run_all(&that_need(Some(needs)), None);
        } else {
            assert!(!lock_servers::is_ci(), "there is no {needs}");
            eprintln!("skipped: there is no {needs} here");
        }
    }
}

#[test]
fn commands_that_need_a_server() {
    for needs in server::KINDS {
        let blocks = that_need(Some(needs));
        if let Some(server) = server::start(needs) {
            run_all(&blocks, Some(&server));
        }
    }
}

#[test]
fn commands_that_need_root() {
    if shell::is_root_apart() {
        run_all(&that_need(Some(ROOT)), None);
    } else {
        eprintln!("skipped: only root does that, with mounts of its own");
    }
}

/// What the statements of a page are about.
const TAKEN_FOR_GRANTED: &str = "\
DROP USER IF EXISTS 'shop'@'10.0.%';
DROP TABLE IF EXISTS account;
CREATE TABLE account (id BIGINT PRIMARY KEY, balance BIGINT)";

#[test]
fn statements() {
    let Some(server) = server::start("mysql") else { return };
    let blocks: Vec<Block> =
        blocks().into_iter().filter(|block| block.language == Language::Sql).collect();
    let text = format!("lockctl --store '{}' init", server.named);
    let init = Block { language: Language::Script, text, ..Block::default() };
    Shell::new(Some(&server)).run(&init);
    assert!(blocks.len() > 3, "only {} blocks have statements", blocks.len());
    let mut before = "";
    for block in &blocks {
        let page = block.place.split(':').next().unwrap_or_default();
        if page != before {
            server.execute(TAKEN_FOR_GRANTED).unwrap();
            before = page;
        }
        let done = server.execute(&block.text.replace('?', "0"));
        done.unwrap_or_else(|error| panic!("{}: {error}", block.place));
    }
}

/// How lines of commands begin.
const COMMANDS: [&str; 16] = [
    "$ ",
    "lockctl ",
    "cargo ",
    "redis-cli ",
    "sqlite3 ",
    "curl ",
    "install ",
    "mkdir ",
    "chmod ",
    "chgrp ",
    "chown ",
    "sudo ",
    "systemctl ",
    "mysql ",
    "mariadb ",
    "ACL ",
];
/// How those begin that are in a block without commands all the same, and why.
const NOT_RUN: [(&str, &str); 1] = [(
    "ACL SETUSER shop on >PASSWORD ~interlock:* ",
    "for a user of the reader's; `rights::the_front_page_shows_these_rights_and_no_others` compares \
     it with those that the tests of lock-redis work with",
)];

#[test]
fn no_block_hides_commands() {
    let (mut hidden, mut left_out) = (Vec::new(), BTreeSet::new());
    for block in blocks() {
        let needs = block.needs.as_deref();
        let is_known =
            |needs| PROGRAMS.contains(&needs) || server::KINDS.contains(&needs) || needs == ROOT;
        assert!(needs.is_none_or(is_known), "{}: nobody has {needs:?}", block.place);
        if block.language != Language::Other {
            continue;
        }
        for line in block.text.lines().map(str::trim_start) {
            let is_known = NOT_RUN.iter().find(|(start, _)| line.starts_with(start));
            if let Some((start, _)) = is_known {
                left_out.insert(start);
            } else if COMMANDS.iter().any(|start| line.starts_with(start)) {
                hidden.push(format!("{}: {line}", block.place));
            }
        }
    }
    assert!(hidden.is_empty(), "commands that are not run:\n{}", hidden.join("\n"));
    assert_eq!(left_out.len(), NOT_RUN.len(), "no page has the others: {left_out:?}");
}
