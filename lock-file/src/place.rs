//! Where a store is: a directory that says what it is, with a directory in it for each namespace.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lock_core::files::{self, Audience, misconfigured};
use lock_core::options::check_namespace;
use lock_core::{BackendError, Reach};
use serde::{Deserialize, Serialize};

use crate::Strategy;
use crate::folder::{Folder, is_new};

/// The file that says what the directory is; no namespace has a dot in its name.
const MARK: &str = "interlock.json";
const FORMAT: u64 = 1;
/// The longest name of a directory; file systems take 255 bytes.
const NAME_BYTES_MAX: usize = 240;

/// How to get at the directory of a namespace.
#[derive(Debug)]
pub(crate) struct Place {
    store: PathBuf,
    /// The name of the directory of the namespace.
    name: String,
    audience: Audience,
    /// What the store must be, or what it is made if it is not there; `None`: whatever it is.
    strategy: Option<Strategy>,
}

/// What is in the file that says what the directory is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    interlock: u64,
    strategy: Strategy,
}

/// What every format has.
#[derive(Deserialize)]
struct AnyMark {
    interlock: u64,
}

impl Place {
    pub(crate) fn new(
        store: &Path,
        namespace: &str,
        audience: Audience,
        strategy: Option<Strategy>,
    ) -> Result<Self, BackendError> {
        check_namespace(namespace)?;
        let name = directory_name(namespace).map_err(|what| {
            misconfigured(format!("cannot use the namespace {namespace:?}: {what}"))
        })?;
        Ok(Self { store: files::absolute(store)?, name, audience, strategy })
    }

    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// Opens the directory of the namespace; makes what is missing.
    pub(crate) fn open(&self) -> Result<(Folder, Strategy, Reach), BackendError> {
        self.audience.make_directory(&self.store)?;
        let store = Folder::open(self.store.clone())?;
        let network = files::network_file_system(&self.store)
            .map_err(|e| files::error("find the file system of", &self.store, e))?;
        let strategy = self.recognize(&store, network)?;
        let folder = store.enter(&self.name)?;
        // What cannot be swept now stays for another time.
        let _ = store.sweep();
        let _ = folder.sweep();
        let reach = if network.is_some() { Reach::Network } else { Reach::Host };
        Ok((folder, strategy, reach))
    }

    /// What the store is; a directory that is empty becomes one.
    fn recognize(&self, store: &Folder, network: Option<&str>) -> Result<Strategy, BackendError> {
        loop {
            let found = store.bytes(MARK).map_err(|e| store.cannot("read", MARK, e))?;
            if let Some(bytes) = found {
                let found = read_mark(&bytes).map_err(|what| store.refuse(MARK, &what))?;
                return match self.strategy {
                    Some(wanted) if wanted != found => Err(misconfigured(format!(
                        "cannot use {} with strategy {wanted}: it was made for {found}, and all its \
                         users need the same",
                        self.store.display()
                    ))),
                    _ => self.refuse_network(found, network),
                };
            }
            let wanted = self.refuse_network(self.strategy.unwrap_or_default(), network)?;
            refuse_others(store)?;
            let mark = Mark { interlock: FORMAT, strategy: wanted };
            let mut bytes = serde_json::to_vec(&mark).unwrap_or_default();
            bytes.push(b'\n');
            // Of many who try that at once one succeeds; then all read the same.
            store.write(&[&bytes])?.link(MARK)?;
        }
    }

    /// Whether flock excludes those on other hosts is not said by the file system.
    fn refuse_network(
        &self,
        strategy: Strategy,
        network: Option<&str>,
    ) -> Result<Strategy, BackendError> {
        match (strategy, network) {
            (Strategy::Flock, Some(name)) => Err(misconfigured(format!(
                "cannot use strategy flock in {}, which is on {name}, where it may not exclude other \
                 hosts: use strategy excl, a local disk, or a server",
                self.store.display()
            ))),
            _ => Ok(strategy),
        }
    }
}

fn read_mark(bytes: &[u8]) -> Result<Strategy, String> {
    let other = |_| "it is of another program, or damaged".to_owned();
    let any: AnyMark = serde_json::from_slice(bytes).map_err(other)?;
    if any.interlock != FORMAT {
        return Err(format!(
            "it has format {} and this release knows {FORMAT}; upgrade",
            any.interlock
        ));
    }
    let mark: Mark = serde_json::from_slice(bytes).map_err(|e| format!("it is damaged: {e}"))?;
    Ok(mark.strategy)
}

/// A directory with other things in it is not meant, or a store that has lost its mark.
fn refuse_others(store: &Folder) -> Result<(), BackendError> {
    let is_other = |name: &String| !name.starts_with('.') && name != "lost+found" && !is_new(name);
    match store.names()?.into_iter().find(is_other) {
        // Somebody else may just have made it.
        Some(name) if name != MARK && !store.has(MARK)? => Err(misconfigured(format!(
            "cannot make a store in {}: it has {name:?} in it, and no file {MARK:?} that says that it \
             is a store; name an empty directory, or one that is not there yet",
            store.path().display()
        ))),
        _ => Ok(()),
    }
}

/// The name of the directory of a namespace: the same for the same bytes, also where a file system takes
/// upper and lower case, or two ways to write a letter, for the same.
fn directory_name(namespace: &str) -> Result<String, String> {
    let mut name = String::new();
    for byte in namespace.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            _ => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "its directory's name would have {} bytes; {NAME_BYTES_MAX} are allowed",
            name.len()
        ));
    }
    Ok(name)
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flock => "flock",
            Self::Excl => "excl",
        })
    }
}

/// As it is written in a URL; anything else is [`Misconfigured`](lock_core::BackendErrorKind::Misconfigured).
impl FromStr for Strategy {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "flock" => Ok(Self::Flock),
            "excl" => Ok(Self::Excl),
            _ => Err(misconfigured(format!("there is no strategy {text:?}: it is flock or excl"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_have_directories_of_their_own_on_any_file_system() {
        for (namespace, name) in [
            ("default", "default"),
            ("Default", "%44efault"),
            ("a/b", "a%2Fb"),
            ("..", "%2E%2E"),
            ("interlock.json", "interlock%2Ejson"),
            ("%2F", "%252%46"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(directory_name(namespace).unwrap(), name);
        }
        assert_eq!(directory_name(&"n".repeat(240)).unwrap().len(), 240);
        let what = directory_name(&"N".repeat(81)).unwrap_err();
        assert!(what.contains("243 bytes"), "{what}");
    }

    #[test]
    fn strategies_are_read_as_they_are_written() {
        for strategy in [Strategy::Flock, Strategy::Excl] {
            assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), strategy);
        }
        let error = "Flock".parse::<Strategy>().unwrap_err();
        assert!(error.to_string().contains("\"Flock\""), "{error}");
    }

    #[test]
    fn flock_is_for_local_disks_and_excl_for_all() {
        let place = Place::new(Path::new("/locks"), "default", Audience::OWNER, None).unwrap();
        let error = place.refuse_network(Strategy::Flock, Some("NFS")).unwrap_err();
        assert!(error.to_string().contains("on NFS") && error.to_string().contains("excl"));
        for (strategy, network) in
            [(Strategy::Flock, None), (Strategy::Excl, None), (Strategy::Excl, Some("NFS"))]
        {
            assert_eq!(place.refuse_network(strategy, network).unwrap(), strategy);
        }
    }
}
