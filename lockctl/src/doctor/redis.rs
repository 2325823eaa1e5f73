//! What only a store in Redis or Valkey has: the rights, and what the server may lose.

use super::report::Report;
use crate::{
    exit::Exit,
    keeper::LockError,
    store::{ServerUrl, Settings},
};

/// Asks the server of the URL.
pub(super) async fn check(settings: &Settings, url: &ServerUrl, report: &mut Report) {
    let backend = match settings.redis(url) {
        Ok(backend) => backend,
        Err(error) => return report.fail("server", &error, Exit::Config),
    };
    match backend.rights().await {
        Ok(rights) if rights.lacking.is_empty() => {
            report.ok("rights", format!("{} may do what is needed", rights.user));
        }
        Ok(rights) => {
            let text = format!("{} lacks {}", rights.user, rights.lacking.join(" and "));
            report.fail_with("rights", text, rights.rule, Exit::Config);
        }
        Err(error) => {
            let error = LockError::Open(error);
            report.fail("rights", &error, error.exit());
        }
    }
    match backend.risks().await {
        Ok(risks) if risks.is_empty() => report.ok("server", "nothing that it tells of itself loses locks; see to `appendfsync always`, which it does not tell"),
        Ok(risks) => {
            for risk in risks {
                report.warn("server", risk.to_string(), "see the front page of lock-redis");
            }
        }
        Err(error) => {
            let error = LockError::Open(error);
            report.fail("server", &error, error.exit());
        }
    }
}
