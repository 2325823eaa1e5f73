//! Tests of how settings are found: who wins, and what is refused.

use std::{collections::HashMap, ffi::OsString, fs, os::unix::ffi::OsStringExt};

use super::*;

/// A user's surroundings in a directory of their own.
struct World {
    dir: tempfile::TempDir,
    variables: HashMap<String, OsString>,
    user: u32,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let variables = HashMap::from([("HOME".to_owned(), dir.path().join("home").into())]);
        fs::create_dir_all(dir.path().join("home/.config")).unwrap();
        World { dir, variables, user: 1000 }
    }

    fn set(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    fn root(self) -> Self {
        self.user(0)
    }

    fn user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn find(&self, store: Option<&str>) -> Result<Settings, SettingsError> {
        Settings::find(
            store,
            None,
            &Surroundings {
                variable: &|name| self.variables.get(name).cloned(),
                user: Uid::from_raw(self.user),
                system_config: &self.dir.path().join("system.toml"),
                working_dir: &|| Ok("/base".into()),
            },
        )
    }

    fn store(&self, store: Option<&str>) -> String {
        self.find(store).unwrap().store.to_string()
    }
}

const USER_CONFIG: &str = "home/.config/lockctl.toml";

#[test]
fn the_nearer_choice_wins() {
    let world = World::new()
        .file("system.toml", "store = 'sqlite:/system'\nkill-grace = '1s'\nbusy-status = 7");
    assert_eq!(world.store(None), "sqlite:/system");
    let world = world.file(USER_CONFIG, "store = 'sqlite:/user'\nkill-grace = '2s'");
    assert_eq!(world.store(None), "sqlite:/user");
    let settings = world.find(None).unwrap();
    assert_eq!(settings.kill_grace, Some(Duration::from_secs(2)));
    assert_eq!(settings.busy_status, Some(7));
    assert_eq!(settings.chosen_by, Choice::File(world.dir.path().join(USER_CONFIG)));
    let world = world.set(STORE_VARIABLE, "sqlite:variable");
    assert_eq!(world.store(None), "sqlite:/base/variable");
    assert_eq!(world.store(Some("sqlite:option")), "sqlite:/base/option");
}

#[test]
fn defaults_are_the_users_own() {
    let world = World::new();
    let home = world.dir.path().join("home");
    assert_eq!(
        world.store(None),
        format!("sqlite:{}/.local/state/lockctl/locks.db", home.display())
    );
    let world = world.set("XDG_STATE_HOME", "/state");
    assert_eq!(world.store(None), "sqlite:/state/lockctl/locks.db");
    assert_eq!(world.root().store(None), "sqlite:/var/lib/lockctl/locks.db");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let world = World::new().set(STORE_VARIABLE, "").set("XDG_STATE_HOME", "relative");
    assert!(world.store(None).ends_with("home/.local/state/lockctl/locks.db"));
}

#[test]
fn without_home_only_a_chosen_store_is_known() {
    for home in ["", "relative"] {
        let world = World::new().set("HOME", home);
        assert!(matches!(world.find(None), Err(SettingsError::NoHome)));
        assert_eq!(world.store(Some("sqlite:/l")), "sqlite:/l");
    }
}

#[test]
fn under_sudo_the_store_has_to_be_chosen() {
    let world = World::new().root().set("SUDO_UID", "1000").set("SUDO_USER", "ann");
    let error = world.find(None).unwrap_err().to_string();
    for word in ["ann", "--store", STORE_VARIABLE, "system.toml", "/var/lib/lockctl"] {
        assert!(error.contains(word), "no {word} in: {error}");
    }
    assert_eq!(world.store(Some("sqlite:/l")), "sqlite:/l");
    let world = world.file("system.toml", "store = 'sqlite:/system'");
    assert_eq!(world.store(None), "sqlite:/system");
    let by_root = World::new().root().set("SUDO_UID", "0");
    assert_eq!(by_root.store(None), "sqlite:/var/lib/lockctl/locks.db");
    let back_to_a_user = World::new().set("SUDO_UID", "1000");
    assert!(back_to_a_user.find(None).is_ok());
    // Whoever becomes another user excludes nobody either, also root.
    for uid in ["0", "1000"] {
        let another = World::new().user(65534).set("SUDO_UID", uid).set("SUDO_USER", "ann");
        let error = another.find(None).unwrap_err().to_string();
        assert!(error.contains("ann") && error.contains("home/.local/state"), "{error}");
        assert_eq!(another.store(Some("sqlite:/l")), "sqlite:/l");
    }
}

