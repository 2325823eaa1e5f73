//! Races of made-up addresses on a clock that only these tests move, and dialling on loopback.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const V6: [&str; 3] = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"];
const V4: [&str; 2] = ["192.0.2.1:1", "192.0.2.2:1"];

/// How an attempt ends after so many milliseconds.
#[derive(Clone, Copy)]
enum End {
    Works(u64),
    Fails(u64),
    Never,
}
use End::{Fails, Never, Works};

/// A race as it was run: who won after how many milliseconds, who began when, and who failed.
#[derive(Debug, PartialEq, Eq)]
struct Raced {
    winner: Option<(usize, u64)>,
    began: Vec<u64>,
    failed: Vec<usize>,
}

fn run(ends: &[End]) -> Raced {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(async {
        let number = |address: &SocketAddr| usize::from(address.port());
        let addresses: Vec<SocketAddr> = (0..ends.len())
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).unwrap())))
            .collect();
        let start = Instant::now();
        let now = || u64::try_from(start.elapsed().as_millis()).unwrap();
        let began = RefCell::new(Vec::new());
        let connect = |address: SocketAddr| {
            began.borrow_mut().push(now());
            let end = ends[number(&address)];
            async move {
                match end {
                    Works(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(())
                    }
                    Fails(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err(io::ErrorKind::NetworkUnreachable.into())
                    }
                    Never => std::future::pending().await,
                }
            }
        };
        let mut failures = Vec::new();
        let won =
            timeout_at(start + Duration::from_secs(10), race(&addresses, connect, &mut failures));
        let won = won.await.ok().flatten();
        Raced {
            winner: won.map(|(address, ())| (number(&address), now())),
            began: began.into_inner(),
            failed: failures.iter().map(|(address, _)| number(address)).collect(),
        }
    })
}

#[test]
fn the_next_attempt_begins_after_a_moment_or_at_once_on_failure_and_the_earlier_go_on() {
    for (ends, winner, began, failed) in [
        // The first one is alone for a moment.
        (&[Works(249), Works(0)][..], Some((0, 249)), &[0][..], &[][..]),
        // An unreachable family costs nothing, however far away the other is.
        (&[Fails(0), Works(1_000)], Some((1, 1_000)), &[0, 0], &[0]),
        // A black hole costs a moment.
        (&[Never, Works(5)], Some((1, 255)), &[0, 250], &[]),
        // One lost packet: the earlier attempt is not given up.
        (&[Works(1_000), Never, Never], Some((0, 1_000)), &[0, 250, 500], &[]),
        (&[Works(1_000), Fails(0)], Some((0, 1_000)), &[0, 250], &[1]),
        // Whoever is first wins.
        (&[Works(400), Works(100)], Some((1, 350)), &[0, 250], &[]),
        // A failure of one brings the next forward, whichever it is.
        (&[Fails(300), Never, Works(10), Never], Some((2, 310)), &[0, 250, 300], &[0]),
        (&[Never, Fails(0), Fails(0), Works(9)], Some((3, 259)), &[0, 250, 250, 250], &[1, 2]),
        // Nobody.
        (&[Fails(0), Fails(7)], None, &[0, 0], &[0, 1]),
        (&[Fails(700), Fails(100)], None, &[0, 250], &[1, 0]),
        (&[Never, Fails(0), Never], None, &[0, 250, 250], &[1]),
        (&[], None, &[], &[]),
    ] {
        let expected = Raced { winner, began: began.into(), failed: failed.into() };
        assert_eq!(run(ends), expected);
    }
}

