//! The programs of a server: where they are, and how they are run.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetch::{Suite, Wanted, fetch, run};
use crate::{Error, Kind, RedisKind};

/// The programs of a server, ready to be run.
#[derive(Debug, Clone)]
pub struct Programs {
    pub(crate) kind: Kind,
    server: PathBuf,
    /// Where the unpacked packages are; `None` for what is installed.
    root: Option<PathBuf>,
    /// An initialised data directory, to be copied.
    pub(crate) template: PathBuf,
}

impl Programs {
    /// Finds the programs of a server and gets them if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where there are none and none can be got; others when what was got
    /// does not work.
    pub fn find(kind: Kind) -> Result<Self, Error> {
        let cache = cache()?;
        let _lock = lock(&cache, kind.name())?;
        let root = cache.join(kind.name());
        let why = get(kind.wanted(), &root);
        let (server, root) = if root.exists() {
            (root.join("usr/sbin").join(kind.program()), Some(root))
        } else if let Some(server) = on_path(kind.program()).filter(|server| kind.is(server)) {
            (server, None)
        } else {
            return Err(Error::unavailable(kind, kind.url_variable(), kind.wanted(), why));
        };
        let template = cache.join(format!("{}-data", kind.name()));
        let programs = Self { kind, server, root, template };
        if !programs.template.exists() {
            programs.initialize(&cache)?;
        }
        Ok(programs)
    }

    /// Makes the data directory that instances begin with.
    fn initialize(&self, cache: &Path) -> Result<(), Error> {
        let work = tempfile::tempdir_in(cache).map_err(Error::io("create a folder in", cache))?;
        let data = work.path().join("data");
        match self.kind {
            Kind::MariaDb => {
                let script = match &self.root {
                    Some(root) => root.join("usr/bin/mariadb-install-db"),
                    None => "mariadb-install-db".into(),
                };
                let mut command = Command::new(script);
                self.surround(&mut command);
                command.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
                if let Some(root) = &self.root {
                    command.arg(format!("--basedir={}", root.join("usr").display()));
                }
                run(command.args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                    "--innodb-log-file-size=8M",
                    &format!("--user={}", user()),
                ]))?;
            }
            Kind::MySql => {
                let mut command = self.server();
                command.arg("--initialize-insecure").arg(format!("--datadir={}", data.display()));
                run(command.arg("--innodb-redo-log-capacity=8M"))?;
                let name = data.join("auto.cnf");
                fs::remove_file(&name).map_err(Error::io("remove", name))?;
            }
        }
        fs::rename(&data, &self.template).map_err(Error::io("create", &self.template))
    }

    /// The server, to be given more arguments.
    pub(crate) fn server(&self) -> Command {
        let mut command = match (&self.root, self.kind) {
            // With the C library that it was built for.
            (Some(root), Kind::MySql) => {
                let mut command = Command::new(loader(root));
                command.arg("--library-path").arg(libraries(root)).arg(&self.server);
                command
            }
            _ => Command::new(&self.server),
        };
        self.surround(&mut command);
        command.arg("--no-defaults").arg(format!("--user={}", user()));
        if let Some(root) = &self.root {
            let usr = root.join("usr");
            command.arg(format!("--basedir={}", usr.display()));
            command.arg(format!("--plugin-dir={}", usr.join("lib/mysql/plugin").display()));
            command.arg(format!("--lc-messages-dir={}", usr.join("share/mysql").display()));
        }
        command
    }

    pub(crate) fn surround(&self, command: &mut Command) {
        if let (Some(root), Kind::MariaDb) = (&self.root, self.kind) {
            command.env("LD_LIBRARY_PATH", libraries(root));
        }
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadbd",
            Self::MySql => "mysqld",
        }
    }

    /// Whether a program of that name is the server of this kind: some systems call MariaDB `mysqld` too.
    fn is(self, server: &Path) -> bool {
        let version = Command::new(server).arg("--version").output();
        let is_mariadb =
            version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("MariaDB"));
        is_mariadb == (self == Self::MariaDb)
    }

    fn wanted(self) -> Wanted {
        match self {
            Self::MariaDb => Wanted {
                packages: &["mariadb-server-core", "mariadb-client-core"],
                suite: Suite::Own,
            },
            Self::MySql => Wanted { packages: &["mysql-server-core"], suite: Suite::Other("sid") },
        }
    }
}