#[test]
fn a_relative_path_is_refused_where_it_would_depend_on_the_directory() {
    let world = World::new().file(USER_CONFIG, "store = 'sqlite:l.db'");
    assert!(matches!(
        world.find(None),
        Err(SettingsError::Url { by: Choice::File(_), source: UrlError::Relative(_) })
    ));
}

#[test]
fn a_password_is_kept_off_the_command_line() {
    let error = World::new().find(Some("mysql://u:secret@h/db")).unwrap_err();
    assert!(matches!(error, SettingsError::PasswordInArguments));
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn an_unknown_option_on_the_command_line_is_told_what_there_is() {
    let error = World::new().find(Some("redis://h/0?pass=secret")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--store redis:*** has a part that is not known and may be a password, which every user who \
         runs ps would see: the options of servers are table, namespace, connect-timeout, \
         ssl-mode, sslmode, replicas, sentinel, sentinel-user, password-file, sentinel-password-file, \
         socket, ssl-ca, ssl-cert, ssl-key, sslca, sslcert, sslkey"
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn what_is_no_text_is_refused() {
    let world = World::new().set(STORE_VARIABLE, OsString::from_vec(b"sqlite:/\xff".to_vec()));
    assert!(matches!(world.find(None), Err(SettingsError::NotText(STORE_VARIABLE))));
}

#[test]
fn a_bad_file_stops_even_a_chosen_store() {
    let world = World::new().file("system.toml", "stoer = 'x'");
    assert!(matches!(world.find(Some("sqlite:/l")), Err(SettingsError::Config(_))));
}

#[test]
fn a_nested_lockctl_finds_the_same_store() {
    let world = World::new().set(NAMESPACE_VARIABLE, "web");
    assert_eq!(
        world.find(Some("sqlite:l.db")).unwrap().for_child(),
        [
            (STORE_VARIABLE, Some("sqlite:/base/l.db".into())),
            (NAMESPACE_VARIABLE, Some("web".into()))
        ]
    );
}

#[cfg(feature = "mysql")]
mod mysql {
    use super::*;

    const SECRET: &str = "mysql://u:secret@h/db?table=t";

    #[test]
    fn a_url_without_a_password_is_passed_on_to_the_command() {
        let url = "mysql://u@h/db?password-file=p&namespace=web";
        let settings = World::new().find(Some(url)).unwrap();
        let whole = "mysql://u@h/db?password-file=/base/p&namespace=web";
        assert_eq!(settings.for_child()[0], (STORE_VARIABLE, Some(whole.into())));
        assert_eq!(settings.store.to_string(), whole);
    }

    #[test]
    fn a_password_from_the_environment_is_kept_from_the_command_which_is_told_so() {
        let settings = World::new().set(STORE_VARIABLE, SECRET).find(None).unwrap();
        let shown = "mysql://u:***@h/db?table=t";
        assert_eq!(settings.for_child()[0], (STORE_VARIABLE, Some(shown.into())));
        assert!(!format!("{settings:?} {}", settings.store).contains("secret"), "{settings:?}");
        let error = World::new().set(STORE_VARIABLE, shown).find(None).unwrap_err();
        assert!(matches!(error, SettingsError::Url { source: UrlError::Withheld(_), .. }));
    }

    #[test]
    fn a_configuration_file_with_a_password_is_found_by_the_command_itself() {
        let world = World::new().file(USER_CONFIG, &format!("store = '{SECRET}'"));
        let settings = world.find(None).unwrap();
        assert_eq!(settings.for_child()[0], (STORE_VARIABLE, None));
        let plain = World::new().file(USER_CONFIG, "store = 'mysql://u@h/db'");
        let settings = plain.find(None).unwrap();
        assert_eq!(settings.for_child()[0], (STORE_VARIABLE, Some("mysql://u@h/db".into())));
    }

    #[test]
    fn a_file_of_a_configuration_file_is_named_by_its_whole_path() {
        let url = "store = 'mysql://u@h/db?password-file=p'";
        let error = World::new().file(USER_CONFIG, url).find(None).unwrap_err();
        assert!(matches!(error, SettingsError::Url { source: UrlError::Relative(_), .. }));
    }
}

#[cfg(not(feature = "mysql"))]
#[test]
fn a_backend_that_was_not_built_in_is_named() {
    let error = World::new().find(Some("mysql://h/db")).unwrap_err();
    assert!(matches!(error, SettingsError::Url { source: UrlError::NoBackend(_), .. }), "{error}");
}
