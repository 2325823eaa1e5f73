//! What the options of backends have in common: a namespace, a password in a file of its own, the parts of a URL.
//!
//! For whoever writes a backend, so that the same mistakes are refused in the same words.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use crate::backend::{BackendError, BackendErrorKind};

/// No password is longer; what is longer is another file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The longest namespace.
const NAMESPACE_BYTES_MAX: usize = 255;

/// How long connecting to a server may take if nothing else is said.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that connecting to a server may take: a client that connects renews no lease.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The parts of `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?OPTIONS`, still encoded.
///
/// ```
/// use lock_core::options::UrlParts;
///
/// let parts = UrlParts::split("mysql://u:p@a:1,b/shop?table=locks").unwrap();
/// assert_eq!((parts.scheme, parts.user), ("mysql", "u:p@"));
/// assert_eq!((parts.hosts, parts.rest), (vec!["a:1", "b"], "/shop?table=locks"));
/// // A slash in a password has to be written as %2F.
/// assert!(UrlParts::split("mysql://u:p/q@a/shop").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct UrlParts<'a> {
    /// What is before `://`, or nothing.
    pub scheme: &'a str,
    /// User and password with the `@` behind them, or nothing.
    pub user: &'a str,
    /// The hosts, at least one; `localhost` if none is named.
    pub hosts: Vec<&'a str>,
    /// The rest, from the first `/`, `?` or `#` on.
    pub rest: &'a str,
}

impl<'a> UrlParts<'a> {
    /// Takes a URL apart; whatever could show a part of a password later is refused.
    ///
    /// # Errors
    ///
    /// What is wrong, as the end of a sentence about the URL, without anything of it.
    pub fn split(url: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        // What was meant for a password would be taken for a path or an option.
        if rest.contains('@') {
            return Err(
                "there is an @ after a / or ?: in a password write %2F for / and %3F for ?, \
                        anywhere else %40 for @",
            );
        }
        if rest.contains('#') {
            return Err("it has a #: write %23");
        }
        if !authority.is_ascii() {
            return Err(
                "it has other characters than ASCII before the first /: write %XX in user and \
                        password, and the xn-- form of the host",
            );
        }
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let hosts: Vec<&str> = match hosts {
            "" => vec!["localhost"],
            hosts => hosts.split(',').collect(),
        };
        if hosts.contains(&"") {
            return Err("a host between its commas is empty");
        }
        Ok(Self { scheme, user, hosts, rest })
    }
}

impl fmt::Debug for UrlParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a URL that is wrong, any part may be one of the password.
        let is_scheme = self.scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        f.debug_struct("UrlParts")
            .field("scheme", if is_scheme { &self.scheme } else { &"…" })
            .field("hosts", &self.hosts.len())
            .finish_non_exhaustive()
    }
}

/// The error for a store none of whose servers could be used; `what` is how their errors begin.
///
/// As long as one of them is merely out of reach it may come back and serve, whatever is wrong with
/// the others; so it is [`BackendErrorKind::Misconfigured`] only if all are. Of several servers the
/// source lists each with its error.
///
/// # Panics
///
/// There is no failure.
pub fn all_failed(what: &str, mut failures: Vec<(String, BackendError)>) -> BackendError {
    if failures.len() == 1 {
        return failures.remove(0).1;
    }
    let hosts = failures.iter().map(|(host, error)| {
        let text = error.to_string();
        let mut text = text.strip_prefix(what).unwrap_or(&text).trim_start_matches(": ").to_owned();
        let mut source = error.source();
        while let Some(cause) = source {
            text = if text.is_empty() { cause.to_string() } else { format!("{text}: {cause}") };
            source = cause.source();
        }
        format!("{host}: {text}")
    });
    let hosts = AllFailed(hosts.collect::<Vec<_>>().join("; "));
    let hope = |(_, error): &(_, BackendError)| error.kind() != BackendErrorKind::Misconfigured;
    let (_, error) = failures.swap_remove(failures.iter().position(hope).unwrap_or(0));
    BackendError::new(error.kind(), error.to_string()).with_source(hosts)
}

/// What came of each of several servers.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct AllFailed(String);

/// Says that an option of a URL is not known, without showing what may be a part of a password.
pub fn unknown_option(key: &str) -> String {
    if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
        return format!("it has an option {key:?}, which is not known");
    }
    "it has an option that is not known".into()
}