/// Gets all servers, and says which there are not.
///
/// # Errors
///
/// As [`Programs::find`], save that one that is unavailable is an error only where the variable `CI`
/// is `true`.
pub fn prepare() -> Result<Vec<String>, Error> {
    let mut missing = Vec::new();
    let mut note = |variable: &str, find: &dyn Fn() -> Result<(), Error>| {
        if env::var_os(variable).is_some() {
            return Ok(());
        }
        match find() {
            Err(error) if error.may_be_skipped() => {
                missing.push(error.to_string());
                Ok(())
            }
            result => result,
        }
    };
    for kind in Kind::ALL {
        note(kind.url_variable(), &|| Programs::find(kind).map(drop))?;
    }
    for kind in RedisKind::ALL {
        note(kind.url_variable(), &|| kind.prepare())?;
    }
    Ok(missing)
}

/// Gets packages unless they are there; says why that failed.
pub(crate) fn get(wanted: Wanted, root: &Path) -> Option<String> {
    if root.exists() || on_path("apt-get").is_none() || on_path("dpkg").is_none() {
        return None;
    }
    fetch(wanted, root).err().map(|error| error.to_string())
}

/// Keeps other processes away from something in the cache, as long as the file is open.
pub(crate) fn lock(cache: &Path, name: &str) -> Result<File, Error> {
    let lock = File::create(cache.join(format!("{name}.lock")));
    let lock = lock.map_err(Error::io("create a lock in", cache))?;
    lock.lock().map_err(Error::io("lock a file in", cache))?;
    Ok(lock)
}

/// The folder where what was got is kept.
pub(crate) fn cache() -> Result<PathBuf, Error> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("INTERLOCK_SERVERS")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("interlock/servers")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/interlock/servers")))
        .unwrap_or_else(|| env::temp_dir().join("interlock-servers"));
    fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
    Ok(cache)
}

/// Where a program of servers is, which may not be on the `PATH` of who is not root.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    find_program(program, ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from))
}

/// Where a program is: on `PATH`, or in one of these folders besides.
pub fn find_program(program: &str, besides: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(besides).map(|place| place.join(program)).find(|p| p.is_file())
}

/// The user who runs this; a server refuses to run as root unless it is told to.
fn user() -> String {
    let uid = rustix::process::geteuid();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.as_raw().to_string()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.as_raw().to_string())
}

/// All folders of libraries in what was unpacked.
pub(crate) fn libraries(root: &Path) -> String {
    let mut places = Vec::new();
    for lib in ["usr/lib", "lib"] {
        let triplets = fs::read_dir(root.join(lib)).into_iter().flatten().flatten();
        places.extend(triplets.map(|one| one.path()).filter(|one| one.ends_with(triplet())));
    }
    // Some libraries of a server are in a folder of their own.
    let own: Vec<PathBuf> = places.iter().map(|place| place.join("mysql/private")).collect();
    places.extend(own);
    places.push(root.join("usr/lib/mysql/private"));
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(":")
}

pub(crate) fn triplet() -> String {
    format!("{}-linux-gnu", env::consts::ARCH)
}

/// The program that loads others, which comes with the C library.
fn loader(root: &Path) -> PathBuf {
    let place = root.join("usr/lib").join(triplet());
    let files = fs::read_dir(&place).into_iter().flatten().flatten();
    let mut names = files.map(|file| file.path());
    let is_loader = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
    };
    names.find(is_loader).unwrap_or_else(|| root.join("usr/lib64/ld-linux-x86-64.so.2"))
}
