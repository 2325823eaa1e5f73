//! Encrypted connections: what each `ssl-mode` takes and refuses, with certificates made here.

use std::fs;
use std::path::{Path, PathBuf};

use lock_core::{BackendError, BackendErrorKind as Kind, LockBackend, Locks};
use lock_mysql::{MySqlBackend, MySqlOptions};
use lock_servers::Kind as Server;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::place::{PASSWORD, Place, everywhere, expect, on_own};

/// A folder of certificates and keys, as PEM files.
pub(crate) struct Keys {
    folder: TempDir,
    pub(crate) ca: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
}

impl Keys {
    /// A CA, one that is a stranger to the server, and a certificate of the server for `localhost`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let keys = Self { folder, ca: authority("ours"), stranger: authority("stranger") };
        for name in ["ca.pem", "trusted-by-server.pem"] {
            fs::write(keys.path(name), keys.ca.pem()).expect("it can be written");
        }
        fs::write(keys.path("stranger.pem"), keys.stranger.pem()).expect("it can be written");
        keys.sign("server", &["localhost"], &keys.ca);
        keys.sign("client", &["client"], &keys.ca);
        keys.sign("stranger-client", &["client"], &keys.stranger);
        keys
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(&self, name: &str, names: &[&str], ca: &CertifiedIssuer<'static, KeyPair>) {
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params(names).signed_by(&key, ca).expect("it can be signed");
        self.write(name, &certificate.pem(), &key);
    }

    fn write(&self, name: &str, certificate: &str, key: &KeyPair) {
        fs::write(self.path(&format!("{name}.pem")), certificate).expect("it can be written");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem())
            .expect("it can be written");
    }

    /// What makes a server use them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec![
            format!("--ssl-ca={}", self.path("trusted-by-server.pem").display()),
            format!("--ssl-cert={}", self.path("server.pem").display()),
            format!("--ssl-key={}", self.path("server.key").display()),
        ]
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are good");
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("there is randomness");
    CertifiedIssuer::self_signed(params, key).expect("it can be signed")
}

/// A backend of a user who reaches the server by this name, with these options.
fn by(place: &Place, user: &str, host: &str, options: &str) -> MySqlBackend {
    let url = place.url_of(user).replace("127.0.0.1", host);
    MySqlBackend::from_url(&format!("{url}?{options}")).expect("the URL is good")
}

async fn load(place: &Place, user: &str, host: &str, options: &str) -> Result<(), BackendError> {
    println!("{host} {options}");
    by(place, user, host, options).load().await.map(drop)
}

/// Has the server read its certificate again, and so take a new one.
async fn reload(place: &Place) {
    let reload = match place.kind {
        Server::MariaDb => "FLUSH SSL",
        Server::MySql => "ALTER INSTANCE RELOAD TLS",
    };
    place.run(&[reload]).await;
}

fn ca(path: &Path) -> String {
    format!("ssl-ca={}", path.display())
}

