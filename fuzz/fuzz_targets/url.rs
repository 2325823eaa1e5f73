//! Fuzzes store URLs: reading one never panics, and no error and no message shows a password.
//!
//! The input is texts that are separated by a NUL, from which URLs with a password are made.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

// `lockctl` is a program and offers no library; its reader of URLs stands alone.
#[allow(dead_code, reason = "lockctl uses all of it")]
#[path = "../../lockctl/src/store/url.rs"]
mod store;

/// Whatever is around it, this never shows.
const SECRET: &str = "s3cr3t";

fuzz_target!(|input: &str| {
    read(input);
    if input.contains(SECRET) {
        return; // It would be no secret.
    }
    let mut texts = input.split('\0');
    let mut next = || texts.next().unwrap_or_default();
    let (scheme, user, before, after, host) = (next(), next(), next(), next(), next());
    let password = format!("{before}{SECRET}{after}");
    for url in [
        format!("{scheme}://{user}:{password}@{host}"),
        format!("{scheme}:{user}:{password}@{host}"),
        // With slashes before it nobody could say that it is not the user of a URL, as in `mysql://USER@`.
        format!("{user}:{}@{host}", password.trim_start_matches('/')),
        format!("{scheme}://{host}?password={password}"),
        format!("{scheme}://{user}@{host}?password={password}"),
    ] {
        // All that follows `sqlite:` is a path, but for a host where none can be.
        let is_path = ["sqlite:", "file:"].iter().any(|scheme| {
            url.strip_prefix(scheme)
                .is_some_and(|rest| !rest.starts_with("//") || rest.starts_with("///"))
        });
        let shown = store::without_secrets(&url);
        if !is_path {
            assert!(!shown.contains(SECRET), "{url:?} is shown as {shown:?}");
            assert!(store::has_password(&url), "{url:?}");
        }
        let said = read(&url);
        if !is_path {
            assert!(!said.contains(SECRET), "of {url:?} is said {said:?}");
        }
    }
});

/// Reads a URL with and without a directory; tells what is said of it.
fn read(url: &str) -> String {
    let based = store::parse(url, Some(Path::new("/base")));
    let alone = store::parse(url, None);
    match (&based, &alone) {
        (Ok(store), Ok(alone)) => assert_eq!(store, alone),
        (Ok(_), Err(error)) => assert!(matches!(error, store::UrlError::Relative(_)), "{error:?}"),
        (Err(error), Err(alone)) => assert_eq!(error, alone),
        (Err(error), Ok(_)) => panic!("{url:?} is good alone, but: {error}"),
    }
    if let Ok(store) = &based {
        let written = store.url().into_string().expect("the input was text");
        assert_eq!(store::parse(&written, None), based, "{written:?}");
        if !store::has_password(&written) || written.starts_with("sqlite:") {
            assert_eq!(store.to_string(), written);
        }
    }
    match based {
        Ok(store) => format!("{store} {store:?}"),
        Err(error) => format!("{error} {error:?}"),
    }
}
