//! A network of its own in front of a server: names with several addresses, of which some are dead.
//!
//! Only root can make one, and only on Linux with `iproute2`; it is a network namespace, so that nothing
//! of it is to be seen outside, nor anything of the outside in it. It takes no more of the kernel than
//! pairs of virtual interfaces: what is to be lost is sent to an address of the link layer that nobody has.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::proxy::{Direction, Proxy};
use crate::trial::Failure;
use crate::trials::tools::{Room, needs, until};

/// Somebody is there.
pub const GOOD: [&str; 2] = ["2001:db8::10", "192.0.2.10"];
/// Somebody is there, and can be [muted](Network::mute).
pub const OTHER: [&str; 2] = ["2001:db8::11", "192.0.2.11"];
/// What is sent there is lost.
pub const HOLE: [&str; 2] = ["2001:db8::66", "192.0.2.66"];
/// A host that is down: the network says so after some milliseconds.
pub const DOWN: &str = "2001:db8::77";
/// There is no way to it: the system says so at once.
pub const NO_ROUTE: &str = "2001:db8:1::1";
/// What is sent there is lost until it is [found](Network::find).
pub const LOST: &str = "192.0.2.20";

/// Every name of the network, with its addresses in the order in which resolvers tell them.
const NAMES: [(&str, &[&str]); 11] = [
    ("good.test", &[GOOD[0], GOOD[1]]),
    ("two.test", &[OTHER[0], GOOD[1]]),
    ("hole6.test", &[HOLE[0], GOOD[1]]),
    ("hole4.test", &[HOLE[1], GOOD[1]]),
    ("holes.test", &[HOLE[0], GOOD[0], HOLE[1]]),
    ("down.test", &[DOWN, LOST]),
    ("none.test", &[NO_ROUTE, LOST]),
    ("lost.test", &[HOLE[0], LOST]),
    ("dead.test", &[HOLE[0], DOWN, HOLE[1], NO_ROUTE]),
    ("mute.test", &[OTHER[0], OTHER[1]]),
    ("one.test", &[GOOD[0]]),
];

/// Where nobody has this address of the link layer, whatever is sent there is lost.
const SCRIPT: &str = "\
ip link set lo up
ip link add near type veth peer name far
ip link set near up
ip link set far up
ip address add 192.0.2.1/24 dev near
ip address add 2001:db8::1/64 dev near nodad
nobody='lladdr 02:00:00:00:00:66 dev near nud permanent'
for hole in 192.0.2.66 192.0.2.20 2001:db8::66; do ip neighbour add $hole $nobody; done
for here in 192.0.2.10/32 192.0.2.11/32; do ip address add $here dev lo; done
for here in 2001:db8::10/128 2001:db8::11/128; do ip address add $here dev lo nodad; done
echo 10 >/proc/sys/net/ipv6/neigh/near/retrans_time_ms
echo 1 >/proc/sys/net/ipv6/neigh/near/mcast_solicit
";

/// The network, and the server at all of its good addresses.
#[derive(Debug)]
pub struct Network {
    room: Room,
    port: u16,
    proxy: Proxy,
    relay: Relay,
    _folder: tempfile::TempDir,
}

impl Network {
    /// Makes the network in front of the server at this address.
    ///
    /// # Errors
    ///
    /// [`Failure::missing`] where namespaces are not permitted or tools are not installed.
    pub fn in_front_of(server: SocketAddr) -> Result<Self, Failure> {
        needs(&["ip"])?;
        let folder = tempfile::tempdir()?;
        let hosts = folder.path().join("hosts");
        let lines = NAMES.iter().flat_map(|(name, addresses)| {
            addresses.iter().map(move |address| format!("{address} {name}\n"))
        });
        fs::write(&hosts, lines.collect::<String>())?;
        let mount = format!("mount --bind {} /etc/hosts\n", hosts.display());
        let room = Room::open(&["--net", "--mount"], &(mount + SCRIPT))?;
        let listener = listen(&room)?;
        let port = listener.local_addr()?.port();
        let proxy = Proxy::start(server)?;
        let relay = Relay::start(listener, proxy.address())?;
        Ok(Self { room, port, proxy, relay, _folder: folder })
    }

    /// The port of the server at every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The command that starts another one in this network.
    pub fn enter(&self) -> Vec<String> {
        self.room.enter()
    }

