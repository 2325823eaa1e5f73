//! What is made of system calls, and what a cut between them leaves.

use std::path::Path;

use tempfile::TempDir;

use super::cut::Left;
use super::recording::Recording;
use super::trace::parse;

/// Plays lines of strace in an empty directory; `@x` is the path of `x` in it, `'x'` a string.
fn play(lines: &[&str]) -> (TempDir, Result<Recording, String>) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let escape = |text: &str| {
        let bytes = text.bytes().map(|byte| format!("\\x{byte:02x}"));
        ["\"", &bytes.collect::<Vec<_>>().concat(), "\""].concat()
    };
    let mut text = String::new();
    for line in lines {
        for (index, part) in line.split('\'').enumerate() {
            text += &match part.strip_prefix('@') {
                _ if index % 2 == 0 => part.into(),
                Some(name) => escape(root.join(name).to_str().unwrap()),
                None => escape(part),
            };
        }
        text += "\n";
    }
    let text = text.replace("CWD", "AT_FDCWD<\\x2f>");
    let mut recording = Recording::of(directory.path()).unwrap();
    let played = parse(&text).and_then(|calls| recording.add_process(&calls));
    (directory, played.map(|()| recording))
}

/// The files after a cut at the end, with what is in them.
fn after(recording: &Recording, left: &Left) -> Vec<(String, String)> {
    let files = recording.cut(recording.steps.len()).files(left);
    let read = |inode: &Option<usize>| match inode {
        Some(inode) => files.contents.get(inode).cloned().unwrap_or_default(),
        None => b"/".into(),
    };
    let show = |path: &Path| path.display().to_string();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    files.paths.iter().map(|(path, inode)| (show(path), text(read(inode)))).collect()
}

fn leaves(lines: &[&str], left: &Left, expected: &[(&str, &str)]) {
    let recording = play(lines).1.unwrap();
    let found = after(&recording, left);
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(found, expected, "{left:?} of {:?}", recording.steps);
}

const OPEN: &str = "1 openat(CWD, '@a', O_RDWR|O_CREAT, 0600) = 3";
const OPEN_DIRECTORY: &str = "1 openat(CWD, '@', O_RDONLY|O_DIRECTORY) = 4";

#[test]
fn a_file_needs_two_syncs() {
    let mut lines = vec![OPEN, OPEN_DIRECTORY, "1 write(3, 'new', 3) = 3"];
    leaves(&lines, &Left::Nothing, &[]);
    leaves(&lines, &Left::Names, &[("a", "")]);
    leaves(&lines, &Left::Contents, &[]);
    leaves(&lines, &Left::Everything, &[("a", "new")]);
    lines.push("1 fdatasync(3) = 0");
    leaves(&lines, &Left::Nothing, &[]);
    lines.push("1 fsync(4) = -1 EIO (Input/output error)");
    leaves(&lines, &Left::Nothing, &[]);
    lines.push("1 fsync(4) = 0");
    leaves(&lines, &Left::Nothing, &[("a", "new")]);
}

#[test]
fn a_sync_covers_what_was_done_before_it_began() {
    let lines = [
        OPEN,
        OPEN_DIRECTORY,
        "1 fsync(4) = 0",
        "1 write(3, 'one', 3) = 3",
        "2 fsync(3 <unfinished ...>",
        "1 write(3, 'two', 3) = 2",
        "2 <... fsync resumed>) = 0",
    ];
    leaves(&lines, &Left::Nothing, &[("a", "one")]);
    leaves(&lines, &Left::Everything, &[("a", "onetw")]);
}

#[test]
fn a_rename_between_directories_needs_a_sync_of_both() {
    let mut lines = vec![
        OPEN,
        OPEN_DIRECTORY,
        "1 mkdirat(CWD, '@sub', 0700) = 0",
        "1 openat(CWD, '@sub', O_RDONLY) = 5",
        "1 fsync(4) = 0",
        "1 renameat2(CWD, '@a', CWD, '@sub/b', RENAME_NOREPLACE) = 0",
        "1 fsync(5) = 0",
    ];
    leaves(&lines, &Left::Nothing, &[("a", ""), ("sub", "/")]);
    leaves(&lines, &Left::Everything, &[("sub", "/"), ("sub/b", "")]);
    lines.push("1 fsync(4) = 0");
    leaves(&lines, &Left::Nothing, &[("sub", "/"), ("sub/b", "")]);
}

