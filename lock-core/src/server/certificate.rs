//! What to do if one side of a connection refuses the certificate of the other.

use std::fmt;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};

/// Why a certificate was refused; shown, it says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadCertificate {
    /// The server's is for another name.
    OtherName,
    /// Nobody who is trusted here has signed that of the server.
    UnknownIssuer,
    /// The server's is its own CA.
    OwnCa,
    /// The server's has expired.
    Expired,
    /// Something else is wrong with that of the server.
    NotGood,
    /// The server wants one of the client, which has none.
    Wanted,
    /// The server does not take that of the client.
    Refused,
}

impl BadCertificate {
    /// What a connection that rustls has ended so was ended for; `None` for anything else.
    pub fn of(error: &io::Error) -> Option<Self> {
        Some(match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(
                Bad::NotValidForName | Bad::NotValidForNameContext { .. },
            ) => Self::OtherName,
            Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
                Self::UnknownIssuer
            }
            // The certificate that such an error is about is not one of its variants.
            Error::InvalidCertificate(Bad::Other(other))
                if other.to_string().contains("CaUsedAsEndEntity") =>
            {
                Self::OwnCa
            }
            Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => Self::Expired,
            Error::InvalidCertificate(_) => Self::NotGood,
            Error::AlertReceived(Alert::CertificateRequired) => Self::Wanted,
            Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnknownCA
                | Alert::CertificateExpired
                | Alert::CertificateUnknown,
            ) => Self::Refused,
            _ => return None,
        })
    }
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherName => "the server's certificate is for another name: connect by that name",
            Self::UnknownIssuer => {
                "the server's certificate is not of a CA that is trusted here: name the CA's own \
                 with ssl-ca"
            }
            Self::OwnCa => {
                "the server's certificate is its own CA, which is not enough to verify it: give it \
                 one that a CA has signed"
            }
            Self::Expired => "the server's certificate has expired",
            Self::NotGood => "the server's certificate is not good",
            Self::Wanted => {
                "the server wants a certificate of the client: name it with ssl-cert and ssl-key"
            }
            Self::Refused => {
                "the server does not take the client's certificate: check ssl-cert and ssl-key"
            }
        })
    }
}
