//! Fuzzes lock names: exactly what the rules allow is taken, and an error shows nothing that harms.
//!
//! The input is two names, separated by a NUL.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lock_core::LockName;

fuzz_target!(|input: &str| {
    let (one, other) = input.split_once('\0').unwrap_or((input, "app"));
    let names = [one, other].map(|text| {
        let fits = !text.is_empty()
            && text.len() <= LockName::BYTES_MAX
            && !text.contains(char::is_control)
            && text.split('/').all(|segment| !segment.is_empty());
        match LockName::new(text) {
            Ok(name) => {
                assert!(fits, "{text:?} was taken");
                assert_eq!(name.as_str(), text);
                assert_eq!(name.to_string(), text);
                assert_eq!(text.parse::<LockName>().as_ref(), Ok(&name));
                Some(name)
            }
            Err(error) => {
                assert!(!fits, "{text:?} was refused: {error}");
                assert_eq!(error.name(), text);
                let kinds = [
                    error.is_empty(),
                    error.is_too_long(),
                    error.is_empty_segment(),
                    error.is_control_character(),
                ];
                assert_eq!(kinds.iter().filter(|is| **is).count(), 1, "{error:?}");
                let shown = error.to_string();
                assert!(!shown.contains(char::is_control), "{shown:?}");
                assert!(shown.chars().count() < 1000, "{shown}");
                None
            }
        }
    });
    if let [Some(one), Some(other)] = names {
        let segments = |name: &LockName| name.as_str().split('/').map(str::to_owned).collect();
        let (above, below): (Vec<String>, Vec<String>) = (segments(&one), segments(&other));
        assert_eq!(one.covers(&other), below.starts_with(&above));
        assert_eq!(other.is_below(&one), below.starts_with(&above) && below != above);
    }
});
