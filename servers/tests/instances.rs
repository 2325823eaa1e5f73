//! Servers come up, keep their data over a kill, and die with whoever started them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lock_servers::{Instance, Kind, RedisKind, RedisServer};
use rustix::process::{Pid, Signal, kill_process_group};

/// The variable that makes this binary start a server and wait for its end.
const CHILD: &str = "LOCK_SERVERS_TEST_CHILD";

/// A server, or the reason why the test is skipped; where `CI` is `true` that is a failure.
fn instance(kind: Kind) -> Option<Instance> {
    match Instance::start(kind) {
        Err(error) if error.may_be_skipped() => {
            eprintln!("skipped: {error}");
            None
        }
        result => Some(result.unwrap_or_else(|error| panic!("{error}"))),
    }
}

fn greets(instance: &Instance) -> bool {
    let stream = TcpStream::connect(instance.address());
    stream.is_ok_and(|mut stream| stream.read(&mut [0]).is_ok_and(|bytes| bytes == 1))
}

#[test]
fn a_server_comes_back_at_the_same_address() {
    for kind in Kind::ALL {
        let Some(server) = instance(kind) else { continue };
        assert!(greets(&server));
        let first = server.pid();
        server.kill().unwrap();
        assert!(server.pid().is_none() && !greets(&server));
        server.start_again().unwrap();
        assert!(greets(&server));
        assert_ne!(server.pid(), first);
    }
}

#[test]
fn a_server_dies_with_the_process_that_started_it() {
    if let Ok(kind) = std::env::var(CHILD) {
        let kind = Kind::ALL.into_iter().find(|one| one.name() == kind).unwrap();
        let server = instance(kind);
        println!("server {}", server.as_ref().and_then(Instance::pid).unwrap_or_default());
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    // Killed, and interrupted by the keyboard, which reaches its whole group.
    for (kind, signal) in
        Kind::ALL.into_iter().flat_map(|kind| [Signal::KILL, Signal::INT].map(|s| (kind, s)))
    {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["a_server_dies_with_the_process_that_started_it", "--exact", "--nocapture"])
            .env(CHILD, kind.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let pid = said.map_while(Result::ok).find_map(|line| {
            line.split_once("server ").and_then(|(_, pid)| pid.parse::<u32>().ok())
        });
        let pid = pid.expect("it says its server");
        kill_process_group(Pid::from_child(&child), signal).unwrap();
        assert!(!child.wait().unwrap().success());
        if pid == 0 {
            continue; // It was skipped there.
        }
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::path::Path::new(&format!("/proc/{pid}/exe")).exists() {
            assert!(Instant::now() < deadline, "{kind} lives on after {signal:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_server_of_redis_comes_back_at_the_same_address() {
    for kind in RedisKind::ALL {
        let server = match RedisServer::start(kind) {
            Err(error) if error.may_be_skipped() => {
                eprintln!("skipped: {error}");
                continue;
            }
            result => result.unwrap_or_else(|error| panic!("{error}")),
        };
        let first = server.pid();
        server.kill().unwrap();
        assert!(server.pid().is_none() && TcpStream::connect(server.address()).is_err());
        server.start_again().unwrap();
        assert!(TcpStream::connect(server.address()).is_ok());
        assert_ne!(server.pid(), first);
    }
}