#[test]
fn each_mode_takes_what_it_says() {
    let keys = Keys::new();
    let (ours, strangers) = (ca(&keys.path("ca.pem")), ca(&keys.path("stranger.pem")));
    on_own(
        |_| {
            keys.sign("server", &["localhost"], &keys.ca);
            keys.arguments()
        },
        async |place| {
            let user = &place.plain_user().await;
            let secret = place.plain_user().await;
            place.run(&[&format!("ALTER USER '{secret}'@'%' REQUIRE SSL")]).await;
            let refused = async |host: &str, options: &str, says: &str| {
                let refused = load(place, user, host, options).await;
                expect(place, refused, Kind::Misconfigured, &[], says);
            };
            // Whether it is encrypted is for the server to say.
            for mode in ["ssl-mode=required", "ssl-mode=preferred", ""] {
                load(place, &secret, "127.0.0.1", mode).await.unwrap();
            }
            let plain = load(place, &secret, "127.0.0.1", "ssl-mode=disabled").await;
            expect(place, plain, Kind::Misconfigured, &[1045], "");
            load(place, user, "127.0.0.1", "ssl-mode=disabled").await.unwrap();

            let (any, named) = ("ssl-mode=verify-ca", "ssl-mode=verify-identity");
            load(place, user, "127.0.0.1", &format!("{any}&{ours}")).await.unwrap();
            load(place, user, "localhost", &format!("{any}&{ours}")).await.unwrap();
            load(place, user, "127.0.0.1", &ours).await.expect("a CA is there to verify");
            for (mode, verifies) in [(any, false), (named, true)] {
                let backend = by(place, user, "localhost", &format!("{mode}&{ours}"));
                let facts = backend.inspect().await.remove(0).unwrap();
                assert_eq!((facts.is_encrypted, facts.is_verified), (true, verifies), "{mode}");
            }
            load(place, user, "localhost", &format!("{named}&{ours}")).await.unwrap();
            for host in ["127.0.0.1", "localhost"] {
                refused(host, &format!("{any}&{strangers}"), "name the CA's own with ssl-ca").await;
                refused(host, &format!("{named}&{strangers}"), "name the CA's own with ssl-ca")
                    .await;
                refused(host, &strangers, "name the CA's own with ssl-ca").await;
                refused(host, any, "name the CA's own with ssl-ca").await;
            }
            refused("127.0.0.1", &format!("{named}&{ours}"), "for another name").await;
            let both = format!("{any}&{}", ca(&keys.path("server.key")));
            refused("127.0.0.1", &both, "").await;

            // A whole client, not only a greeting.
            let locks = Locks::new(by(place, user, "localhost", &format!("{named}&{ours}")));
            locks.acquire("a").await.unwrap().release().await.unwrap();
            locks.close().await.unwrap();

            keys.sign("server", &["127.0.0.1"], &keys.ca);
            reload(place).await;
            load(place, user, "127.0.0.1", &format!("{named}&{ours}")).await.unwrap();
            refused("localhost", &format!("{named}&{ours}"), "for another name").await;
            load(place, user, "localhost", &format!("{any}&{ours}")).await.unwrap();
        },
    );
}

#[test]
fn certificates_that_nobody_can_verify_say_what_to_do() {
    let keys = Keys::new();
    on_own(
        |_| {
            keys.sign("server", &["localhost"], &keys.ca);
            keys.arguments()
        },
        async |place| {
            let user = &place.plain_user().await;
            let refused = async |options: &str, says: &str| {
                let refused = load(place, user, "localhost", options).await;
                expect(place, refused, Kind::Misconfigured, &[], says);
            };
            // Many a server does not begin with a certificate that it would not trust itself.
            let show = async |certificate: &rcgen::Certificate, key: &KeyPair| {
                keys.write("server", &certificate.pem(), key);
                fs::write(keys.path("trusted-by-server.pem"), certificate.pem()).unwrap();
                reload(place).await;
            };
            let (any, named) = ("ssl-mode=verify-ca", "ssl-mode=verify-identity");
            let itself = &ca(&keys.path("server.pem"));

            // What `openssl req -x509` makes.
            let key = KeyPair::generate().unwrap();
            let mut own_ca = params(&["localhost"]);
            own_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            show(&own_ca.self_signed(&key).unwrap(), &key).await;
            refused(&format!("{any}&{itself}"), "its own CA").await;
            refused(&format!("{named}&{itself}"), "its own CA").await;
            refused(any, "").await;
            load(place, user, "localhost", "ssl-mode=required").await.expect("it takes any");

            // One that has signed itself and is no CA can be trusted as it is.
            show(&params(&["localhost"]).self_signed(&key).unwrap(), &key).await;
            refused(any, "name the CA's own with ssl-ca").await;
            load(place, user, "localhost", &format!("{any}&{itself}")).await.unwrap();
            load(place, user, "localhost", &format!("{named}&{itself}")).await.unwrap();
            load(place, user, "localhost", "ssl-mode=required").await.expect("it takes any");

            // MySQL refuses to begin with one that has expired.
            if place.kind == Server::MariaDb {
                let mut old = params(&["localhost"]);
                old.not_before = date_time_ymd(2001, 1, 1);
                old.not_after = date_time_ymd(2002, 1, 1);
                show(&old.signed_by(&key, &keys.ca).unwrap(), &key).await;
                refused(&ca(&keys.path("ca.pem")), "has expired").await;
                load(place, user, "localhost", "ssl-mode=required").await.expect("it takes any");
            }
            fs::copy(keys.path("ca.pem"), keys.path("trusted-by-server.pem")).unwrap();
        },
    );
}

