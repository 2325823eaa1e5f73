//! URLs that name one server or several: `SCHEME://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH?OPTIONS`.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use url::{Url, form_urlencoded};

use crate::backend::{BackendError, BackendErrorKind};

/// How long connecting to a server may take if nothing else is said.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time that connecting to a server may take: a client that connects renews no lease.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// What a URL says of one server or several: a URL for each, and the options.
///
/// ```
/// use lock_core::server::ServerUrls;
///
/// let text = "mariadb://u:p@a:1,b/shop?table=locks";
/// let urls = ServerUrls::parse(&["mysql", "mariadb"], text)?;
/// assert_eq!(urls.scheme, "mariadb");
/// assert_eq!(urls.each[1].as_str(), "mysql://u:p@b/shop");
/// assert_eq!(urls.options, [("table".into(), "locks".into())]);
/// // A slash in a password has to be written as %2F.
/// assert!(ServerUrls::parse(&["mysql"], "mysql://u:p/q@a/shop").is_err());
/// # Ok::<(), lock_core::BackendError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerUrls {
    /// The scheme as it is written.
    pub scheme: String,
    /// A URL for each host, at least one, without the options, all with the first of the schemes;
    /// the host is `localhost` if none is named.
    pub each: Vec<Url>,
    /// The options, decoded, each once.
    pub options: Vec<(String, String)>,
    /// The first of the schemes: what errors call the URL.
    kind: String,
}

impl ServerUrls {
    /// Takes a URL of one of these schemes apart; whatever could show a part of a password later is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: what is wrong with it, without anything of it that could
    /// be secret.
    ///
    /// # Panics
    ///
    /// There is no scheme.
    pub fn parse(schemes: &[&str], url: &str) -> Result<Self, BackendError> {
        let kind = schemes[0];
        let bad = |what: &str| bad(kind, what);
        let UrlParts { scheme, user, hosts, path, query } = UrlParts::split(url).map_err(bad)?;
        if !schemes.contains(&scheme) {
            return Err(bad(&format!("it does not begin with {}://", schemes.join(":// or "))));
        }
        let each = hosts.iter().map(|host| {
            Url::parse(&format!("{kind}://{user}{host}{path}"))
                .map_err(|error| bad(&format!("{error}; write %XX for special characters")))
        });
        let each: Vec<Url> = each.collect::<Result<_, _>>()?;
        let mut options: Vec<(String, String)> = Vec::new();
        // A plus is a plus: it may be in a path or a name.
        let query = query.replace('+', "%2B");
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if options.iter().any(|(other, _)| *other == key) {
                return Err(bad("it says the same option twice"));
            }
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(bad("an option of it is not UTF-8"));
            }
            if key == "password-file" && each[0].password().is_some() {
                return Err(bad("it has a password and a password-file: write one of them"));
            }
            options.push((key.into_owned(), value.into_owned()));
        }
        Ok(Self { scheme: scheme.into(), each, options, kind: kind.into() })
    }

    /// The error that says what is wrong with the URL.
    pub fn bad(&self, what: &str) -> BackendError {
        bad(&self.kind, what)
    }

    /// The error for an option that is not known, without what may be a part of a password.
    pub fn unknown(&self, option: &str) -> BackendError {
        if option.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            return self.bad(&format!("it has an option {option:?}, which is not known"));
        }
        self.bad("it has an option that is not known")
    }

    /// Reads how long connecting may take: 1 to 60, in seconds.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: it is no such number.
    pub fn connect_timeout(&self, text: &str) -> Result<Duration, BackendError> {
        match text.parse().map(Duration::from_secs) {
            Ok(time) if time >= Duration::from_secs(1) && time <= CONNECT_TIMEOUT_MAX => Ok(time),
            _ => {
                let what = format!("its connect-timeout is {text:?}: write 1 to 60, in seconds");
                Err(self.bad(&what))
            }
        }
    }
}

impl fmt::Debug for ServerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Any other part of a URL that is wrong may be one of the password.
        f.debug_struct("ServerUrls")
            .field("scheme", &self.scheme)
            .field("hosts", &self.each.len())
            .finish_non_exhaustive()
    }
}

