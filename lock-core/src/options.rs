//! What the options of backends have in common: a namespace, and a password in a file of its own.
//!
//! For whoever writes a backend, so that the same mistakes are refused in the same words.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::backend::{BackendError, BackendErrorKind};

/// No password is longer; what is longer is another file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The namespace of whoever names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The longest namespace.
const NAMESPACE_BYTES_MAX: usize = 255;

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

/// What a store is called in messages, with its namespace if that is not the [default](DEFAULT_NAMESPACE).
///
/// ```
/// use lock_core::options::in_namespace;
///
/// assert_eq!(in_namespace("sqlite:/locks.db", "default"), "sqlite:/locks.db");
/// assert_eq!(in_namespace("sqlite:/locks.db", "billing"), "sqlite:/locks.db namespace billing");
/// ```
pub fn in_namespace(store: impl Into<String>, namespace: &str) -> String {
    let mut store = store.into();
    if namespace != DEFAULT_NAMESPACE {
        store += " namespace ";
        store += namespace;
    }
    store
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
