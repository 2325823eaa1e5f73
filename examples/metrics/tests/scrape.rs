//! What Prometheus fetches from the example, over HTTP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long everything may take that has to come.
const LIVENESS: Duration = Duration::from_secs(60);

/// The example, which ends with this.
struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on a port that was free a moment ago; whoever took it meanwhile makes it end.
fn start() -> (Example, SocketAddr) {
    loop {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_metrics"));
        let child = command.arg(address.to_string()).stdin(Stdio::piped()).spawn().unwrap();
        let mut example = Example(child);
        let limit = Instant::now() + LIVENESS;
        while example.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < limit, "it does not listen");
            // Not somebody else's server: it has to have our metrics.
            if fetch(address).is_ok_and(|text| text.contains("interlock_")) {
                return (example, address);
            }
            sleep(Duration::from_millis(20));
        }
    }
}

fn fetch(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIVENESS))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The value of a metric with these labels.
fn value(text: &str, metric: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(metric))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn prometheus_sees_requests_waits_and_round_trips_grow() {
    let (_example, address) = start();
    let grow = [
        "interlock_acquire_seconds_count{store=\"memory\",result=\"granted\"}",
        "interlock_acquire_seconds_bucket{store=\"memory\",result=\"granted\",le=\"60\"}",
        "interlock_waits_total{store=\"memory\"}",
        "interlock_store_call_seconds_count{store=\"memory\",call=\"swap\",result=\"ok\"}",
    ];
    let limit = Instant::now() + LIVENESS;
    for metric in grow {
        let mut first = None;
        loop {
            let text = fetch(address).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
            let now = value(&text, metric);
            if first.is_some() && now > first {
                break;
            }
            first = first.or(now);
            assert!(Instant::now() < limit, "{metric} does not grow:\n{text}");
            sleep(Duration::from_millis(20));
        }
    }
}