fn bad(kind: &str, what: &str) -> BackendError {
    let message = format!("cannot use the {kind}: URL: {what}");
    BackendError::new(BackendErrorKind::Misconfigured, message)
}

/// The parts, still encoded.
struct UrlParts<'a> {
    /// What is before `://`, or nothing.
    scheme: &'a str,
    /// User and password with the `@` behind them, or nothing.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    /// What follows the `?`.
    query: &'a str,
}

impl<'a> UrlParts<'a> {
    fn split(url: &'a str) -> Result<Self, &'static str> {
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
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        Ok(Self { scheme, user, hosts, path, query })
    }
}

/// A host without the brackets that a URL has around an IPv6 address.
pub fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Host and port as a URL has them, without the port if it is the usual one.
pub fn host_and_port(host: &str, port: u16, usual: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.into() };
    if port == usual { host } else { format!("{host}:{port}") }
}

/// How long connecting may take to a server of this scheme, if that was said otherwise than by a URL: no longer than
/// [`CONNECT_TIMEOUT_MAX`].
///
/// # Errors
///
/// [`BackendErrorKind::Misconfigured`]: it is no time at all.
pub fn check_connect_timeout(scheme: &str, time: Duration) -> Result<Duration, BackendError> {
    if time.is_zero() {
        let message = format!("cannot use the {scheme} options: their connect timeout is zero");
        return Err(BackendError::new(BackendErrorKind::Misconfigured, message));
    }
    Ok(time.min(CONNECT_TIMEOUT_MAX))
}

/// Checks that a client's certificate and its key are both named, or neither.
///
/// # Errors
///
/// What is wrong with the URL.
pub fn check_key_pair(has_cert: bool, has_key: bool) -> Result<(), &'static str> {
    let alone = "it has one of ssl-cert and ssl-key: they go together";
    if has_cert == has_key { Ok(()) } else { Err(alone) }
}

/// Checks that the files can be opened that options of a URL of this scheme name.
///
/// # Errors
///
/// [`BackendErrorKind::Misconfigured`]: one of them cannot; the message names it and its option.
pub fn check_files<'a>(
    scheme: &str,
    files: impl IntoIterator<Item = (&'static str, &'a Path)>,
) -> Result<(), BackendError> {
    for (option, path) in files {
        File::open(path).map_err(|error| {
            let path = path.display();
            let message = format!("cannot read {path}, the {option} of the {scheme}: URL");
            BackendError::new(BackendErrorKind::Misconfigured, message).with_source(error)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connecting_may_take_a_minute_at_most_and_some_time_at_least() {
        let longest = check_connect_timeout("s", Duration::MAX).unwrap();
        assert_eq!(longest, CONNECT_TIMEOUT_MAX);
        let error = check_connect_timeout("s", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Misconfigured, "{error}");
    }

    #[test]
    fn nothing_shows_the_password() {
        for url in ["s://u:secret@a:1,b/shop?table=locks", "s://u@a/?password=secret"] {
            let shown = format!("{:?}", ServerUrls::parse(&["s"], url).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
        for url in ["u:secret://@a", "s://u:secret", "s://u:/secret@a", "s://u:secret@a/?b=%ff"] {
            let error = ServerUrls::parse(&["s"], url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn options_are_decoded_and_a_plus_stays_one() {
        let urls = ServerUrls::parse(&["s"], "s://h?a=b+c%20d&e=").unwrap();
        assert_eq!(urls.options, [("a".into(), "b+c d".into()), ("e".into(), String::new())]);
        assert_eq!(urls.each[0].as_str(), "s://h");
    }

    #[test]
    fn addresses_are_written_as_in_a_url() {
        assert_eq!(host_and_port("h", 7, 7), "h");
        assert_eq!(host_and_port("::1", 8, 7), "[::1]:8");
        assert_eq!(without_brackets("[::1]"), "::1");
        assert_eq!(without_brackets("h"), "h");
    }
}