#[test]
fn families_alternate_from_the_first_on() {
    let parse =
        |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let check = |found: &[&str], order: &[&str]| {
        assert_eq!(alternating(&parse(found)), parse(order), "{found:?}");
    };
    check(&[V6[0], V6[1], V6[2], V4[0]], &[V6[0], V4[0], V6[1], V6[2]]);
    check(&[V4[0], V4[1], V6[0]], &[V4[0], V6[0], V4[1]]);
    check(&[V4[1], V4[0]], &[V4[1], V4[0]]);
    check(&[V4[0], V6[0], V4[0], V6[0]], &[V4[0], V6[0]]);
    check(&[], &[]);
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[tokio::test]
async fn addresses_need_no_resolver_with_or_without_brackets() {
    for (host, address) in [
        ("::1", SocketAddr::from((Ipv6Addr::LOCALHOST, 7))),
        ("[::1]", SocketAddr::from((Ipv6Addr::LOCALHOST, 7))),
        ("127.0.0.1", SocketAddr::from((Ipv4Addr::LOCALHOST, 7))),
    ] {
        let found = Addresses::look_up(host, 7, Instant::now()).await.unwrap();
        assert_eq!(found.list(), [address]);
    }
    let found = Addresses::look_up("localhost", 7, soon()).await.unwrap();
    assert!(found.list().iter().all(|address| address.ip().is_loopback() && address.port() == 7));
}

#[tokio::test]
async fn names_that_cannot_be_looked_up_say_so() {
    let is_said = |error: DialError, host| {
        assert!(matches!(error, DialError::LookUp { .. }), "{error:?}");
        assert!(error.to_string().contains(host));
        assert!(std::error::Error::source(&error).is_some());
    };
    let none = "no.such.name.invalid";
    is_said(Addresses::look_up(none, 7, soon()).await.unwrap_err(), none);
    // The resolver may be faster than a limit that is over, but not every time.
    let end = soon();
    let late = loop {
        assert!(Instant::now() < end, "no look-up is ever late");
        if let Err(late) = Addresses::look_up("localhost", 7, Instant::now()).await {
            break late;
        }
    };
    is_said(late, "localhost");
}

/// A server at a port of loopback that says something, or not.
async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn who_accepts_and_does_not_greet_is_passed_by() {
    let (silent, silent_at) = listen().await;
    let (hasty, hasty_at) = listen().await;
    let (good, good_at) = listen().await;
    let serve = async {
        let _held = silent.accept().await.unwrap();
        drop(hasty.accept().await.unwrap());
        let (mut stream, _) = good.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap_err();
    };
    let addresses = Addresses { host: "several".into(), list: vec![silent_at, hasty_at, good_at] };
    let dial = async {
        let mut stream = addresses.dial(soon(), greeted).await.unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello", "the greeting is left to be read");
        assert_eq!(stream.peer_addr().unwrap(), good_at);
    };
    tokio::join!(serve, dial);
}

#[tokio::test]
async fn when_all_fail_every_address_is_listed_with_its_error() {
    use io::ErrorKind::{ConnectionRefused, TimedOut, UnexpectedEof};
    let (hasty, hasty_at) = listen().await;
    let (closed, closed_at) = listen().await;
    let (_silent, silent_at) = listen().await;
    drop(closed);
    let serve = async { drop(hasty.accept().await.unwrap()) };
    let list = vec![closed_at, hasty_at, silent_at];
    let addresses = Addresses { host: "db.internal".into(), list };
    let limit = Instant::now() + Duration::from_secs(2);
    let ((), error) = tokio::join!(serve, addresses.dial(limit, greeted));
    let error = error.unwrap_err();
    let DialError::Unreachable { attempts, .. } = &error else { panic!("{error:?}") };
    let failed: Vec<SocketAddr> = attempts.iter().map(|(address, _)| *address).collect();
    assert_eq!(failed, addresses.list());
    let kinds: Vec<io::ErrorKind> = attempts.iter().map(|(_, error)| error.kind()).collect();
    assert_eq!(kinds, [ConnectionRefused, UnexpectedEof, TimedOut]);
    let text = error.to_string();
    for part in ["db.internal", &closed_at.to_string(), "refused", "without a word", "said nothing"]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test]
async fn what_greets_may_give_a_final_answer() {
    let (refusing, refusing_at) = listen().await;
    let (_other, other_at) = listen().await;
    let addresses = Addresses { host: "several".into(), list: vec![refusing_at, other_at] };
    let answer = addresses.dial(soon(), |_| async { Ok(Err::<(), _>("wrong password")) }).await;
    assert_eq!(answer.unwrap(), Err("wrong password"));
    drop(refusing);
}

#[tokio::test]
async fn who_wins_may_be_decided_by_whole_attempts() {
    let (_silent, silent_at) = listen().await;
    let (closed, closed_at) = listen().await;
    let (good, good_at) = listen().await;
    drop(closed);
    let serve = async {
        let (mut stream, _) = good.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream
    };
    let connect = async |address| greeted(TcpStream::connect(address).await?).await;
    let list = vec![closed_at, silent_at, good_at];
    let addresses = Addresses { host: "several".into(), list };
    let (_served, won) = tokio::join!(serve, addresses.race(soon(), connect));
    assert_eq!(won.unwrap().peer_addr().unwrap(), good_at);

    let addresses = Addresses { host: "one".into(), list: vec![closed_at] };
    let error = addresses.race(soon(), connect).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}
