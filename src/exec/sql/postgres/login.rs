//! The start of a session: who we are, and the proof of it.

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::fault::{Fault, Said};
use super::target::Target;
use super::wire::{Broken, Wire};
use crate::text::fault::explain;

/// A session that waits for a statement.
pub struct Session {
    pub wire: Wire,
    /// With it another link can end what this one does. Absent: the server gave none.
    pub key: Option<(i32, i32)>,
}

pub async fn log_in(target: &Target, options: &str) -> Result<Session, Fault> {
    let mut wire = Wire::connect(target).await?;
    let mut parameters = vec![
        ("user", target.user.as_str()),
        ("database", target.database.as_str()),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("TimeZone", "UTC"),
        ("application_name", target.application.as_str()),
    ];
    if !options.is_empty() {
        parameters.push(("options", options));
    }
    let written = frontend::startup_message(parameters, &mut wire.output);
    written.map_err(|e| Fault::sure(format!("the session cannot be asked for: {e}")))?;
    let mut login = Login { target, wire, scram: None, proven: false, key: None };
    login.send().await?;
    while !login.hear().await? {}
    Ok(Session { wire: login.wire, key: login.key })
}

struct Login<'a> {
    target: &'a Target,
    wire: Wire,
    scram: Option<ScramSha256>,
    /// The server has shown that it knows the password as well.
    proven: bool,
    key: Option<(i32, i32)>,
}

impl Login<'_> {
    async fn send(&mut self) -> Result<(), Fault> {
        self.wire.send().await.map_err(|e| self.lost(&e))
    }

    fn lost(&self, error: &std::io::Error) -> Fault {
        let place = match &self.target.host {
            super::target::Host::Tcp(host) => format!("{host}:{}", self.target.port),
            super::target::Host::Unix(folder) => folder.display().to_string(),
        };
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Fault::sure(format!("{place} broke the connection off"));
        }
        Fault::sure(explain(error, &place).why)
    }

    /// One message of the server; true: the session waits for a statement.
    async fn hear(&mut self) -> Result<bool, Fault> {
        let message = self.wire.next().await.map_err(|broken| match broken {
            Broken::Io(error) => self.lost(&error),
            Broken::TooLong => Fault::sure("the server does not speak like a PostgreSQL server"),
        })?;
        match message {
            Message::AuthenticationOk if self.scram.is_some() && !self.proven => {
                return Err(Fault::sure("the server did not prove that it knows the password"));
            }
            Message::AuthenticationOk
            | Message::ParameterStatus(_)
            | Message::NoticeResponse(_)
            | Message::NotificationResponse(_) => {}
            Message::AuthenticationCleartextPassword if !self.wire.private => {
                let why =
                    "the server asks for the password in the clear, and there is no TLS: it is not sent";
                return Err(Fault::sure(why));
            }
            Message::AuthenticationCleartextPassword => {
                let password = self.password()?.to_vec();
                self.answer(&password).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(self.target.user.as_bytes(), self.password()?, body.salt());
                self.answer(hash.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                let offered: Vec<&str> = body.mechanisms().collect().unwrap_or_default();
                if !offered.contains(&SCRAM_SHA_256) {
                    return Err(unknown_way(&offered.join(", ")));
                }
                let scram = ScramSha256::new(self.password()?, ChannelBinding::unsupported());
                let written =
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.wire.output);
                written.map_err(|e| self.lost(&e))?;
                self.scram = Some(scram);
                self.send().await?;
            }
            Message::AuthenticationSaslContinue(body) => {
                let scram = self.scram.as_mut().ok_or_else(out_of_turn)?;
                scram.update(body.data()).map_err(|e| refused(&e))?;
                let written = frontend::sasl_response(scram.message(), &mut self.wire.output);
                written.map_err(|e| self.lost(&e))?;
                self.send().await?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let scram = self.scram.as_mut().ok_or_else(out_of_turn)?;
                scram.finish(body.data()).map_err(|e| refused(&e))?;
                self.proven = true;
            }
            Message::AuthenticationGss | Message::AuthenticationKerberosV5 => {
                return Err(unknown_way("GSSAPI"));
            }
            Message::AuthenticationSspi => return Err(unknown_way("SSPI")),
            Message::BackendKeyData(body) => self.key = Some((body.process_id(), body.secret_key())),
            Message::ErrorResponse(body) => return Err(Said::read(body.fields()).fault()),
            Message::ReadyForQuery(_) => return Ok(true),
            _ => return Err(out_of_turn()),
        }
        Ok(false)
    }

    fn password(&self) -> Result<&[u8], Fault> {
        let password = self.target.password.as_ref().map(crate::model::Secret::expose);
        password.ok_or_else(|| {
            Fault::sure("the server asks for a password: declare a secret and give it as `password`")
        })
    }

    async fn answer(&mut self, password: &[u8]) -> Result<(), Fault> {
        let written = frontend::password_message(password, &mut self.wire.output);
        written.map_err(|_| Fault::sure("the password holds a NUL byte"))?;
        self.send().await
    }
}

fn unknown_way(way: &str) -> Fault {
    Fault::sure(format!("the server asks for a proof of who we are that is not known here: {way}"))
}

fn out_of_turn() -> Fault {
    Fault::sure("the server does not speak like a PostgreSQL server")
}

fn refused(error: &std::io::Error) -> Fault {
    Fault::sure(format!("the proof of the password failed: {error}"))
}
