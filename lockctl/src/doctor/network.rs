//! What others may do on the way to a server.

use std::net::IpAddr;

use super::report::Report;

/// How what is sent is kept from others.
#[derive(Debug, Clone, Copy)]
pub(super) enum Network {
    /// Not at all.
    Plain,
    /// It is encrypted, for whoever answers.
    #[cfg(feature = "mysql")]
    Encrypted,
    /// It is encrypted, for a server that has a certificate for its name.
    Verified,
}

impl Network {
    /// Tells what that means for these addresses, and what to do.
    pub(super) fn tell(self, addresses: &[&str], todo: &str, report: &mut Report) {
        match self.judge(addresses) {
            Ok(text) => report.ok("network", text),
            Err(text) => report.warn("network", text, todo),
        }
    }

    fn judge(self, addresses: &[&str]) -> Result<&'static str, String> {
        let away = addresses.iter().copied().filter(|address| !is_local(address));
        let away = away.collect::<Vec<_>>().join(", ");
        match self {
            _ if away.is_empty() => Ok("what is sent stays on this host"),
            Self::Verified => Ok("what is sent is encrypted, for the server that is meant"),
            #[cfg(feature = "mysql")]
            Self::Encrypted => Err(format!(
                "whoever is on the way to {away} may take its place, and read and change all"
            )),
            Self::Plain => {
                Err(format!("what is sent to {away} can be read and changed on the way"))
            }
        }
    }
}

/// A socket, or a name or address of this host, with a port or without.
fn is_local(address: &str) -> bool {
    let host = match address.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => address.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let is_loopback = || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    address.starts_with('/') || host == "localhost" || is_loopback()
}

#[cfg(test)]
mod tests {
    use super::{Network, is_local};

    #[test]
    fn only_a_server_that_proves_its_name_or_is_on_this_host_is_well() {
        assert!(Network::Plain.judge(&["127.0.0.1:3306"]).is_ok());
        assert!(Network::Verified.judge(&["db:3306"]).is_ok());
        let text = Network::Plain.judge(&["db:3306", "localhost:3306", "db2:3306"]).unwrap_err();
        assert!(text.contains("to db:3306, db2:3306 "), "{text}");
        #[cfg(feature = "mysql")]
        Network::Encrypted.judge(&["db:3306"]).unwrap_err();
    }

    #[test]
    fn what_is_on_this_host_is_known() {
        for here in ["127.0.0.1:3306", "127.8.0.1", "localhost", "[::1]:7", "/run/mysqld.sock"] {
            assert!(is_local(here), "{here}");
        }
        for away in ["db", "localhost.example:1", "127.example", "[2001:db8::1]:7", "10.0.0.1:6379"]
        {
            assert!(!is_local(away), "{away}");
        }
    }
}
