//! The servers of a store: which one has the cell now, and connecting to it.

use std::fmt;
use std::fs;
use std::future;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_core::BackendError;
use lock_core::dial::{Addresses, DialError};
use lock_core::options::read_password;
use lock_core::server::{host_and_port, without_brackets};
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    Msg, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, RedisFuture,
    RedisResult, TlsCertificates, cmd,
};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::Instant;

use crate::error::certificate;

/// A connection on which nothing arrives is asked by the system, from then on and so often, whether it
/// still works.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));
/// So often in vain, and it is given up.
const KEEPALIVE_TRIES: u32 = 3;

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who a client says it is.
#[derive(Clone, Default)]
pub(crate) struct Account {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// What the password is read from, whenever a connection is made.
    pub(crate) password_file: Option<PathBuf>,
}

impl Account {
    /// The account with the password that is in its file now, if it has one.
    pub(crate) fn current(&self) -> Result<Self, BackendError> {
        let mut current = self.clone();
        if let Some(path) = &self.password_file {
            current.password = Some(read_password(path)?);
        }
        Ok(current)
    }

    /// The password that is shown to the server, if one is: a user who needs none has an empty one.
    fn shown(&self) -> Option<&str> {
        self.password.as_deref().or_else(|| self.user.as_ref().map(|_| ""))
    }

    /// An error without the password: a server that does not know a command repeats what it was told.
    fn hide(&self, error: RedisError) -> RedisError {
        let shown = |password: &String| error.to_string().contains(password.as_str());
        if self.password.as_ref().is_some_and(shown) {
            return RedisError::from((
                ErrorKind::AuthenticationFailed,
                "the server does not understand AUTH",
            ));
        }
        error
    }
}

/// What others publish, as it arrives.
#[derive(Debug)]
pub(crate) struct Subscription {
    messages: UnboundedReceiver<PushInfo>,
    /// It lives as long as this.
    _connection: MultiplexedConnection,
}

impl Subscription {
    /// The next message; `None` when there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Msg> {
        loop {
            let push = self.messages.recv().await?;
            match push.kind {
                PushKind::Message => return Msg::from_push_info(push),
                PushKind::Disconnection => return None,
                _ => {}
            }
        }
    }
}

/// Files of certificates and keys, read whenever it connects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Who says which server is the primary.
#[derive(Clone)]
pub(crate) struct Sentinel {
    /// What the sentinels call it.
    pub(crate) name: String,
    pub(crate) account: Account,
}

/// How to reach the servers of a store.
#[derive(Clone)]
pub(crate) struct Servers {
    /// Servers, or sentinels that know one.
    pub(crate) addresses: Vec<Address>,
    pub(crate) socket: Option<PathBuf>,
    /// `None`: not encrypted.
    pub(crate) tls: Option<Files>,
    pub(crate) account: Account,
    pub(crate) database: u32,
    pub(crate) sentinel: Option<Sentinel>,
    /// How long connecting may take, all servers together.
    pub(crate) connect_timeout: Duration,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Tcp(Address),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{}:{}", address.host, address.port),
        }
    }
}

impl Servers {
    /// Where the server could be, in this order of its addresses.
    pub(crate) fn places(&self, order: impl Iterator<Item = usize>) -> Vec<Place> {
        if let Some(path) = &self.socket {
            return vec![Place::Socket(path.clone())];
        }
        order.map(|number| Place::Tcp(self.addresses[number].clone())).collect()
    }

