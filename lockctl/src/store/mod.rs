//! Which store and settings are meant: options, environment, configuration files and defaults, in this order.

mod config;
mod url;

use std::{
    env,
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use config::Lease;
use config::{Config, ConfigError};
#[cfg(any(feature = "mysql", feature = "redis"))]
pub(crate) use url::ServerUrl;
pub(crate) use url::Store;
use url::UrlError;

use rustix::process::{Uid, geteuid};

use crate::history::{self, JournalPlace};

/// Where a store for all users of a host is named.
pub(crate) const SYSTEM_CONFIG: &str = "/etc/lockctl.toml";
/// Where root has what it keeps.
pub(crate) const ROOT_STATE: &str = "/var/lib";
/// Where users have it, below their homes.
pub(crate) const USER_STATE: &str = ".local/state";
/// What of that is the store, if none is chosen.
pub(crate) const DEFAULT_STORE: &str = "lockctl/locks.db";

/// The variable that names a store.
pub(crate) const STORE_VARIABLE: &str = "LOCKCTL_STORE";
/// The variable that names a namespace.
pub(crate) const NAMESPACE_VARIABLE: &str = "LOCKCTL_NAMESPACE";

/// The variable that names a journal.
pub(crate) const JOURNAL_VARIABLE: &str = "LOCKCTL_JOURNAL";

/// The time between TERM and KILL unless somebody says otherwise.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The store; its `Display` shows no password.
    pub(crate) store: Store,
    /// Who chose the store.
    pub(crate) chosen_by: Choice,
    /// The namespace, where one was chosen.
    pub(crate) namespace: Option<String>,
    /// The exit status for busy locks, where one was configured.
    pub(crate) busy_status: Option<u8>,
    /// The time between TERM and KILL, where one was configured.
    pub(crate) kill_grace: Option<Duration>,
    /// The lease, where one was configured.
    pub(crate) lease: Option<Lease>,
    /// Where the journal is.
    pub(crate) journal: JournalPlace,
}

/// Who chose a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `--store`.
    Option,
    /// `LOCKCTL_STORE`.
    Environment,
    /// This configuration file.
    File(PathBuf),
    /// Nobody.
    Default,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Option => f.write_str("--store"),
            Choice::Environment => f.write_str(STORE_VARIABLE),
            Choice::File(path) => write!(f, "{}", path.display()),
            Choice::Default => f.write_str("default"),
        }
    }
}

/// Why there are no settings; all of it is a bad configuration (exit 78).
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The URL is bad, or its backend missing.
    #[error("store given by {by}")]
    Url {
        /// Who gave it.
        by: Choice,
        /// What is wrong.
        source: UrlError,
    },
    /// A variable that is no text.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// `--store` with a password.
    #[error(
        "--store with a password shows it to every user who runs ps: put the password into a file and \
         password-file=PATH into the URL, or the URL into {STORE_VARIABLE} or a configuration file"
    )]
    PasswordInArguments,
    /// `--store` with something of which it is not known whether it is a password.
    #[error(
        "--store {store} has a part that is not known and may be a password, which every user who runs \
         ps would see: the options of servers are {options}"
    )]
    DoubtInArguments {
        /// What is known of the URL.
        store: String,
        /// What it may have.
        options: String,
    },
    /// A configuration file is bad.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing says where the user's store is.
    #[error("HOME is not set, so there is no default store: pass --store or set {STORE_VARIABLE}")]
    NoHome,
    /// Under sudo nobody chose a store.
    #[error(
        "under sudo it is not clear whose store is meant: this user's own ({store}) excludes nobody \
         who uses the store of user {user}; pass --store, set {STORE_VARIABLE} or write {}",
        config.display()
    )]
    Sudo {
        /// The store that is the default of the user who this runs as.
        store: Store,
        /// The user who called sudo.
        user: String,
        /// The system's configuration file.
        config: PathBuf,
    },
    /// The working directory, which a relative path needs, is gone.
    #[error("the working directory, to which {by} is relative, cannot be told")]
    WorkingDirectory {
        /// Who gave the path.
        by: Choice,
        /// What the system said.
        source: io::Error,
    },
}