#[test]
fn offsets_are_followed_through_duplicates_and_reuse() {
    let lines = [
        OPEN,
        "1 write(3, 'abcdef', 6) = 6",
        "1 dup(3) = 7",
        "1 lseek(3, 2, SEEK_SET) = 2",
        "1 write(7, 'X', 1) = 1",
        "1 read(3, 'd', 1) = 1",
        "1 writev(3, [{iov_base='Y', iov_len=1}, {iov_base='Z', iov_len=1}], 2) = 2",
        "1 ftruncate(3, 7) = 0",
        "1 close(3 <unfinished ...>",
        "2 openat(CWD, '@b', O_WRONLY|O_CREAT|O_APPEND, 0600) = 3",
        "1 <... close resumed>) = 0",
        "1 pwrite64(3, 'p', 1, 9) = 1",
        "1 write(3, 'q', 1) = 1",
        "1 close(3) = 0",
        "1 write(3, 'elsewhere', 9) = 9",
    ];
    leaves(&lines, &Left::Everything, &[("a", "abXdYZ\0"), ("b", "pq")]);
}

#[test]
fn files_without_a_name_come_by_a_link() {
    let lines = [
        "1 openat(CWD, '@', O_RDWR|O_TMPFILE|O_SYNC, 0600) = 3",
        "1 write(3, 'x', 1) = 1",
        "1 linkat(CWD, '/proc/self/fd/3', CWD, '@a', AT_SYMLINK_FOLLOW) = 0",
        "1 link('@a', '@b') = 0",
        "1 unlink('@a') = 0",
    ];
    leaves(&lines, &Left::Names, &[("b", "x")]);
    leaves(&lines, &Left::Nothing, &[]);
    leaves(&lines, &Left::Without(4), &[("a", "x"), ("b", "x")]);
}

#[test]
fn what_is_written_through_memory_is_not_there() {
    let lines = [
        OPEN,
        "1 ftruncate(3, 4096) = 0",
        "1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000",
        "1 fsync(3) = 0",
    ];
    leaves(&lines, &Left::Everything, &[]);
}

#[test]
fn what_is_not_modelled_is_an_error() {
    for line in [
        "1 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 9",
        "1 rename('/elsewhere/x', '@a') = 0",
        "1 copy_file_range(9, NULL, 3, NULL, 10, 0) = 10",
        "1 fallocate(3, FALLOC_FL_PUNCH_HOLE, 0, 10) = 0",
        "1 symlink('x', '@l') = 0",
        "1 openat(CWD, '@never-made', O_RDWR) = 5",
    ] {
        assert!(play(&[OPEN, line]).1.is_err(), "{line}");
    }
    let thread = "1 clone3({flags=CLONE_VM|CLONE_THREAD|CLONE_SYSVSEM, exit_signal=0}, 88) = 9";
    play(&[OPEN, thread, "1 rename('/elsewhere/x', '/elsewhere/y') = 0"]).1.unwrap();
    let (directory, recording) = play(&[OPEN]);
    let recording = recording.unwrap();
    assert!(recording.compare(directory.path()).is_err(), "the file is not there");
    std::fs::write(directory.path().join("a"), "").unwrap();
    recording.compare(directory.path()).unwrap();
    std::fs::write(directory.path().join("a"), "unseen").unwrap();
    assert!(recording.compare(directory.path()).is_err(), "a write was not seen");
}

#[test]
fn chance_tears_at_sectors() {
    let page = "x".repeat(2048);
    let write = format!("1 pwrite64(3, '{page}', 2048, 0) = 2048");
    let recording =
        play(&[OPEN, OPEN_DIRECTORY, "1 fsync(4) = 0", &write, "1 write(3, 'y', 1) = 1"]);
    let recording = recording.1.unwrap();
    let (mut torn, mut whole, mut none) = (false, false, false);
    for seed in 0..200 {
        let [(_, text)] = &after(&recording, &Left::Random(seed, 512))[..] else {
            panic!("its name is sure")
        };
        let sectors: Vec<_> =
            text.as_bytes().chunks(512).map(|sector| sector.ends_with(b"x")).collect();
        for sector in text.as_bytes().chunks(512) {
            assert!(sector[1..].iter().all(|byte| *byte == sector[1]), "a sector is whole");
        }
        whole |= sectors == [true; 4];
        torn |= sectors.contains(&true) && sectors.contains(&false);
        none |= text.is_empty();
    }
    assert!(torn && whole && none, "{torn} {whole} {none}");
}
