//! Encrypted connections, with certificates made here.

use std::fs;
use std::path::PathBuf;

use lock_core::{BackendErrorKind as Kind, LockBackend, Locks};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::place::{Place, backend, everywhere, expect};

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
        fs::write(keys.path("ca.pem"), keys.ca.pem()).expect("it can be written");
        fs::write(keys.path("stranger.pem"), keys.stranger.pem()).expect("it can be written");
        keys.sign("server", &["localhost"], &keys.ca, |_| {});
        keys.sign("client", &["client"], &keys.ca, |_| {});
        keys.sign("stranger-client", &["client"], &keys.stranger, |_| {});
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(
        &self,
        file: &str,
        names: &[&str],
        ca: &CertifiedIssuer<'static, KeyPair>,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let key = KeyPair::generate().expect("there is randomness");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are good");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, ca).expect("it can be signed");
        fs::write(self.path(&format!("{file}.pem")), certificate.pem()).expect("it can be written");
        fs::write(self.path(&format!("{file}.key")), key.serialize_pem())
            .expect("it can be written");
    }

    /// What makes a server use them.
    pub(crate) fn lines(&self, clients: &str) -> Vec<String> {
        vec![
            "tls-port {second}".into(),
            format!("tls-ca-cert-file {}", self.path("ca.pem").display()),
            format!("tls-cert-file {}", self.path("server.pem").display()),
            format!("tls-key-file {}", self.path("server.key").display()),
            format!("tls-auth-clients {clients}"),
        ]
    }

    pub(crate) fn option(&self, option: &str, name: &str) -> String {
        format!("{option}={}", self.path(name).display())
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("there is randomness");
    CertifiedIssuer::self_signed(params, key).expect("it can be signed")
}

/// The URL by this name, with these options.
fn url(place: &Place, host: &str, options: &[&str]) -> String {
    format!("rediss://{host}:{}?{}", place.server.second_address().port(), options.join("&"))
}

fn on_tls(keys: &Keys, clients: &str, test: impl AsyncFn(&Place)) {
    let lines = keys.lines(clients);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    everywhere(&lines, test);
}

#[test]
fn a_server_is_believed_that_has_the_name_and_a_trusted_ca() {
    let keys = Keys::new();
    let (ours, strangers) =
        (&keys.option("ssl-ca", "ca.pem"), &keys.option("ssl-ca", "stranger.pem"));
    on_tls(&keys, "no", async |place| {
        let refused = async |host: &str, options: &[&str], says: &str| {
            let backend = backend(&url(place, host, options));
            expect(backend.load().await, Kind::Misconfigured, says);
            expect(backend.changed(lock_core::Version(1)).await, Kind::Misconfigured, says);
        };
        refused("localhost", &[strangers], "name the CA's own with ssl-ca").await;
        refused("localhost", &[], "name the CA's own with ssl-ca").await;
        refused("127.0.0.1", &[ours], "for another name").await;
        let unencrypted = format!("redis://localhost:{}", place.server.second_address().port());
        let error = backend(&unencrypted).load().await.unwrap_err();
        println!("{error}: {error:?}");
        assert_eq!(error.kind(), Kind::Unavailable);

        // A whole client, and its subscription.
        let locks = Locks::new(backend(&url(place, "localhost", &[ours])));
        let other = Locks::new(backend(&url(place, "localhost", &[ours])));
        let guard = locks.acquire("a").await.unwrap();
        let (granted, released) = tokio::join!(other.acquire("a"), async {
            crate::place::until_waiting(&locks).await;
            guard.release().await
        });
        released.unwrap();
        granted.unwrap().release().await.unwrap();
        locks.close().await.unwrap();
        other.close().await.unwrap();
    });
    keys.sign("server", &["localhost"], &keys.ca, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    on_tls(&keys, "no", async |place| {
        let backend = backend(&url(place, "localhost", &[ours]));
        expect(backend.load().await, Kind::Misconfigured, "has expired");
    });
}

#[test]
fn a_client_can_show_a_certificate() {
    let keys = Keys::new();
    let ca = &keys.option("ssl-ca", "ca.pem");
    on_tls(&keys, "yes", async |place| {
        let with = |name: &str| {
            let cert = keys.option("ssl-cert", &format!("{name}.pem"));
            let key = keys.option("ssl-key", &format!("{name}.key"));
            backend(&url(place, "localhost", &[ca, &cert, &key]))
        };
        with("client").load().await.unwrap();
        expect(
            with("stranger-client").load().await,
            Kind::Misconfigured,
            "does not take the client's certificate",
        );
        let none = backend(&url(place, "localhost", &[ca]));
        expect(none.load().await, Kind::Misconfigured, "wants a certificate of the client");
    });
}