/// Reads how long connecting may take: 1 to 60, in seconds.
///
/// # Errors
///
/// What is wrong, as the end of a sentence about the URL.
pub fn connect_timeout(text: &str) -> Result<Duration, String> {
    match text.parse().map(Duration::from_secs) {
        Ok(time) if time >= Duration::from_secs(1) && time <= CONNECT_TIMEOUT_MAX => Ok(time),
        _ => Err(format!("its connect-timeout is {text:?}: write 1 to 60, in seconds")),
    }
}

/// Checks a namespace: 1 to 255 bytes without control characters.
///
/// # Errors
///
/// [`BackendErrorKind::Misconfigured`]: it is none; the message says why.
pub fn check_namespace(namespace: &str) -> Result<(), BackendError> {
    let bytes = namespace.len();
    let what = match namespace.chars().find(|c| c.is_control()) {
        Some(c) => format!("has the control character {c:?}"),
        None if bytes == 0 => "is empty".into(),
        None if bytes > NAMESPACE_BYTES_MAX => {
            format!("has {bytes} bytes; {NAMESPACE_BYTES_MAX} are allowed")
        }
        None => return Ok(()),
    };
    let message = format!("cannot use the namespace {namespace:?}: it {what}");
    Err(BackendError::new(BackendErrorKind::Misconfigured, message))
}

/// Reads a password: the first line of a file that only its owner and group can use.
///
/// # Errors
///
/// [`BackendErrorKind::Misconfigured`]: the file cannot be read, others can use it, or its first line is
/// no password. The message names the file and shows nothing of what is in it.
pub fn read_password(path: &Path) -> Result<String, BackendError> {
    let failed = |source: io::Error| {
        let message = format!("cannot read the password file {}", path.display());
        BackendError::new(BackendErrorKind::Misconfigured, message).with_source(source)
    };
    let bad = |what: &str| {
        let message = format!("cannot use the password file {}: {what}", path.display());
        BackendError::new(BackendErrorKind::Misconfigured, message)
    };
    let file = File::open(path).map_err(failed)?;
    if is_for_others(&file).map_err(failed)? {
        return Err(bad("every user of this host can use it; run chmod o= on it"));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err(bad("its first line is empty")),
        Ok(password) => Ok(password.to_owned()),
        Err(_) => Err(bad("its first line is not UTF-8")),
    }
}

#[cfg(unix)]
fn is_for_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_for_others(_file: &File) -> io::Result<bool> {
    Ok(false)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn of(text: &[u8], mode: u32) -> Result<String, BackendError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        read_password(&path)
    }

    #[test]
    fn the_parts_of_a_url_are_shown_without_its_password() {
        for url in [
            "mysql://u:secret@a:1,b/shop?table=locks",
            "mysql://u:secret",
            "mysql://u,secret",
            "mysql://u@a/?password=secret",
            "u:secret://@a",
        ] {
            let shown = format!("{:?}", UrlParts::split(url).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
        let shown = format!("{:?}", UrlParts::split("mysql://u:secret@a:1,b/shop").unwrap());
        assert_eq!(shown, "UrlParts { scheme: \"mysql\", hosts: 2, .. }");
    }

    #[test]
    fn it_is_the_first_line_whatever_is_in_it() {
        for text in ["p@ss: word%", "p@ss: word%\n", "p@ss: word%\r\nmore\n"] {
            assert_eq!(of(text.as_bytes(), 0o600).unwrap(), "p@ss: word%");
        }
        assert_eq!(of(b" x \n", 0o640).unwrap(), " x ");
    }

    #[test]
    fn what_others_can_use_or_what_is_none_is_refused_and_named() {
        for (text, mode) in [
            (&b"secret"[..], 0o604),
            (b"secret", 0o602),
            (b"", 0o600),
            (b"\nsecret", 0o600),
            (b"secret\xff", 0o600),
        ] {
            let error = of(text, mode).unwrap_err();
            assert_eq!(error.kind(), BackendErrorKind::Misconfigured);
            let said = format!("{error} {error:?}");
            assert!(said.contains("/password") && !said.contains("secret"), "{said}");
        }
        let error = read_password(Path::new("/none/at/all")).unwrap_err();
        assert!(error.to_string().contains("/none/at/all"), "{error}");
    }
}
