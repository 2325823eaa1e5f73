//! What strace writes: system calls with their arguments and results, put together from its lines.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A system call that has come to its end, with its arguments as strace shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    arguments: Vec<String>,
    /// What it returned; -1 is an error.
    pub(super) result: i64,
    /// How many calls had come to their end before this one began.
    pub(super) begun_after: usize,
}

/// Puts calls together, in the order in which they ended.
///
/// Expects the output of `strace -f -y -xx -o FILE`. A call that never ended is left out.
pub(super) fn parse(text: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let mut unfinished = HashMap::new();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').ok_or_else(|| not_understood(line))?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (head, calls.len()));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, tail) = resumed.split_once(" resumed>").ok_or_else(|| not_understood(line))?;
            let (head, begun_after) =
                unfinished.remove(thread).ok_or_else(|| not_understood(line))?;
            calls.extend(parse_call(&format!("{head}{tail}"), begun_after)?);
        } else {
            calls.extend(parse_call(rest, calls.len())?);
        }
    }
    Ok(calls)
}

/// `None` for a call that the end of its process cut short.
fn parse_call(text: &str, begun_after: usize) -> Result<Option<Call>, String> {
    let (name, rest) = text.split_once('(').ok_or_else(|| not_understood(text))?;
    let (arguments, rest) = split_arguments(rest).ok_or_else(|| not_understood(text))?;
    let (_, result) = rest.split_once("= ").ok_or_else(|| not_understood(text))?;
    if result.starts_with('?') {
        return Ok(None);
    }
    let end = result.find([' ', '<']).unwrap_or(result.len());
    let result = parse_number(&result[..end]).ok_or_else(|| not_understood(text))?;
    Ok(Some(Call { name: name.into(), arguments, result, begun_after }))
}

/// Splits at the commas outside of strings and brackets; returns what is behind the last bracket too.
fn split_arguments(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut arguments, mut start, mut at, mut depth) = (Vec::new(), 0, 0, 0_usize);
    loop {
        at += text[at..].find(['"', '(', '[', '{', '}', ']', ')', ','])?;
        let end = at;
        at += 1;
        match text.as_bytes()[end] {
            // Every byte of a string is a hexadecimal escape, so no quote is within.
            b'"' => at += text[at..].find('"')? + 1,
            b'(' | b'[' | b'{' => depth += 1,
            b',' if depth > 0 => {}
            b',' => {
                arguments.push(text[start..end].trim().into());
                start = at;
            }
            b')' if depth == 0 => {
                arguments.push(text[start..end].trim().into());
                return Some((arguments, &text[at..]));
            }
            _ => depth = depth.checked_sub(1)?,
        }
    }
}

impl Call {
    /// An argument as it is shown; empty if there are not so many.
    pub(super) fn argument(&self, index: usize) -> &str {
        self.arguments.get(index).map_or("", String::as_str)
    }

    /// A whole number.
    pub(super) fn number(&self, index: usize) -> Result<i64, String> {
        parse_number(self.argument(index)).ok_or_else(|| self.not_understood())
    }

    /// A descriptor: `3</tmp/x>`, or `AT_FDCWD</tmp>`, which is -100.
    pub(super) fn descriptor(&self, index: usize) -> Result<i64, String> {
        let text = self.argument(index);
        let number = text.split_once('<').map_or(text, |(number, _)| number);
        if number == "AT_FDCWD" {
            return Ok(-100);
        }
        parse_number(number).ok_or_else(|| self.not_understood())
    }

    /// The path that strace shows with a descriptor.
    pub(super) fn descriptor_path(&self, index: usize) -> Option<PathBuf> {
        let (_, path) = self.argument(index).split_once('<')?;
        Some(to_path(unescape(path.split_once('>')?.0)?))
    }

    /// A path, or whatever else is one string.
    pub(super) fn path(&self, index: usize) -> Result<PathBuf, String> {
        Ok(to_path(self.string(index)?))
    }

    /// The bytes of a string.
    pub(super) fn string(&self, index: usize) -> Result<Vec<u8>, String> {
        let text = self.argument(index).strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        text.and_then(unescape).ok_or_else(|| self.not_understood())
    }

