//! The link with a server: a socket, with TLS where it is asked for, and the messages that go over it.

use std::io;

use bytes::BytesMut;
use nix::sys::socket::{setsockopt, sockopt};
use postgres_protocol::message::backend::{Header, Message};
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::target::{Host, Target, TlsMode};
use super::tls;
use crate::text::fault::explain;

/// Seconds: a server that is gone without a word is noticed within two minutes, whatever the timeout.
const IDLE: u32 = 60;
const BETWEEN: u32 = 15;
const TRIES: u32 = 4;
/// A single message may be this long: a row beyond it is refused before it is read.
pub const MESSAGE: usize = crate::exec::outputs::READ_LIMIT + (1 << 20);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Wire {
    stream: Box<dyn Stream>,
    /// Nobody on the way can read it.
    pub private: bool,
    input: BytesMut,
    pub output: BytesMut,
}

/// What a read came to when it is no message.
#[derive(Debug)]
pub enum Broken {
    Io(io::Error),
    TooLong,
}

impl Wire {
    pub async fn connect(target: &Target) -> Result<Self, Fault> {
        let (stream, private) = match &target.host {
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", target.port));
                let stream = UnixStream::connect(&path).await;
                let stream = stream
                    .map_err(|e| Fault::sure(format!("the socket {} cannot be used: {e}", path.display())))?;
                (Box::new(stream) as Box<dyn Stream>, true)
            }
            Host::Tcp(host) => Self::reach(host, target).await?,
        };
        Ok(Self { stream, private, input: BytesMut::new(), output: BytesMut::new() })
    }

    async fn reach(host: &str, target: &Target) -> Result<(Box<dyn Stream>, bool), Fault> {
        let place = format!("{host}:{}", target.port);
        let fault = |e: &io::Error| Fault::sure(explain(e, &place).why);
        let mut stream = TcpStream::connect((host, target.port)).await.map_err(|e| fault(&e))?;
        keep_alive(&stream);
        if target.tls == TlsMode::Disable {
            return Ok((Box::new(stream), super::target::is_this_machine(host)));
        }
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await.map_err(|e| fault(&e))?;
        // One byte and no more: whatever comes behind it in the clear is not the server's.
        let mut answer = [0];
        stream.read_exact(&mut answer).await.map_err(|e| fault(&e))?;
        match (answer[0], target.tls) {
            (b'S', _) => {}
            (b'N', TlsMode::Prefer) => {
                return Ok((Box::new(stream), super::target::is_this_machine(host)));
            }
            (b'N', _) => {
                let why =
                    format!("{place} has no TLS; write sslmode=disable if nobody else can read this network");
                return Err(Fault::sure(why));
            }
            _ => return Err(Fault::sure(format!("{place} does not speak like a PostgreSQL server"))),
        }
        let config = tls::config(target).map_err(Fault::sure)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::sure(format!("{host} is no name that a certificate can have")))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|e| fault(&e))?;
        Ok((Box::new(stream), true))
    }

    /// Sends what has been written to `output`.
    pub async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        self.stream.flush().await
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Message, Broken> {
        loop {
            if let Some(header) = Header::parse(&self.input).map_err(Broken::Io)?
                && usize::try_from(header.len()).is_ok_and(|len| len > MESSAGE)
            {
                return Err(Broken::TooLong);
            }
            if let Some(message) = Message::parse(&mut self.input).map_err(Broken::Io)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.input).await.map_err(Broken::Io)? == 0 {
                return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Waits until the server has closed the link.
    pub async fn closed(&mut self) {
        while self.stream.read_buf(&mut self.input).await.is_ok_and(|n| n > 0) {
            self.input.clear();
        }
    }

    /// Takes leave; the server rolls back what is open.
    pub async fn leave(mut self) {
        frontend::terminate(&mut self.output);
        // It is over either way.
        let _ = self.send().await;
        let _ = self.stream.shutdown().await;
    }
}

/// Without it a server that vanished would be waited for until the timeout. Best effort.
fn keep_alive(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &IDLE);
    let _ = setsockopt(stream, sockopt::TcpKeepInterval, &BETWEEN);
    let _ = setsockopt(stream, sockopt::TcpKeepCount, &TRIES);
    // What was sent and never acknowledged, likewise.
    let _ = setsockopt(stream, sockopt::TcpUserTimeout, &((IDLE + BETWEEN * TRIES) * 1000));
}

/// Asks the server to end what the session with this key is doing. It says nothing in return.
pub async fn cancel(target: &Target, (process, key): (i32, i32)) -> Result<(), Fault> {
    let mut wire = Wire::connect(target).await?;
    frontend::cancel_request(process, key, &mut wire.output);
    wire.send().await.map_err(|e| Fault::sure(e.to_string()))?;
    wire.closed().await;
    Ok(())
}
