//! URLs of stores: what is read, refused and shown.

use super::*;

fn at_work(url: &str) -> Result<Store, UrlError> {
    parse(url, Some(Path::new("/base")))
}

#[test]
fn every_way_to_write_a_path() {
    for (url, path) in [
        ("sqlite:/var/l.db", "/var/l.db"),
        ("sqlite:///var/l.db", "/var/l.db"),
        ("sqlite:l.db", "/base/l.db"),
        ("sqlite:./l.db", "/base/l.db"),
        ("sqlite:.//l.db", "/base/l.db"),
        ("sqlite:./~l.db", "/base/~l.db"),
        ("sqlite:../l.db", "/base/../l.db"),
        ("sqlite:/a b/%20@:l.db", "/a b/%20@:l.db"),
    ] {
        assert_eq!(at_work(url), Ok(Store::Sqlite(path.into())), "{url}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    for url in ["sqlite:/l.db", "sqlite:////l.db", "sqlite://///l.db", "sqlite:l.db"] {
        let store = at_work(url).unwrap();
        assert_eq!(parse(store.url().to_str().unwrap(), None).as_ref(), Ok(&store), "{url}");
        assert_eq!(*store.url(), *store.to_string());
    }
}

#[test]
fn what_may_mean_another_store_is_refused() {
    for url in [
        "",
        "locks.db",
        "/var/l.db",
        "C:\\l.db",
        "sqlite:",
        "sqlite://",
        "sqlite:/",
        "sqlite:./",
        "sqlite:////",
        "sqlite://l.db",
        "sqlite://host/l.db",
        "sqlite::memory:",
        "sqlite:~/l.db",
        "sqlite:/l.db?mode=ro",
        "postgres://h",
        "SQLITE:/l.db",
    ] {
        assert!(at_work(url).is_err(), "{url} was taken");
    }
    assert!(matches!(parse("sqlite:l.db", None), Err(UrlError::Relative(_))));
}

#[test]
fn a_directory_and_its_strategy() {
    let (flock, excl) = (Some("flock"), Some("excl"));
    for (url, path, strategy) in [
        ("file:/var/locks", "/var/locks", None),
        ("file:///var/locks?strategy=flock", "/var/locks", flock),
        ("file:locks?strategy=excl", "/base/locks", excl),
        ("file:////locks?strategy=excl", "//locks", excl),
    ] {
        let store = at_work(url).unwrap();
        assert_eq!(store, Store::File(path.into(), strategy), "{url}");
        assert_eq!(parse(store.url().to_str().unwrap(), None).as_ref(), Ok(&store), "{url}");
        assert_eq!(*store.url(), *store.to_string());
    }
    assert!(matches!(parse("file:locks", None), Err(UrlError::Relative(_))));
    for url in [
        "file:",
        "file:///",
        "file://host/locks",
        "file:~/locks",
        "file:/locks?",
        "file:/locks#a",
        "file:/locks?strategy=",
        "file:/locks?strategy=link",
        "file:/locks?strategy=excl&mode=1",
        "file:?strategy=excl",
    ] {
        assert!(at_work(url).is_err(), "{url} was taken");
    }
}

#[test]
fn a_password_never_shows() {
    for url in [
        "mysql://u:secret@h/db",
        "mysql://u:secret@h:1,[::1]:2/db?table=x",
        "mysql://u:secret",
        "mysql://h,u:secret",
        "mysql://u:secret]",
        "mysql://h/u:secret",
        "mysql://h/db?table=x?password=secret",
        "mysql://h/db?table=x&password=secret",
        "mysql://u:a/secret?b#c@d@h/db",
        "redis://:secret@h",
        "rediss://u:secret@h,[::1]:7/2?sentinel=m&password-file=p",
        "valkey://h:secret",
        "valkeys://h/0?password=secret",
        "mysql:u:secret@h",
        "u:secret@h",
        "u secret@h",
        "://u:secret@h",
        "mysql://h/db?password=secret",
        "mysql://h/db?password=a@secret",
        "mysql://u@h/db#password=secret",
        "h/db?password=secret",
        "postgres://u:secret@h?x=secret",
        "sqlite://u:secret@h/l.db",
        "sqlite://h/l.db?password=secret",
        "file://h/l?password=secret",
    ] {
        assert!(!without_secrets(url).contains("secret"), "{}", without_secrets(url));
        assert!(has_password(url), "{url}");
        let said = match at_work(url) {
            Ok(store) => format!("{store} {store:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!said.contains("secret"), "{said}");
    }
    assert_eq!(without_secrets("mysql://u:p@h/db?table=x"), "mysql://u:***@h/db?table=x");
    assert_eq!(without_secrets("mysql://u:p@h/db?x"), "mysql://***@h/db?***");
    assert_eq!(without_secrets("redis://:p@h/0?replicas=1"), "redis://:***@h/0?replicas=1");
    for url in [
        "mysql://h/db",
        "mariadb://u@h:3306,[::1],[::2]:7/db?table=a.b&password-file=/p:w&ssl-mode=required",
        "mysql://u@/db?socket=/run/my.sock",
        "sqlite:/a@b",
        "sqlite:///a@b",
        "redis://h:6379/0",
        "rediss://u@a,b:1/2?sentinel=m&sentinel-user=s&sentinel-password-file=/p&replicas=1",
    ] {
        assert_eq!(without_secrets(url), url);
    }
}

#[test]
fn a_server_is_kept_as_it_is_written_but_for_relative_paths() {
    for (url, whole) in [
        ("mysql://h", "mysql://h"),
        ("mariadb://u:p%40@h,i:7/db?table=t", "mariadb://u:p%40@h,i:7/db?table=t"),
        ("mysql://u@h/db?password-file=/p&x=y", "mysql://u@h/db?password-file=/p&x=y"),
        ("mysql://h/db?socket=%2Fs", "mysql://h/db?socket=%2Fs"),
        ("mysql://h/d?table=t&ssl-ca=a/b", "mysql://h/d?table=t&ssl-ca=/the%20base/a/b"),
    ] {
        let Ok(Store::Mysql(server)) = parse(url, Some(Path::new("/the base"))) else {
            panic!("{url} is not taken");
        };
        assert_eq!(server.with_secrets(), whole);
        assert_eq!(parse(whole, None), Ok(Store::Mysql(server)));
    }
    let url = "redis://:p@h?password-file=p&sentinel-password-file=q&sentinel=m";
    let Ok(Store::Redis(server)) = at_work(url) else { panic!("{url} is not taken") };
    let whole = "redis://:p@h?password-file=/base/p&sentinel-password-file=/base/q&sentinel=m";
    assert_eq!(server.with_secrets(), whole);
    assert!(matches!(parse("mysql://h?socket=s", None), Err(UrlError::Relative(_))));
    for url in ["mysql:", "mysql:/h/db", "mysql:h/db"] {
        assert!(matches!(at_work(url), Err(UrlError::NoServer(_))), "{url}");
    }
}

#[test]
fn what_is_shown_instead_of_a_password_is_none() {
    for url in ["mysql://u:p@h/db?table=t", "mysql://u:p@q@h/db?table=t", "mysql://u:p:q@h"] {
        let shown = at_work(url).unwrap().to_string();
        assert!(matches!(at_work(&shown), Err(UrlError::Withheld(_))), "{shown}");
    }
}