    /// Runs a test of this program again in this network, by its whole name and with this variable set:
    /// that it is set tells the test that it is there.
    ///
    /// # Panics
    ///
    /// When the test fails there, or is none.
    pub fn run_test(&self, test: &str, variable: (&str, &str)) {
        let enter = self.enter();
        let output = Command::new(&enter[0])
            .args(&enter[1..])
            .arg(env::current_exe().expect("this program has a path"))
            .args(["--exact", "--nocapture", test])
            .env(variable.0, variable.1)
            .output()
            .expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
        assert!(said.contains("1 passed"), "ran nothing:\n{said}\n{complained}");
    }

    /// Lets every answer of the server take so much longer.
    pub fn delay(&self, time: Duration) {
        for direction in Direction::BOTH {
            self.proxy.delay(direction, time / 2);
        }
    }

    /// From now on these accept and say nothing.
    ///
    /// # Panics
    ///
    /// When one is no IP address.
    pub fn mute(&self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().expect("an address"));
        self.relay.muted.lock().unwrap_or_else(PoisonError::into_inner).extend(addresses);
    }

    /// Waits until somebody has sent to the lost address, so that the packet is lost, and puts the
    /// server there: the next packet arrives.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the system refuses.
    pub fn find(&self) -> Result<(), Failure> {
        until("somebody calls the lost address", || !self.calling(LOST).is_empty());
        self.room.run(&format!("ip address add {LOST}/32 dev lo"))
    }

    /// Has what is sent to this good address of IPv6 be lost.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the system refuses.
    pub fn lose(&self, address: &str) -> Result<(), Failure> {
        self.room.run(&format!(
            "ip neighbour add {address} lladdr 02:00:00:00:00:66 dev near nud permanent\n\
             ip address del {address}/128 dev lo"
        ))
    }

    /// The sockets that are just trying to connect to this address, by their own.
    ///
    /// # Panics
    ///
    /// When it is no IP address.
    pub fn calling(&self, address: &str) -> HashSet<String> {
        const SYN_SENT: &str = "02";
        let address: IpAddr = address.parse().expect("an address");
        let (file, bytes) = match address {
            IpAddr::V4(address) => ("net/tcp", address.octets().to_vec()),
            IpAddr::V6(address) => ("net/tcp6", address.octets().to_vec()),
        };
        // As the kernel writes it: numbers of four bytes in the order of this machine.
        let words =
            bytes.chunks(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        let remote = words.map(|word| format!("{word:08X}")).collect::<Vec<_>>().concat();
        let remote = format!("{remote}:{:04X}", self.port);
        let table = fs::read_to_string(self.room.proc(file)).unwrap_or_default();
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let calling = lines.filter(|words| words.get(2..4) == Some(&[&remote[..], SYN_SENT]));
        calling.map(|words| words[1].to_owned()).collect()
    }
}

/// A socket belongs to the network that it was made in: made there by a thread that then ends.
#[cfg(target_os = "linux")]
fn listen(room: &Room) -> Result<TcpListener, Failure> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let network = std::fs::File::open(room.proc("ns/net"))?;
    let listen = move || -> std::io::Result<TcpListener> {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, 0))
    };
    Ok(std::thread::spawn(listen).join().expect("it does not panic")?)
}

#[cfg(not(target_os = "linux"))]
fn listen(_room: &Room) -> Result<TcpListener, Failure> {
    Err(Failure::missing("Linux, which has networks within networks,"))
}

/// Brings whoever is accepted in the network to the server outside.
#[derive(Debug)]
struct Relay {
    muted: Arc<Mutex<HashSet<IpAddr>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start(listener: TcpListener, upstream: SocketAddr) -> Result<Self, Failure> {
        let muted = Arc::<Mutex<HashSet<IpAddr>>>::default();
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        listener.set_nonblocking(true)?;
        let is_muted = muted.clone();
        let relay = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("in a runtime");
            loop {
                let Ok((mut client, _)) = listener.accept().await else { continue };
                let Ok(here) = client.local_addr() else { continue };
                let is_muted = is_muted.lock().unwrap_or_else(PoisonError::into_inner);
                let mute = is_muted.contains(&here.ip().to_canonical());
                drop(is_muted);
                tokio::spawn(async move {
                    if mute {
                        return std::future::pending().await;
                    }
                    let Ok(mut server) = tokio::net::TcpStream::connect(upstream).await else {
                        return;
                    };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = relay => {}
                }
            });
        })?;
        Ok(Self { muted, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
