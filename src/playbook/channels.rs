//! From a channel as typed to the channel that is used, and everything that can be wrong with one.

use lettre::message::Mailbox;
use reqwest::Url;

use super::ast::{Channel, ChannelKind};
use super::diagnostic::Diagnostic;
use super::source::{Span, Text};
use crate::model::{
    self, CommandChannel, EmailChannel, PagerDutyChannel, Piece, SecretName, SecretText, SlackChannel,
    SmtpSecurity, SmtpServer, WebhookChannel,
};

const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Headers that say something about the message itself.
const OWN_HEADERS: [&str; 5] =
    ["content-type", "content-length", "host", "idempotency-key", "runbook-signature"];

/// What a channel as typed comes to.
pub struct Read {
    /// Its paths as typed. None if something is wrong.
    pub channel: Option<model::Channel>,
    /// The secrets it names, each with its place.
    pub secrets: Vec<(String, Span)>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether the secrets are declared is for others to say.
pub fn read(typed: &Channel) -> Read {
    let mut reader = Reader { secrets: Vec::new(), found: Vec::new(), plain_place: None };
    let kind = reader.kind(&typed.kind);
    if let Some(timeout) = typed.timeout.as_ref().filter(|t| t.value.0 == 0) {
        reader.found.push(
            Diagnostic::error("out-of-range", timeout.span, "`timeout` must be longer than 0")
                .help("write 10s, for example"),
        );
    }
    reader.in_the_open();
    let wrong = reader.found.iter().any(|d| d.severity == super::diagnostic::Severity::Error);
    let channel = kind.filter(|_| !wrong).map(|kind| model::Channel {
        name: typed.name.value.clone(),
        kind,
        timeout: typed.timeout.as_ref().map_or(model::Channel::DEFAULT_TIMEOUT, |t| t.value),
        retry_for: typed.retry_for.as_ref().map_or(model::Channel::DEFAULT_RETRY_FOR, |t| t.value),
        ca_file: typed.ca_file.as_ref().map(|file| file.value.clone().into()),
    });
    Read { channel, secrets: reader.secrets, diagnostics: reader.found }
}

struct Reader {
    secrets: Vec<(String, Span)>,
    found: Vec<Diagnostic>,
    /// Where the channel says that nothing is encrypted on the way to another machine.
    plain_place: Option<Span>,
}

impl Reader {
    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: &str) {
        self.found.push(Diagnostic::error(code, span, message).help(help));
    }

    fn kind(&mut self, kind: &ChannelKind) -> Option<model::ChannelKind> {
        Some(match kind {
            ChannelKind::Slack { url } => {
                self.should_be_secret(url, "the URL of an incoming webhook");
                model::ChannelKind::Slack(SlackChannel { url: self.url(url)? })
            }
            ChannelKind::Pagerduty { routing_key, url } => {
                self.should_be_secret(routing_key, "a routing key");
                let routing_key = self.secret_text(routing_key);
                let url = match url {
                    Some(url) => self.url(url)?,
                    None => SecretText::plain(PAGERDUTY_URL),
                };
                model::ChannelKind::Pagerduty(PagerDutyChannel { url, routing_key: routing_key? })
            }
            ChannelKind::Webhook { url, headers, sign } => {
                let url = self.url(url);
                let mut read = Vec::new();
                for (name, value) in headers {
                    if OWN_HEADERS.contains(&name.value.to_ascii_lowercase().as_str()) {
                        let message = format!("the header `{}` cannot be set", name.value);
                        self.error("bad-value", name.span, message, "the message says it itself: remove it");
                    }
                    if let Some(value) = self.secret_text(value) {
                        read.push((name.value.clone(), value));
                    }
                }
                if let Some(sign) = sign {
                    self.should_be_secret(sign, "the key of a signature");
                }
                let sign = sign.as_ref().and_then(|sign| self.secret_text(sign));
                model::ChannelKind::Webhook(WebhookChannel { url: url?, headers: read, sign })
            }
            ChannelKind::Email { smtp, from, to, username, password } => {
                let server = self.smtp(smtp);
                self.mailbox(from);
                to.iter().for_each(|to| self.mailbox(to));
                if let Some(password) = password {
                    self.should_be_secret(password, "a password");
                }
                let username = username.as_ref().and_then(|text| self.secret_text(text));
                let password = password.as_ref().and_then(|text| self.secret_text(text));
                model::ChannelKind::Email(EmailChannel {
                    smtp: server?,
                    from: from.value.clone(),
                    to: to.iter().map(|to| to.value.clone()).collect(),
                    username,
                    password,
                })
            }
            ChannelKind::Command { argv, env } => {
                for argument in argv {
                    self.argument(argument);
                }
                let mut read = Vec::new();
                for (name, value) in env {
                    if let Some(value) = self.secret_text(value) {
                        read.push((name.value.clone(), value));
                    }
                }
                model::ChannelKind::Command(CommandChannel {
                    argv: argv.iter().map(|a| a.value.clone()).collect(),
                    env: read,
                    workdir: ".".into(),
                })
            }
        })
    }