/// What the settings are found in: the process's own, or a test's.
pub(crate) struct Surroundings<'a> {
    /// A variable of the environment.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The effective user.
    pub(crate) user: Uid,
    /// The system's configuration file.
    pub(crate) system_config: &'a Path,
    /// The working directory.
    pub(crate) working_dir: &'a dyn Fn() -> io::Result<PathBuf>,
}

impl Surroundings<'static> {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Surroundings {
            variable: &|name| env::var_os(name),
            user: geteuid(),
            system_config: Path::new(SYSTEM_CONFIG),
            working_dir: &env::current_dir,
        }
    }
}

impl Settings {
    /// Finds them; `store` and `namespace` are those given as options.
    pub(crate) fn find(
        store: Option<&str>,
        namespace: Option<&str>,
        around: &Surroundings<'_>,
    ) -> Result<Self, SettingsError> {
        let user_config =
            around.user_dir("XDG_CONFIG_HOME", ".config").map(|d| d.join("lockctl.toml"));
        let user = user_config.as_deref().map(config::read).transpose()?.unwrap_or_default();
        let system = config::read(around.system_config)?;
        let (store, chosen_by) = around.store(store, &user, user_config.as_deref(), &system)?;
        let namespace = match namespace {
            Some(namespace) => Some(namespace.to_owned()),
            None => around.text(NAMESPACE_VARIABLE)?.or(user.namespace).or(system.namespace),
        };
        let journal = (around.variable)(JOURNAL_VARIABLE).filter(|value| !value.is_empty());
        let journal = journal.map(PathBuf::from).or(user.journal).or(system.journal);
        let journal = match journal {
            Some(chosen) => around.chosen_journal(&chosen),
            None => around.default_journal(&store),
        };
        Ok(Self {
            store,
            chosen_by,
            journal,
            namespace,
            busy_status: user.busy_status.or(system.busy_status),
            kill_grace: user.kill_grace.or(system.kill_grace),
            lease: user.lease.or(system.lease),
        })
    }

    /// The time between TERM and KILL: that chosen, or the configured one.
    pub(crate) fn kill_grace(&self, chosen: Option<Duration>) -> Duration {
        chosen.or(self.kill_grace).unwrap_or(KILL_GRACE)
    }

    /// Whether the store's URL has the password in it, which its `Display` does not show.
    pub(crate) fn has_password(&self) -> bool {
        self.store.server().is_some_and(url::ServerUrl::has_password)
    }

    /// What CMD's environment says of the store: `None` is a variable to be removed.
    ///
    /// A nested `lockctl` has to find the same store, from whatever directory; only a password never goes there:
    /// it finds a configuration file by itself, and says what to do about a variable that had a password.
    pub(crate) fn for_child(&self) -> Vec<(&'static str, Option<OsString>)> {
        let has_password = self.has_password();
        let store = match &self.chosen_by {
            Choice::File(_) if has_password => None,
            _ if has_password => Some(self.store.to_string().into()),
            _ => Some(self.store.url()),
        };
        let namespace = self.namespace.clone().map(OsString::from);
        let mut variables = vec![(STORE_VARIABLE, store), (NAMESPACE_VARIABLE, namespace)];
        match &self.journal {
            JournalPlace::Chosen(path) => variables.push((JOURNAL_VARIABLE, Some(path.into()))),
            JournalPlace::None => variables.push((JOURNAL_VARIABLE, Some("none".into()))),
            // A nested one finds it by its store.
            JournalPlace::Beside { .. } | JournalPlace::State(_) => {}
        }
        variables
    }

    /// With the journal that was chosen for this command, if one was.
    pub(crate) fn with_journal(self, chosen: Option<&Path>) -> Self {
        match chosen {
            Some(chosen) => {
                Self { journal: Surroundings::of_process().chosen_journal(chosen), ..self }
            }
            None => self,
        }
    }

    /// What is told of the requests to this store.
    pub(crate) fn journal(&self, is_quiet: bool) -> history::Journal {
        history::Journal::new(self.journal.clone(), self.describe(), is_quiet)
    }
}