#[test]
fn a_client_can_show_a_certificate() {
    let keys = Keys::new();
    on_own(
        |_| keys.arguments(),
        async |place| {
            let user = &place.plain_user().await;
            place.run(&[&format!("ALTER USER '{user}'@'%' REQUIRE X509")]).await;
            let with = |name: &str| {
                let path = |end: &str| keys.path(&format!("{name}.{end}")).display().to_string();
                format!("ssl-mode=required&ssl-cert={}&ssl-key={}", path("pem"), path("key"))
            };
            load(place, user, "127.0.0.1", &with("client")).await.unwrap();
            let none = load(place, user, "127.0.0.1", "ssl-mode=required").await;
            expect(place, none, Kind::Misconfigured, &[1045], "does not let this user in");
            let strangers = load(place, user, "127.0.0.1", &with("stranger-client")).await;
            println!("{strangers:?}");
            expect(place, strangers, Kind::Misconfigured, &[], "the client's certificate");
            let half = format!("ssl-cert={}", keys.path("client.pem").display());
            let half = MySqlOptions::from_url(&format!("{}?{half}", place.url()));
            let half = half.and_then(MySqlOptions::build).unwrap_err();
            assert!(half.to_string().contains("ssl-key"), "{half}");
        },
    );
}

#[test]
fn a_side_that_insists_on_encryption_says_so_to_one_that_has_none() {
    let keys = Keys::new();
    on_own(
        |_| {
            let mut arguments = keys.arguments();
            arguments.push("--require-secure-transport=ON".into());
            arguments
        },
        async |place| {
            let user = &place.plain_user().await;
            let plain = load(place, user, "127.0.0.1", "ssl-mode=disabled").await;
            expect(place, plain, Kind::Misconfigured, &[3159, 1045], "ssl-mode");
            load(place, user, "127.0.0.1", "").await.unwrap();
        },
    );
    on_own(
        |kind| match kind {
            Server::MariaDb => vec!["--skip-ssl".into()],
            Server::MySql => vec!["--tls-version=".into()],
        },
        async |place| {
            let user = &place.plain_user().await;
            for mode in ["required", "verify-ca", "verify-identity"] {
                let result = load(place, user, "127.0.0.1", &format!("ssl-mode={mode}")).await;
                expect(place, result, Kind::Misconfigured, &[], "the server has no TLS");
            }
            load(place, user, "127.0.0.1", "").await.unwrap();
        },
    );
}

#[test]
fn passwords_are_taken_with_and_without_encryption() {
    everywhere(async |place| {
        for mode in ["ssl-mode=disabled", "ssl-mode=preferred"] {
            let user = &place.plain_user().await;
            // The first time in full, by RSA where it is not encrypted; then from the server's cache.
            for _ in 0..3 {
                load(place, user, "127.0.0.1", mode).await.unwrap();
            }
            let wrong = place.url_of(user).replace(PASSWORD, "wrong");
            let wrong = MySqlBackend::from_url(&format!("{wrong}?{mode}")).unwrap();
            expect(place, wrong.load().await, Kind::Misconfigured, &[1045], "check user, password");
            let none = place.url_of(user).replace(&format!(":{PASSWORD}"), "");
            let none = MySqlBackend::from_url(&format!("{none}?{mode}")).unwrap();
            expect(place, none.load().await, Kind::Misconfigured, &[1045], "check user, password");
        }
        // One with every kind of character, and one that is longer than what is hashed at once.
        for password in ["p@ss:/w?rd %#&", &"x".repeat(60)] {
            let user = &place.plain_user().await;
            place.run(&[&format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{password}'")]).await;
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), password).unwrap();
            for mode in ["disabled", "preferred"] {
                let url = place.url_of(user).replace(&format!(":{PASSWORD}"), "");
                let file = file.path().display();
                let url = format!("{url}?ssl-mode={mode}&password-file={file}");
                MySqlBackend::from_url(&url).unwrap().load().await.unwrap();
            }
        }
    });
}