    /// `secrets.NAME` is the whole text; `{{ secrets.NAME }}` stands for a part of it.
    fn secret_text(&mut self, text: &Text) -> Option<SecretText> {
        let pieces = match pieces(&text.value) {
            Ok(pieces) => pieces,
            Err(what) => {
                let help =
                    "only secrets can be read here: `secrets.NAME` alone, or `{{ secrets.NAME }}` inside";
                let message = "this text of a channel cannot be read";
                self.found
                    .push(Diagnostic::error("bad-secret-text", text.span, message).label(what).help(help));
                return None;
            }
        };
        for piece in &pieces {
            if let Piece::Secret(name) = piece {
                self.secrets.push((name.0.clone(), text.span));
            }
        }
        Some(SecretText(pieces))
    }

    /// A secret at the beginning of a URL stands as it is, any other as one part of it; as with `http`.
    fn url(&mut self, text: &Text) -> Option<SecretText> {
        let mut url = self.secret_text(text)?;
        for piece in url.0.iter_mut().skip(1) {
            if let Piece::Secret(name) = piece {
                *piece = Piece::UrlSecret(name.clone());
            }
        }
        let Some(Piece::Plain(base)) = url.0.first() else { return Some(url) };
        // A stand-in for each secret: what is around them must be a URL.
        let whole: String =
            url.0.iter().map(|p| if let Piece::Plain(text) = p { text.as_str() } else { "x" }).collect();
        let parsed = Url::parse(whole.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(parsed) = parsed else {
            self.error("bad-url", text.span, "this is not a URL", "a URL begins with https:// or http://");
            return None;
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            self.error(
                "bad-url",
                text.span,
                "a name or a password cannot stand in this URL",
                "give it in a header: `headers: { Authorization: \"Basic {{ secrets.NAME }}\" }`",
            );
            return None;
        }
        if base.starts_with("http:") && !is_loopback(parsed.host_str().unwrap_or_default()) {
            self.plain_place = Some(text.span);
        }
        Some(url)
    }

    fn smtp(&mut self, text: &Text) -> Option<SmtpServer> {
        const HELP: &str =
            "write smtps://HOST:465, smtp+starttls://HOST:587, or smtp://HOST:25 for one without TLS";
        let server = smtp_server(&text.value);
        match server {
            Ok(server) => {
                if server.security == SmtpSecurity::Plain && !is_loopback(&server.host) {
                    self.plain_place = Some(text.span);
                }
                Some(server)
            }
            Err(what) => {
                let diagnostic =
                    Diagnostic::error("bad-url", text.span, "this is not a mail server").label(what);
                self.found.push(diagnostic.help(HELP));
                None
            }
        }
    }

    fn mailbox(&mut self, text: &Text) {
        const HELP: &str = "write `name@example.org`, or `Name <name@example.org>`";
        // Without the parser's words: they are about grammar.
        match text.value.parse::<Mailbox>() {
            Ok(mailbox) if AsRef::<str>::as_ref(&mailbox.email).is_ascii() => {}
            _ => self.error("bad-address", text.span, "this is not a mail address", HELP),
        }
    }

    fn argument(&mut self, text: &Text) {
        let refused = if text.value.contains("{{") || text.value.contains("{%") {
            "this text cannot hold a template"
        } else if text.value.starts_with("secrets.") {
            "a secret cannot be an argument"
        } else if text.value.contains('\0') {
            "an argument cannot hold a NUL"
        } else {
            return;
        };
        self.error(
            "bad-argument",
            text.span,
            refused,
            "what the command is to know of the message is in its environment; secrets go into `env`",
        );
    }

    /// Everybody who can read the file can use it.
    fn should_be_secret(&mut self, text: &Text, what: &str) {
        let literal = matches!(pieces(&text.value).as_deref(), Ok([Piece::Plain(_)] | []));
        let local = Url::parse(&text.value).is_ok_and(|url| url.host_str().is_some_and(is_loopback));
        if literal && !local {
            let message = format!("{what} is a secret and stands here in the open");
            self.found.push(
                Diagnostic::warning("literal-secret", text.span, message)
                    .help("declare it below `secrets`, and write `secrets.NAME` here"),
            );
        }
    }

    fn in_the_open(&mut self) {
        if let (Some(span), Some((name, _))) = (self.plain_place, self.secrets.first()) {
            let message = format!("secret `{name}` would cross the network unencrypted");
            self.found.push(
                Diagnostic::warning("secret-in-the-open", span, message)
                    .label("nothing is encrypted on this way")
                    .help("use https:// (for mail smtps:// or smtp+starttls://)"),
            );
        }
    }
}

/// The pieces of a text with secrets; or what cannot be read.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let name = |text: &str| -> Option<SecretName> {
        let name = text.trim().strip_prefix("secrets.")?;
        let ok = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        ok.then(|| SecretName(name.to_owned()))
    };
    if let Some(whole) = name(text) {
        return Ok(vec![Piece::Secret(whole)]);
    }
    if text.trim().starts_with("secrets.") {
        return Err(format!("`{}` is not a secret's name", text.trim()));
    }
    if text.contains("{%") || text.contains("{#") {
        return Err("a channel has no statements and no comments".into());
    }
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some((before, inside)) = rest.split_once("{{") {
        if !before.is_empty() {
            pieces.push(Piece::Plain(before.to_owned()));
        }
        let (inside, after) = inside.split_once("}}").ok_or("`{{` is not closed")?;
        pieces
            .push(Piece::Secret(name(inside).ok_or_else(|| format!("`{}` is not a secret", inside.trim()))?));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest.to_owned()));
    }
    Ok(pieces)
}