impl Surroundings<'_> {
    fn store(
        &self,
        option: Option<&str>,
        user: &Config,
        user_config: Option<&Path>,
        system: &Config,
    ) -> Result<(Store, Choice), SettingsError> {
        if let Some(url) = option.filter(|url| url::has_password(url)) {
            return Err(match url::doubt(url) {
                None => SettingsError::PasswordInArguments,
                Some(options) => {
                    SettingsError::DoubtInArguments { store: url::without_secrets(url), options }
                }
            });
        }
        let variable = self.text(STORE_VARIABLE)?;
        let (url, by) = if let Some(url) = option {
            (url, Choice::Option)
        } else if let Some(url) = &variable {
            (url.as_str(), Choice::Environment)
        } else if let (Some(url), Some(file)) = (&user.store, user_config) {
            (url.as_str(), Choice::File(file.to_owned()))
        } else if let Some(url) = &system.store {
            (url.as_str(), Choice::File(self.system_config.to_owned()))
        } else {
            return Ok((self.default_store()?, Choice::Default));
        };
        let base = match by {
            Choice::File(_) => None,
            _ => Some((self.working_dir)()),
        };
        let parsed = url::parse(url, base.as_ref().and_then(|dir| dir.as_deref().ok()));
        match (parsed, base) {
            (Err(UrlError::Relative(_)), Some(Err(source))) => {
                Err(SettingsError::WorkingDirectory { by, source })
            }
            (Err(source), _) => Err(SettingsError::Url { by, source }),
            (Ok(store), _) => match store.lacks_backend() {
                Some(kind) => {
                    Err(SettingsError::Url { by, source: UrlError::NoBackend(kind.into()) })
                }
                None => Ok((store, by)),
            },
        }
    }

    fn default_store(&self) -> Result<Store, SettingsError> {
        let dir = if self.user.is_root() {
            ROOT_STATE.into()
        } else {
            self.user_dir("XDG_STATE_HOME", USER_STATE).ok_or(SettingsError::NoHome)?
        };
        let store = Store::Sqlite(dir.join(DEFAULT_STORE));
        let own = self.user.as_raw().to_string();
        match (self.variable)("SUDO_UID").filter(|uid| !uid.is_empty() && *uid != *own) {
            Some(uid) => Err(SettingsError::Sudo {
                store,
                user: (self.variable)("SUDO_USER").unwrap_or(uid).to_string_lossy().into_owned(),
                config: self.system_config.to_owned(),
            }),
            None => Ok(store),
        }
    }

    /// A relative path is taken from the working directory; without one it is left to fail.
    fn chosen_journal(&self, chosen: &Path) -> JournalPlace {
        if chosen == "none" {
            return JournalPlace::None;
        }
        JournalPlace::Chosen((self.working_dir)().unwrap_or_default().join(chosen))
    }

    /// That beside a store in files, or else of the user; the system's for root.
    fn default_journal(&self, store: &Store) -> JournalPlace {
        match store {
            Store::Sqlite(path) => {
                let mut journal = OsString::from(path);
                journal.push(history::SUFFIX);
                return JournalPlace::Beside { journal: journal.into(), store: path.clone() };
            }
            Store::File(dir, _) => {
                let journal = dir.join(format!("interlock{}", history::SUFFIX));
                return JournalPlace::Beside { journal, store: dir.clone() };
            }
            Store::Mysql(_) | Store::Redis(_) => {}
        }
        let dir = if self.user.is_root() {
            Some(ROOT_STATE.into())
        } else {
            self.user_dir("XDG_STATE_HOME", USER_STATE)
        };
        // What is shown of a URL has no password in it.
        let is_kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String =
            store.to_string().chars().map(|c| if is_kept(c) { c } else { '-' }).take(100).collect();
        dir.map_or(JournalPlace::None, |dir| {
            JournalPlace::State(dir.join("lockctl").join(name + history::SUFFIX))
        })
    }

    /// A directory of the user as the XDG specification finds it: a relative one counts as not set.
    fn user_dir(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let absolute =
            |name: &str| (self.variable)(name).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute(variable).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
    }

    /// A variable's text; an empty one counts as not set.
    fn text(&self, name: &'static str) -> Result<Option<String>, SettingsError> {
        match (self.variable)(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| SettingsError::NotText(name)),
        }
    }
}

#[cfg(test)]
mod tests;
