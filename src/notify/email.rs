//! Mail by SMTP: one message to all recipients, in one connection for each try.
//!
//! A recipient who is refused keeps no other one from getting the mail, and one who has it does not get it again when
//! the rest is tried once more.

use std::path::Path;
use std::time::{Duration, SystemTime};

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{Error, response::Response};

use super::deliver::Tried;
use super::{Keys, clean, http};
use crate::model::{EmailChannel, Notice, SmtpSecurity, SmtpServer};
use crate::text::{fault, neutral};

/// Saying goodbye is polite, not important.
const GOODBYE: Duration = Duration::from_secs(1);

enum Standing {
    Left,
    Has,
    /// Why the server will never take it for this one.
    Refused(String),
}

pub struct Mail {
    server: SmtpServer,
    tls: Option<TlsParameters>,
    credentials: Option<Credentials>,
    hello: ClientId,
    from: Mailbox,
    /// Changed only by what the server has said: a try may be broken off anywhere.
    recipients: Vec<(Address, Standing)>,
    message: Vec<u8>,
    /// The message is under way and not acknowledged.
    unsure: bool,
}

impl Mail {
    pub fn new(
        channel: &EmailChannel,
        ca_file: Option<&Path>,
        notice: &Notice,
        keys: &Keys,
    ) -> Result<Self, String> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|error| format!("{text:?} is no mail address: {error}"))
        };
        let from = mailbox(&channel.from)?;
        let to = channel.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        let credentials = match (&channel.username, &channel.password) {
            (Some(user), Some(password)) => Some(Credentials::new(
                keys.resolve_text(user, "the user name")?,
                keys.resolve_text(password, "the password")?,
            )),
            _ => None,
        };
        let tls = match channel.smtp.security {
            SmtpSecurity::Plain => None,
            SmtpSecurity::StartTls | SmtpSecurity::Tls => Some(tls(&channel.smtp.host, ca_file)?),
        };
        let domain_like = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let hello = match notice.host.as_str() {
            host if !host.is_empty() && host.chars().all(domain_like) => ClientId::Domain(host.to_owned()),
            _ => ClientId::default(),
        };
        let message = message(&from, &to, notice)?;
        Ok(Self {
            server: channel.smtp.clone(),
            tls,
            credentials,
            hello,
            from,
            recipients: to.into_iter().map(|to| (to.email, Standing::Left)).collect(),
            message,
            unsure: false,
        })
    }

    pub fn unsure(&self) -> bool {
        self.unsure
    }

    pub async fn attempt(&mut self) -> Tried {
        self.unsure = false;
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return self.failed(&error),
        };
        let sent = self.transact(&mut connection).await;
        match sent {
            Ok((answered, later)) => {
                // Whether it hears the goodbye changes nothing.
                let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
                self.judge(answered, later)
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let place = (self.server.host.as_str(), self.server.port);
        let at_once = self.tls.clone().filter(|_| self.server.security == SmtpSecurity::Tls);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(place, None, &self.hello, at_once, None).await?;
        if let (SmtpSecurity::StartTls, Some(tls)) = (self.server.security, &self.tls) {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    /// One transaction for all that are left. With the server's last word, and why some have to wait.
    async fn transact(
        &mut self,
        connection: &mut AsyncSmtpConnection,
    ) -> Result<(Option<String>, Option<String>), Error> {
        connection.command(MailFrom::new(Some(self.from.email.clone()), Vec::new())).await?;
        let (mut accepted, mut later) = (Vec::new(), None);
        for (number, (address, standing)) in self.recipients.iter_mut().enumerate() {
            if !matches!(standing, Standing::Left) {
                continue;
            }
            match connection.command(Rcpt::new(address.clone(), Vec::new())).await {
                Ok(_) => accepted.push(number),
                Err(error) if error.is_permanent() => {
                    *standing = Standing::Refused(format!("{address}: {}", words(&error)));
                }
                Err(error) if error.is_transient() => later = Some(format!("{address}: {}", words(&error))),
                Err(error) => return Err(error),
            }
        }
        if accepted.is_empty() {
            return Ok((None, later));
        }
        let response = self.hand_over(connection).await?;
        for number in accepted {
            self.recipients[number].1 = Standing::Has;
        }
        Ok((Some(said(&response)), later))
    }

    async fn hand_over(&mut self, connection: &mut AsyncSmtpConnection) -> Result<Response, Error> {
        connection.command(Data).await?;
        self.unsure = true;
        let result = connection.message(&self.message).await;
        // An answer, good or bad, leaves no doubt.
        self.unsure = result.as_ref().is_err_and(|error| error.status().is_none());
        result
    }

    fn judge(&self, answered: Option<String>, later: Option<String>) -> Tried {
        if let Some(why) = later {
            return Tried::Later { why, answered, unsure: false, wait: None };
        }
        let refused: Vec<&str> = self
            .recipients
            .iter()
            .filter_map(|(_, standing)| match standing {
                Standing::Refused(why) => Some(why.as_str()),
                Standing::Left | Standing::Has => None,
            })
            .collect();
        if refused.is_empty() {
            return Tried::Delivered { answered };
        }
        let all = self.recipients.len();
        let why = format!("{} of {all} have it; refused: {}", all - refused.len(), refused.join("; "));
        Tried::Never { why, answered }
    }

    fn failed(&self, error: &Error) -> Tried {
        let host = &self.server.host;
        if error.status().is_some() {
            let why = format!("{host} answered {}", words(error));
            return if error.is_permanent() { Tried::never(why) } else { Tried::later(why) };
        }
        if error.is_client() {
            // Such as: no STARTTLS is offered, no way to log in is.
            return Tried::never(format!("{host}: {}", words(error)));
        }
        let fault = fault::explain(error, host);
        if fault.hopeless {
            return Tried::never(fault.why);
        }
        Tried::Later { why: fault.why, answered: None, unsure: self.unsure, wait: None }
    }
}

/// What the server, or the library, said.
fn words(error: &Error) -> String {
    use std::error::Error as _;
    let text = error.source().map_or_else(String::new, ToString::to_string);
    let code = error.status().map_or_else(String::new, |code| code.to_string());
    clean::clip(neutral::line(format!("{code} {text}")).trim(), 200)
}

fn said(response: &Response) -> String {
    let text = response.message().collect::<Vec<_>>().join(" ");
    clean::clip(neutral::line(format!("{} {text}", response.code())).trim(), 200)
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(file) = ca_file {
        let certificate = Certificate::from_pem(&http::read_ca(file)?)
            .map_err(|_| format!("{}: these are no certificates in PEM", file.display()))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| fault::explain(&error, "TLS").why)
}

fn message(from: &Mailbox, to: &[Mailbox], notice: &Notice) -> Result<Vec<u8>, String> {
    // Stable, and in a name space of the sender: a mail server may drop what comes twice.
    let domain = from.email.domain();
    let id = |of: &str| {
        format!("<{}@{domain}>", of.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "."))
    };
    let since = Duration::from_millis(u64::try_from(notice.at.0).unwrap_or(0));
    let own = |name, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
    let mut builder = Message::builder()
        .from(from.clone())
        .subject(notice.subject.as_str())
        .date(SystemTime::UNIX_EPOCH + since)
        .message_id(Some(id(&notice.id)))
        // The mails of one run are one thread, whichever comes first.
        .references(id(&notice.dedup_key))
        .in_reply_to(id(&notice.dedup_key))
        .header(ContentType::TEXT_PLAIN)
        .raw_header(own("Auto-Submitted", "auto-generated"))
        .raw_header(own("X-Runbook-Run", notice.run.as_str()));
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let message =
        builder.body(clean::body(notice)).map_err(|error| format!("the mail cannot be written: {error}"))?;
    Ok(message.formatted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_has_no_header_but_its_own() {
        let mut notice = clean::tests::notice();
        notice.subject = "über\r\nBcc: eve@example.org".into();
        let notice = clean::clean(&notice, &crate::text::Redactor::default());
        let from: Mailbox = "Runbook <runbook@example.org>".parse().unwrap();
        let to: Vec<Mailbox> =
            vec!["ops@example.org".parse().unwrap(), "Über <b@example.org>".parse().unwrap()];
        let mail = String::from_utf8(message(&from, &to, &notice).unwrap()).unwrap();
        let head = mail.split_once("\r\n\r\n").unwrap().0;
        assert!(mail.is_ascii());
        assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
        for line in [
            "Message-ID: <db-corruption-20261121T103755Z-abcd.7-escalation-1@example.org>",
            "References: <runbook.db-corruption-20261121T103755Z-abcd@example.org>",
            "Auto-Submitted: auto-generated",
            "Date: Sat, 21 Nov 2026 10:37:55 +0000",
        ] {
            assert!(head.lines().any(|l| l == line), "{line}\n{head}");
        }
    }
}