fn smtp_server(text: &str) -> Result<SmtpServer, String> {
    if text.contains("{{") || text.starts_with("secrets.") {
        return Err("it cannot hold a secret; `username` and `password` can".into());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("use `username` and `password`".into());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("nothing can stand after the port".into());
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("there is no host")?;
    let (port, security) = match (url.scheme(), url.port()) {
        ("smtps", port) => (port.unwrap_or(465), SmtpSecurity::Tls),
        // The port of submission, where logging in without TLS is not allowed (RFC 8314).
        ("smtp", Some(587)) => (587, SmtpSecurity::StartTls),
        ("smtp", port) => (port.unwrap_or(25), SmtpSecurity::Plain),
        ("smtp+starttls", port) => (port.unwrap_or(587), SmtpSecurity::StartTls),
        (other, _) => return Err(format!("`{other}` is not known here")),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(SmtpServer { host, port, security })
}

/// The host of a channel that leads away from this machine. What a command does, nobody knows.
pub fn elsewhere(channel: &model::Channel) -> Option<String> {
    let url = match &channel.kind {
        model::ChannelKind::Slack(c) => &c.url,
        model::ChannelKind::Pagerduty(c) => &c.url,
        model::ChannelKind::Webhook(c) => &c.url,
        model::ChannelKind::Email(c) => return (!is_loopback(&c.smtp.host)).then(|| c.smtp.host.clone()),
        model::ChannelKind::Command(_) => return None,
    };
    let url = Url::parse(url.to_string().trim()).ok()?;
    url.host_str().filter(|host| !is_loopback(host)).map(str::to_owned)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stand_alone_or_inside() {
        let secret = |name: &str| Piece::Secret(SecretName(name.into()));
        let plain = |text: &str| Piece::Plain(text.into());
        assert_eq!(pieces("secrets.a_b"), Ok(vec![secret("a_b")]));
        assert_eq!(pieces("plain } text"), Ok(vec![plain("plain } text")]));
        assert_eq!(
            pieces("Bearer {{secrets.a}}{{ secrets.b }}."),
            Ok(vec![plain("Bearer "), secret("a"), secret("b"), plain(".")])
        );
        assert_eq!(pieces(""), Ok(vec![]));
        for bad in [
            "secrets.a-b",
            "secrets.",
            "{{ params.a }}",
            "{{ secrets.a | trim }}",
            "{{ secrets.a",
            "{{}}",
            "{% if %}",
        ] {
            assert!(pieces(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mail_server_says_how_it_is_spoken_to() {
        let read = |text: &str| smtp_server(text).map(|s| (s.host, s.port, s.security));
        let ok = |host: &str, port, security| Ok((host.to_owned(), port, security));
        assert_eq!(read("smtps://mail.example.org"), ok("mail.example.org", 465, SmtpSecurity::Tls));
        assert_eq!(read("smtp+starttls://mail:2525"), ok("mail", 2525, SmtpSecurity::StartTls));
        assert_eq!(read("smtp+starttls://mail"), ok("mail", 587, SmtpSecurity::StartTls));
        assert_eq!(read("smtp://mail:587/"), ok("mail", 587, SmtpSecurity::StartTls));
        assert_eq!(read("smtp://mail"), ok("mail", 25, SmtpSecurity::Plain));
        assert_eq!(read("smtp://[::1]:25"), ok("::1", 25, SmtpSecurity::Plain));
        for bad in
            ["mail:25", "http://mail", "smtp://", "smtp://a:b@mail", "smtp://mail/x", "secrets.smtp", "mail"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
