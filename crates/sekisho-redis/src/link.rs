use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::config::{Endpoint, Login};
use crate::error::{Fault, FaultKind};
use crate::gather::Gathering;
use crate::reply;

/// Is one connection, shared by all who ask at the same time. It ends with its last clone.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    connection: MultiplexedConnection,
    driver: Driver,
}

/// Says how many replicas must have what a command changed, and how long to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) replicas: u8,
    pub(crate) within: Duration,
}

/// The end of the year 9999, in Unix seconds.
#[cfg(feature = "session")]
const LAST_SECOND: i64 = 253_402_300_799;

/// Is what is asked on one wire in one go.
#[derive(Clone, Copy)]
pub(crate) enum Question<'q> {
    Command(&'q Cmd),
    /// And then, how many replicas have what came of it.
    Change(&'q Cmd, Wait),
    /// For the beginning of a text, so many bytes at the most.
    #[cfg(feature = "session")]
    Text(&'q [u8], usize),
}

/// Is an answer, and whether as many replicas as were wanted have what came of it. Nobody wanted any: they have.
pub(crate) struct Answered {
    pub(crate) value: Value,
    pub(crate) is_acknowledged: bool,
}

/// Takes what Redis sends unasked. It must not wait.
pub(crate) type PushReceiver = Arc<dyn Fn(PushInfo) + Send + Sync>;

impl Link {
    /// Connects and logs in. The caller bounds the time.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        login: &Login,
        database: u8,
        push: Option<PushReceiver>,
    ) -> Result<Self, Fault> {
        let Endpoint { host, port } = endpoint;
        let unreachable = |error| Fault::connecting(FaultKind::Unreachable, &error);
        let stream = TcpStream::connect((&**host, *port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &login.tls else { return Self::over(stream, login, database, push).await };
        let name = ServerName::try_from(host.to_string()).map_err(|_| Fault::new(FaultKind::Tls))?;
        let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        let stream = connected.map_err(|error| Fault::connecting(FaultKind::Tls, &error))?;
        Self::over(stream, login, database, push).await
    }

    async fn over<S>(stream: S, login: &Login, database: u8, push: Option<PushReceiver>) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(database.into());
        if let Some(username) = &login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = login.password.as_ref().and_then(|password| password.expose_str()) {
            settings = settings.set_password(password);
        }
        // Who asks bounds the time, and gives the connection up then.
        let mut config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        if let Some(push) = push {
            config = config.set_push_sender(move |info| {
                push(info);
                Ok::<(), ()>(())
            });
        }
        let stream = Gathering::new(stream);
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, config).await?;
        let driver = Driver(tokio::spawn(driver).abort_handle());
        Ok(Self(Arc::new(Inner { connection, driver })))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.driver.0.is_finished()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Ends it for all who hold it.
    pub(crate) fn close(&self) {
        self.0.driver.0.abort();
    }

    /// Asks, and waits for the answer for as long as it takes.
    pub(crate) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.0.connection.clone().send_packed_command(command).await?.extract_error()
    }

    /// Asks for a slot that is on its way to this server.
    pub(crate) async fn ask_importing(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let mut answers = self.0.connection.clone().send_packed_commands(&both, 0, 2).await?;
        answers.pop().unwrap_or_default().extract_error()
    }

    /// Reads the beginning of a text, `most` bytes, of a server that would let it be changed.
    ///
    /// For that it is asked for a change first, which never comes to be: `XX` lets only what has an end have another, and `LT` only a
    /// sooner one. A server that overlooked both would clear away late what is over, and lose nothing. A replica and a master that was cut
    /// off refuse the change; what is read after it is as new as what the master had then.
    #[cfg(feature = "session")]
    pub(crate) async fn read(&self, key: &[u8], most: usize, is_importing: bool) -> Result<Value, RedisError> {
        let with_room = || Cmd::with_capacity(5, key.len() + 40);
        let (mut change, mut read) = (with_room(), with_room());
        change.arg("EXPIREAT").arg(key).arg(LAST_SECOND).arg("XX").arg("LT");
        read.arg("GETRANGE").arg(key).arg(0).arg(most.saturating_sub(1));
        let mut all = redis::Pipeline::with_capacity(4);
        for command in [change, read] {
            if is_importing {
                all.cmd("ASKING");
            }
            all.add_command(command);
        }
        let answers = self.0.connection.clone().send_packed_commands(&all, 0, all.len()).await?;
        let mut last = Value::Nil;
        for answer in answers {
            last = answer.extract_error()?;
        }
        Ok(last)
    }

    /// Asks, and then waits for replicas, on one wire in one go: what comes between belongs to others.
    pub(crate) async fn ask_and_wait(
        &self,
        command: &Cmd,
        is_importing: bool,
        wait: Wait,
    ) -> Result<Answered, RedisError> {
        let mut all = redis::pipe();
        if is_importing {
            all.cmd("ASKING");
        }
        let millis = u64::try_from(wait.within.as_millis()).unwrap_or(u64::MAX);
        all.add_command(command.clone()).cmd("WAIT").arg(wait.replicas).arg(millis);
        let mut answers =
            self.0.connection.clone().send_packed_commands(&all, 0, 2 + usize::from(is_importing)).await?;
        let acknowledged = answers.pop().unwrap_or_default();
        let value = answers.pop().unwrap_or_default().extract_error()?;
        // Also an error of WAIT means no more than that nobody knows: the command itself was carried out.
        let is_acknowledged = matches!(acknowledged, Value::Int(count) if count >= i64::from(wait.replicas));
        Ok(Answered { value, is_acknowledged })
    }

    /// Makes sure that nothing is evicted there.
    pub(crate) async fn refuse_eviction(&self) -> Result<(), Fault> {
        let evicts = || Fault::new(FaultKind::Evicts);
        let memory = match self.ask(redis::cmd("INFO").arg("memory")).await {
            Ok(memory) => reply::text(memory)?,
            Err(error) => {
                let fault = Fault::from(error);
                return Err(if fault.kind() == FaultKind::NotAllowed { evicts() } else { fault });
            }
        };
        match field(&memory, "maxmemory_policy") {
            Some("noeviction") => Ok(()),
            _ => Err(evicts()),
        }
    }

    /// Makes sure that it is a master.
    pub(crate) async fn require_master(&self) -> Result<(), Fault> {
        let replication = reply::text(self.ask(redis::cmd("INFO").arg("replication")).await?)?;
        match field(&replication, "role") {
            Some("master") => Ok(()),
            _ => Err(Fault::new(FaultKind::Moved)),
        }
    }
}

fn field<'t>(info: &'t str, name: &str) -> Option<&'t str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_open() { "Link(open)" } else { "Link(closed)" })
    }
}

/// Moves the bytes of a connection; without it the connection is dead.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_lines_of_an_info() {
        let info = "# Memory\r\nused:1\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\nx:y\r\n";
        assert_eq!(field(info, "maxmemory_policy"), Some("noeviction"));
        assert_eq!(field(info, "maxmemory"), Some("0"));
        assert_eq!(field(info, "policy"), None);
        assert_eq!(field("", "x"), None);
    }
}
