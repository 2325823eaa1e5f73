//! The fault proxy: each of its faults as a plain client and a plain server see it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use lock_conformance::LIVENESS;
use lock_conformance::proxy::{Direction, Proxy, Then};

/// Long enough to see that nothing comes, short enough to wait for.
const NOTHING: Duration = Duration::from_millis(100);

/// A server that sends back what it gets and tells the test of it; an empty one is the end.
fn world() -> (Proxy, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (stream.unwrap(), sender.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                loop {
                    let bytes = stream.read(&mut buffer).unwrap_or(0);
                    if sender.send(buffer[..bytes].into()).is_err() || bytes == 0 {
                        return;
                    }
                    let _ = stream.write_all(&buffer[..bytes]);
                }
            });
        }
    });
    (proxy, received)
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(LIVENESS)).unwrap();
    stream
}

fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}

fn hear(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, text.as_bytes());
}

fn hear_nothing(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(NOTHING)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(LIVENESS)).unwrap();
}

fn is_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

fn next(received: &Receiver<Vec<u8>>) -> String {
    String::from_utf8(received.recv_timeout(LIVENESS).unwrap()).unwrap()
}

#[test]
fn without_faults_bytes_pass_and_ends_are_passed_on() {
    let (proxy, received) = world();
    let mut client = connect(&proxy);
    say(&mut client, "hello");
    hear(&mut client, "hello");
    assert_eq!(next(&received), "hello");
    drop(client);
    assert_eq!(next(&received), "");
    assert_eq!((proxy.counts().bytes, proxy.counts().faults()), ([5, 5], 0));
}

#[test]
fn a_delay_is_taken_in_each_direction() {
    let (proxy, _received) = world();
    let mut client = connect(&proxy);
    for direction in Direction::BOTH {
        proxy.delay(direction, NOTHING);
    }
    let begin = Instant::now();
    say(&mut client, "slow");
    hear(&mut client, "slow");
    assert!(begin.elapsed() >= NOTHING * 2);
}

#[test]
fn a_black_hole_to_the_server_keeps_what_is_sent_until_it_is_healed() {
    let (proxy, received) = world();
    let mut client = connect(&proxy);
    proxy.stall(Direction::ToServer);
    say(&mut client, "lost?");
    assert!(received.recv_timeout(NOTHING).is_err());
    drop(client); // What a client sent arrives though it is gone.
    proxy.heal();
    assert_eq!(next(&received), "lost?");
    assert_eq!(next(&received), "");
}

#[test]
fn a_black_hole_to_the_client_keeps_the_answer() {
    let (proxy, received) = world();
    let mut client = connect(&proxy);
    proxy.stall(Direction::ToClient);
    say(&mut client, "heard");
    assert_eq!(next(&received), "heard");
    hear_nothing(&mut client);
    proxy.heal();
    hear(&mut client, "heard");
}

#[test]
fn a_reset_is_an_error_and_no_end() {
    let (proxy, received) = world();
    let mut client = connect(&proxy);
    say(&mut client, "hello");
    hear(&mut client, "hello");
    assert_eq!(proxy.reset(), 1);
    is_reset(&mut client);
    assert_eq!([next(&received), next(&received)], ["hello", ""]);
}

#[test]
fn a_cut_lets_so_many_bytes_through() {
    for (direction, heard) in [(Direction::ToServer, "abcdef"), (Direction::ToClient, "abcdefgh")] {
        let (proxy, received) = world();
        proxy.cut_next(direction, 6);
        let mut client = connect(&proxy);
        say(&mut client, "abcd");
        hear(&mut client, "abcd");
        say(&mut client, "efgh");
        if direction == Direction::ToClient {
            hear(&mut client, "ef");
        }
        is_reset(&mut client);
        let all: String =
            std::iter::from_fn(|| Some(next(&received)).filter(|text| !text.is_empty())).collect();
        assert_eq!(all, heard);
        assert_eq!(proxy.counts().cuts, 1);
        let mut other = connect(&proxy);
        say(&mut other, "abcdefgh");
        hear(&mut other, "abcdefgh");
    }
}

#[test]
fn a_refused_connection_fails_at_once_and_others_go_on() {
    let (proxy, _received) = world();
    let mut client = connect(&proxy);
    say(&mut client, "a");
    hear(&mut client, "a");
    proxy.refuse();
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    say(&mut client, "b");
    hear(&mut client, "b");
    proxy.heal();
    hear_nothing(&mut connect(&proxy));
}

#[test]
fn a_reply_is_lost_after_the_request_was_delivered() {
    for then in [Then::Reset, Then::Silence] {
        let (proxy, received) = world();
        let mut client = connect(&proxy);
        proxy.drop_reply(2, then);
        say(&mut client, "first");
        hear(&mut client, "first");
        say(&mut client, "second");
        assert_eq!([next(&received), next(&received)], ["first", "second"]);
        match then {
            Then::Reset => is_reset(&mut client),
            Then::Silence => hear_nothing(&mut client),
        }
        assert_eq!(proxy.counts().replies_dropped, 1);
    }
}

#[test]
fn a_request_is_delivered_late_on_command_though_its_client_is_gone() {
    let (proxy, received) = world();
    proxy.hold_request(1);
    let mut client = connect(&proxy);
    say(&mut client, "late");
    proxy.until("a request", |counts| counts.requests_held == 1).unwrap();
    drop(client);
    let mut other = connect(&proxy);
    say(&mut other, "early");
    hear(&mut other, "early");
    assert_eq!(next(&received), "early");
    assert!(received.recv_timeout(NOTHING).is_err());
    assert_eq!(proxy.deliver_late(), 1);
    proxy.until_late_is_answered().unwrap();
    assert_eq!(received.try_recv().unwrap(), b"late");
    assert_eq!(proxy.deliver_late(), 0);
}