    /// The bytes of all the buffers of a `writev`, one after the other.
    pub(super) fn buffers(&self, index: usize) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for buffer in self.argument(index).split("iov_base=").skip(1) {
            let text = buffer.strip_prefix('"').and_then(|text| text.split_once("\", iov_len="));
            let text = text.and_then(|(text, _)| unescape(text));
            bytes.extend(text.ok_or_else(|| self.not_understood())?);
        }
        Ok(bytes)
    }

    /// Whether an argument has this among its flags.
    pub(super) fn has(&self, index: usize, flag: &str) -> bool {
        self.argument(index).split(['|', ' ', ',', '{', '=']).any(|one| one == flag)
    }

    /// That this call means something which is not modelled.
    pub(super) fn not_understood(&self) -> String {
        let mut arguments = self.arguments.join(", ");
        arguments.truncate(300);
        format!("the system call {}({arguments}) is not understood", self.name)
    }
}

fn not_understood(line: &str) -> String {
    let line: String = line.chars().take(300).collect();
    format!("the line of strace is not understood: {line}")
}

fn parse_number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn to_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// `\x41\x42`; `None` for anything that is not escaped, such as the dots of a string cut short.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let digit = |byte| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4);
    // A plain loop: there are megabytes of it, and tests are not optimized.
    for escape in text.as_bytes().chunks(4) {
        let [b'\\', b'x', high, low] = *escape else { return None };
        bytes.push(digit(high)? << 4 | digit(low)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(lines: &[&str]) -> Vec<Call> {
        parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn a_write_is_taken_apart() {
        let [call] = &calls(&[
            r#"4711  pwrite64(7<\x2f\x74\x6d\x70\x2f\x78>, "\x28\x2c\x22", 3, 4096) = 3"#,
        ])[..] else {
            panic!("one line is one call")
        };
        assert_eq!((call.name.as_str(), call.result, call.begun_after), ("pwrite64", 3, 0));
        assert_eq!(call.descriptor(0), Ok(7));
        assert_eq!(call.descriptor_path(0), Some("/tmp/x".into()));
        assert_eq!(call.string(1).unwrap(), b"(,\"");
        assert_eq!(call.number(3), Ok(4096));
        assert!(call.number(4).is_err(), "there is no such argument");
    }

    #[test]
    fn an_open_shows_where_it_is_relative_to() {
        let [call] = &calls(&[
            r#"1 openat(AT_FDCWD<\x2f>, "\x61", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3<\x2f\x61>"#,
        ])[..] else {
            panic!("one line is one call")
        };
        assert_eq!(call.descriptor(0), Ok(-100));
        assert_eq!(call.descriptor_path(0), Some("/".into()));
        assert_eq!(call.path(1), Ok("a".into()));
        assert!(call.has(2, "O_CREAT") && !call.has(2, "O_TRUNC") && !call.has(2, "O_C"));
        assert_eq!(call.result, 3);
    }

    #[test]
    fn buffers_are_joined() {
        let [call] = &calls(&[
            r#"1 writev(3<\x61>, [{iov_base="\x61\x5d", iov_len=2}, {iov_base="", iov_len=0}, {iov_base="\x62", iov_len=1}], 3) = 3"#,
        ])[..] else {
            panic!("one line is one call")
        };
        assert_eq!(call.buffers(1).unwrap(), b"a]b");
    }

    #[test]
    fn calls_of_threads_are_put_together_in_the_order_of_their_ends() {
        let calls = calls(&[
            r"10 fsync(3<\x61> <unfinished ...>",
            r#"11    write(4<\x62>, "\x78", 1 <unfinished ...>"#,
            r"12 read(5<\x63>,  <unfinished ...>",
            "11 <... write resumed>)                     = 1",
            "10 --- SIGCHLD {si_signo=SIGCHLD} ---",
            r#"12 <... read resumed>"\x79", 4096) = 1"#,
            "10 <... fsync resumed>)      = 0",
            r"10 fsync(3<\x61>) = -1 EIO (Input/output error)",
            "10 exit_group(0) = ?",
            r"11 fsync(9<\x61> <unfinished ...>",
            "11 +++ killed by SIGKILL +++",
        ]);
        let ends: Vec<_> =
            calls.iter().map(|call| (call.name.as_str(), call.result, call.begun_after)).collect();
        let expected = [("write", 1, 0), ("read", 1, 0), ("fsync", 0, 0), ("fsync", -1, 3)];
        assert_eq!(ends, expected);
        assert_eq!(calls[1].string(1).unwrap(), b"y");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let [call] = &calls(&[r#"1 write(3<\x61>, "\x61"..., 4096) = 4096"#])[..] else {
            panic!("one line is one call")
        };
        assert!(call.string(1).is_err(), "the rest of the data is not known");
        for line in ["1", "1 write", "1 write(3", "1 write(3) x", "1 <... write resumed>) = 1"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