    /// Connects to a server, as this user and in the database that is meant.
    pub(crate) async fn connect(
        &self,
        place: &Place,
        account: &Account,
        limit: Instant,
    ) -> RedisResult<MultiplexedConnection> {
        let (mut connection, ()) =
            self.dial(place, settings(), limit, |config| (config, ())).await?;
        authenticate(&mut connection, account).await?;
        if self.database != 0 {
            cmd("SELECT").arg(self.database).query_async::<()>(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Connects to a server, to be told of what others publish there.
    pub(crate) async fn subscribe(
        &self,
        place: &Place,
        account: &Account,
        channel: &str,
        limit: Instant,
    ) -> RedisResult<Subscription> {
        // Messages and answers share a connection in the third version of the protocol only, which a
        // client has to ask for together with saying who it is.
        let mut settings = settings().set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &account.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = account.shown() {
            settings = settings.set_password(password);
        }
        // Each attempt has a channel of its own: one that is given up says so in it.
        let hear = |config: AsyncConnectionConfig| {
            let (tell, messages) = mpsc::unbounded_channel();
            (config.set_push_sender(tell), messages)
        };
        let dialled = self.dial(place, settings, limit, hear).await;
        let (mut connection, messages) = dialled.map_err(|error| account.hide(error))?;
        connection.subscribe(channel).await?;
        Ok(Subscription { messages, _connection: connection })
    }

    /// Asks a sentinel, as this user, where the primary of this name is.
    pub(crate) async fn primary(
        &self,
        at: &Place,
        account: &Account,
        name: &str,
        limit: Instant,
    ) -> RedisResult<Place> {
        let (mut connection, ()) = self.dial(at, settings(), limit, |config| (config, ())).await?;
        authenticate(&mut connection, account).await?;
        let mut ask = cmd("SENTINEL");
        ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let found: Option<(String, u16)> = ask.query_async(&mut connection).await?;
        let (host, port) = found.ok_or_else(|| {
            RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "sentinel", name.to_owned()))
        })?;
        Ok(Place::Tcp(Address { host, port }))
    }

    /// Connects to the first address of a server at which somebody answers.
    ///
    /// `prepare` completes the settings of an attempt, with what is to be kept besides its connection.
    async fn dial<T>(
        &self,
        place: &Place,
        settings: RedisConnectionInfo,
        limit: Instant,
        prepare: impl Fn(AsyncConnectionConfig) -> (AsyncConnectionConfig, T),
    ) -> RedisResult<(MultiplexedConnection, T)> {
        // The time limits are those of the calls.
        let config =
            || AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = self.client(place, settings)?;
        let direct = async || {
            let (config, kept) = prepare(config());
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok((connection, kept))
        };
        let Place::Tcp(Address { host, port }) = place else { return direct().await };
        let failed = |error: DialError| RedisError::from(io::Error::other(error));
        let addresses = Addresses::look_up(host, *port, limit).await.map_err(failed)?;
        if let [only] = addresses.list() {
            return direct().await.map_err(|error: RedisError| {
                if error.is_io_error() && certificate(&error).is_none() {
                    return io::Error::other(format!("{only}: {error}")).into();
                }
                error
            });
        }
        let connect = |address| {
            let (config, kept) = prepare(config());
            let config = config.set_dns_resolver(Only(address));
            let client = &client;
            async move {
                let connected = client.get_multiplexed_async_connection_with_config(&config).await;
                let answered = match connected {
                    Ok(mut connection) => match cmd("PING").query_async(&mut connection).await {
                        // Whatever it says, it speaks, unless it hangs up then.
                        Ok(()) => Ok((connection, kept)),
                        Err(error) if error.code().is_some() && !is_full(&error) => {
                            Ok((connection, kept))
                        }
                        Err(error) => Err(error),
                    },
                    Err(error) => Err(error),
                };
                match answered {
                    // Of a bad certificate no other address knows better.
                    Err(error) if error.is_io_error() && certificate(&error).is_none() => {
                        Err(io::Error::other(error))
                    }
                    final_answer => Ok(final_answer),
                }
            }
        };
        addresses.race(limit, connect).await.map_err(failed)?
    }

    fn client(&self, place: &Place, settings: RedisConnectionInfo) -> RedisResult<Client> {
        let (idle, interval) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
        let keepalive = keepalive.with_retries(KEEPALIVE_TRIES);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        let address = match place {
            Place::Socket(path) => ConnectionAddr::Unix(path.clone()),
            Place::Tcp(Address { host, port }) if self.tls.is_none() => {
                ConnectionAddr::Tcp(host.clone(), *port)
            }
            Place::Tcp(Address { host, port }) => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        let info =
            address.into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(settings);
        match (&self.tls, place) {
            (Some(files), Place::Tcp(_)) => {
                // A program with several makers of cryptography has to choose one; else this one.
                if rustls::crypto::CryptoProvider::get_default().is_none() {
                    let _ = rustls::crypto::ring::default_provider().install_default();
                }
                Client::build_with_tls(info, files.read()?)
            }
            _ => Client::open(info),
        }
    }
}

/// A host that has this one address.
struct Only(SocketAddr);

impl AsyncDNSResolver for Only {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _host: &'b str,
        _port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        let only: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(iter::once(self.0));
        Box::pin(future::ready(Ok(only)))
    }
}

/// No name of a library is sent: that would be one right more.
fn settings() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// Says who it is, if it is anybody.
async fn authenticate(
    connection: &mut MultiplexedConnection,
    account: &Account,
) -> RedisResult<()> {
    let Some(password) = account.shown() else { return Ok(()) };
    let mut auth = cmd("AUTH");
    if let Some(user) = &account.user {
        auth.arg(user);
    }
    auth.arg(password).query_async::<()>(connection).await.map_err(|error| {
        let error = account.hide(error);
        // It has no users, or no password: that has no word of its own.
        if error.code() == Some("ERR") && !is_full(&error) {
            let detail = error.detail().unwrap_or_default().to_owned();
            return RedisError::from((ErrorKind::AuthenticationFailed, "AUTH failed", detail));
        }
        error
    })
}

/// Whether the server takes no more connections: that is the answer to whatever is sent first.
pub(crate) fn is_full(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains("max number of clients"))
}

impl Files {
    /// The file that an option names.
    pub(crate) fn slot(&mut self, option: &str) -> &mut Option<PathBuf> {
        match option {
            "ssl-ca" => &mut self.ca,
            "ssl-cert" => &mut self.cert,
            _ => &mut self.key,
        }
    }

    /// The files that are named, with the options that name them.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("ssl-ca", &self.ca), ("ssl-cert", &self.cert), ("ssl-key", &self.key)];
        all.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    fn read(&self) -> RedisResult<TlsCertificates> {
        let read = |path: &Option<PathBuf>| path.as_ref().map(fs::read).transpose();
        let client_tls = match (read(&self.cert)?, read(&self.key)?) {
            (Some(client_cert), Some(client_key)) => {
                Some(ClientTlsConfig { client_cert, client_key })
            }
            _ => None,
        };
        Ok(TlsCertificates { client_tls, root_cert: read(&self.ca)? })
    }
}

impl Address {
    /// An address as a node of a cluster or a person writes it; brackets are optional.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: without_brackets(host).into(), port: port.parse().ok()? })
    }

    /// As a URL has it.
    pub(crate) fn in_url(&self, default_port: u16) -> String {
        host_and_port(&self.host, self.port, default_port)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("addresses", &self.addresses)
            .field("socket", &self.socket)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
