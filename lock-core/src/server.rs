//! What backends of stores on a server have in common: the URL, trying one server after the other, whether a
//! connection still works, what errors mean.
//!
//! For whoever writes such a backend, so that the same mistakes are refused in the same words and the
//! same failures count for the same. Host names are dialled by [`dial`](crate::dial).

mod call;
mod certificate;
mod idle;
mod rotation;
mod url;

pub use ::url::Url;
pub use call::{Doing, first_that_serves, within};
pub use certificate::BadCertificate;
pub use idle::{IDLE_MAX, LastUse};
pub use rotation::Rotation;
pub use url::{
    CONNECT_TIMEOUT_MAX, DEFAULT_CONNECT_TIMEOUT, ServerUrls, check_connect_timeout, check_files,
    check_key_pair, host_and_port, without_brackets,
};
