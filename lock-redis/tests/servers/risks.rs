//! What a server may lose: what it tells, what it refuses to tell, and what cannot be asked.

use lock_core::{BackendErrorKind as Kind, LockBackend};
use lock_redis::Risk;

use crate::place::{RIGHTS, backend, everywhere, expect};

#[test]
fn a_server_that_does_not_answer_is_an_error_and_no_risk() {
    everywhere(&["appendonly yes"], async |place| {
        let asked = place.backend();
        assert_eq!(asked.risks().await.unwrap(), []);
        place.server.stop();
        expect(asked.risks().await, Kind::Unavailable, "no answer within");
        place.server.go_on();
        assert_eq!(asked.risks().await.unwrap(), []);
        // The connection is there when the server goes, and is not when it is asked again.
        asked.load().await.unwrap();
        place.server.kill().unwrap();
        for _ in 0..2 {
            expect(asked.risks().await, Kind::Unavailable, "");
        }
        place.server.start_again().unwrap();
        assert_eq!(asked.risks().await.unwrap(), []);
    });
}

#[test]
fn who_may_not_ask_is_told_that_nothing_is_told() {
    everywhere(&["appendonly no"], async |place| {
        assert_eq!(place.backend().risks().await.unwrap(), [Risk::NoAppendOnlyFile]);
        let rights: Vec<&str> = RIGHTS.iter().copied().filter(|one| *one != "+info").collect();
        let user = place.user(&rights);
        assert_eq!(backend(&place.url_of(&user)).risks().await.unwrap(), [Risk::Untold]);
    });
    everywhere(&["rename-command INFO \"\""], async |place| {
        assert_eq!(place.backend().risks().await.unwrap(), [Risk::Untold]);
    });
}
