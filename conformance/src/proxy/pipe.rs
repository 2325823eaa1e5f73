//! Connections: what comes on one side leaves on the other, unless the state says otherwise.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::socket;
use super::state::{Direction, Shared};

/// How many connections wait to be accepted.
const BACKLOG: u32 = 256;
const BUFFER: usize = 64 << 10;
/// How long to wait before a port that could not be had, or a connection, is tried once more.
const RETRY: Duration = Duration::from_millis(10);

/// Accepts connections for ever, save while they are refused.
pub(super) async fn listen(shared: Arc<Shared>, address: SocketAddr, upstream: SocketAddr) {
    loop {
        shared.when(|state| !state.refusing).await;
        let Ok(listener) = socket(address).and_then(|socket| socket.listen(BACKLOG)) else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        shared.change(|state| state.listening = true);
        tokio::select! {
            () = accept(&shared, &listener, upstream) => {}
            () = shared.when(|state| state.refusing) => {}
        }
        drop(listener);
        shared.change(|state| state.listening = false);
    }
}

async fn accept(shared: &Arc<Shared>, listener: &TcpListener, upstream: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(serve(shared.clone(), client, upstream))),
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

async fn serve(shared: Arc<Shared>, mut client: TcpStream, upstream: SocketAddr) {
    let id = shared.opened();
    if let Ok(mut server) = TcpStream::connect(upstream).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            biased;
            () = shared.when(|state| state.is_ended(id)) => {
                // The server is told in an orderly way, so that it gets all that has passed.
                let _ = client.set_zero_linger();
            }
            _ = futures_util::future::join(
                pump(&shared, id, Direction::ToServer, from_client, to_server),
                pump(&shared, id, Direction::ToClient, from_server, to_client),
            ) => {}
        }
    } else {
        let _ = client.set_zero_linger();
    }
    drop(client);
    shared.closed(id);
}

/// Passes on what comes, until it ends.
async fn pump(
    shared: &Shared,
    id: u64,
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let read = async move {
        let mut buffer = vec![0; BUFFER];
        while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
            if shared.came(id, direction) {
                let _ = sender.send((Instant::now(), buffer[..bytes].to_vec()));
            }
        }
    };
    let write = async move {
        while let Some((came, bytes)) = receiver.recv().await {
            pass(shared, id, direction, came).await;
            let part = shared.part(id, direction, bytes.len());
            // Who does not listen any more may still have sent something that is to arrive.
            if to.write_all(&bytes[..part]).await.is_ok() {
                shared.passed(id, direction, part);
            }
        }
        pass(shared, id, direction, Instant::now()).await;
        let _ = to.shutdown().await;
    };
    futures_util::future::join(read, write).await;
}

/// Waits until what came then may go on.
async fn pass(shared: &Shared, id: u64, direction: Direction, came: Instant) {
    tokio::time::sleep_until(shared.due(direction, came).into()).await;
    shared.when(|state| state.may_pass(id, direction)).await;
}
