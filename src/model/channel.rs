//! Where word of a run goes, what is said there, and what became of it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Millis, Piece, RunId, SecretName, SecretText, Timestamp};

/// A way to people or to their tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    pub name: String,
    pub kind: ChannelKind,
    /// Of one try.
    pub timeout: Millis,
    /// Counted from the first try; when it is over, the notice is given up.
    pub retry_for: Millis,
    /// A file in PEM with authorities that are trusted besides those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ChannelKind {
    Slack(SlackChannel),
    Pagerduty(PagerDutyChannel),
    Webhook(WebhookChannel),
    Email(EmailChannel),
    Command(CommandChannel),
}

/// An incoming webhook of Slack, or of what speaks like it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlackChannel {
    pub url: SecretText,
}

/// PagerDuty's Events API v2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDutyChannel {
    pub url: SecretText,
    pub routing_key: SecretText,
}

/// Any receiver of a POST with JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookChannel {
    pub url: SecretText,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, SecretText)>,
    /// The key of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SecretText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailChannel {
    pub smtp: SmtpServer,
    /// `Name <address>`, or the address alone; so is each of `to`.
    pub from: String,
    pub to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<SecretText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretText>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpServer {
    pub host: String,
    pub port: u16,
    pub security: SmtpSecurity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpSecurity {
    /// Nothing is encrypted.
    Plain,
    /// The connection is encrypted after STARTTLS, or nothing is sent.
    StartTls,
    /// Encrypted from the first byte.
    Tls,
}

/// A command that takes the message on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandChannel {
    /// Without a shell. Never holds a secret.
    pub argv: Vec<String>,
    /// Added to the inherited environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, SecretText)>,
    /// Where it is started; absolute in a plan.
    pub workdir: PathBuf,
}

impl Channel {
    pub const DEFAULT_TIMEOUT: Millis = Millis::secs(10);
    pub const DEFAULT_RETRY_FOR: Millis = Millis::secs(120);

    /// The key that names the kind in a playbook.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            ChannelKind::Slack(_) => "slack",
            ChannelKind::Pagerduty(_) => "pagerduty",
            ChannelKind::Webhook(_) => "webhook",
            ChannelKind::Email(_) => "email",
            ChannelKind::Command(_) => "command",
        }
    }

    /// Every text of the channel that may hold a secret.
    fn texts(&self) -> Vec<&SecretText> {
        match &self.kind {
            ChannelKind::Slack(c) => vec![&c.url],
            ChannelKind::Pagerduty(c) => vec![&c.url, &c.routing_key],
            ChannelKind::Webhook(c) => {
                [&c.url].into_iter().chain(c.headers.iter().map(|h| &h.1)).chain(&c.sign).collect()
            }
            ChannelKind::Email(c) => c.username.iter().chain(&c.password).collect(),
            ChannelKind::Command(c) => c.env.iter().map(|e| &e.1).collect(),
        }
    }

    /// The secrets it needs, each once.
    pub fn secrets(&self) -> Vec<&SecretName> {
        let mut names = Vec::new();
        for piece in self.texts().into_iter().flat_map(|text| &text.0) {
            if let Piece::Secret(name) | Piece::JsonSecret(name) | Piece::UrlSecret(name) = piece
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }

    /// Where it leads, for people. Shows no more of a URL than its host: the rest of a webhook's is often a secret, also
    /// when it was typed in the open.
    pub fn target(&self) -> String {
        match &self.kind {
            ChannelKind::Slack(SlackChannel { url })
            | ChannelKind::Pagerduty(PagerDutyChannel { url, .. })
            | ChannelKind::Webhook(WebhookChannel { url, .. }) => shown_url(url),
            ChannelKind::Email(c) => {
                let scheme = match c.smtp.security {
                    SmtpSecurity::Plain => "smtp",
                    SmtpSecurity::StartTls => "smtp+starttls",
                    SmtpSecurity::Tls => "smtps",
                };
                format!("{} by {scheme}://{}:{}", c.to.join(", "), c.smtp.host, c.smtp.port)
            }
            ChannelKind::Command(c) => c.argv.join(" "),
        }
    }

    /// Relative paths counted from `root`: the certificates, the command's folder, and a command that is a path.
    pub fn root(&mut self, root: &Path) {
        let join = |path: &Path| -> PathBuf { root.join(path).components().collect() };
        if let Some(file) = &mut self.ca_file {
            *file = join(file);
        }
        if let ChannelKind::Command(command) = &mut self.kind {
            command.workdir = join(&command.workdir);
            if let Some(program) = command.argv.first_mut()
                && program.contains('/')
            {
                *program = join(Path::new(program)).to_string_lossy().into_owned();
            }
        }
    }
}

fn shown_url(url: &SecretText) -> String {
    let plain = match url.0.first() {
        Some(Piece::Plain(text)) => text,
        _ => return url.to_string(),
    };
    let Some((scheme, rest)) = plain.split_once("://") else { return "…".into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // What stands before the @ is a name and a password.
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let more = if end < rest.len() || url.0.len() > 1 { "/…" } else { "" };
    format!("{scheme}://{host}{more}")
}

/// How bad the incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

impl Severity {
    /// As a playbook says it.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "critical" => Self::Critical,
            "high" => Self::High,
            "medium" => Self::Medium,
            "low" => Self::Low,
            _ => return None,
        })
    }
}

/// What a notice does to the alert that the run is for those who keep alerts. All others are just told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeAction {
    /// Somebody is needed.
    Trigger,
    /// Somebody has it in hand.
    Acknowledge,
    /// It is over.
    Resolve,
    /// Word of how things stand.
    Info,
}

/// Where updates are written besides the channels. It stands among them in records, and no channel has this name.
pub const STATUS_FILE: &str = "status file";

/// Word of a run, not yet in any channel's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// The same whenever this event is told, so that a receiver can drop what comes twice. See [`notice_id`].
    pub id: String,
    pub action: NoticeAction,
    /// The same for all notices of a run. See [`dedup_key`].
    pub dedup_key: String,
    /// Text from commands may be in both; the channels make it harmless.
    pub subject: String,
    pub text: String,
    pub run: RunId,
    pub playbook: String,
    pub title: String,
    pub environment: Option<String>,
    pub severity: Option<Severity>,
    /// No incident: every channel says so.
    pub drill: bool,
    /// More to know, in this order: step, phase, elapsed, ...
    pub facts: Vec<(String, String)>,
    /// The hash of the journal's last record when this was written. A test has none.
    pub head: Option<String>,
    pub at: Timestamp,
    pub host: String,
    pub operator: String,
    pub link: Option<String>,
}

/// The key under which those who keep alerts know a run.
pub fn dedup_key(run: &RunId) -> String {
    format!("runbook/{run}")
}

/// The id of the notice of one event: `event` says which, within the run.
pub fn notice_id(run: &RunId, event: &str) -> String {
    format!("{run}/{event}")
}

/// What became of a notice on one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// The other side has acknowledged it.
    pub delivered: bool,
    /// Not delivered, as far as can be known: something was sent and never answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// Tries, the first one counted.
    pub attempts: u32,
    /// Why it was not delivered, or not to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the other side said at last. Secrets are taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<String>,
    pub duration: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let secret = Piece::Secret(SecretName("key".into()));
        let plain = |text: &str| SecretText::plain(text);
        for (url, shown) in [
            (plain("https://hooks.slack.com/services/T0/B0/abcdef"), "https://hooks.slack.com/…"),
            (plain("http://name:password@example.org:8080?token=x"), "http://example.org:8080/…"),
            (plain("https://example.org"), "https://example.org"),
            (
                SecretText(vec![Piece::Plain("https://example.org/".into()), secret.clone()]),
                "https://example.org/…",
            ),
            (SecretText(vec![secret]), "‹secret key›"),
            (plain("nonsense"), "…"),
        ] {
            assert_eq!(shown_url(&url), shown);
        }
    }

    #[test]
    fn a_commands_paths_count_from_the_file_that_names_it() {
        let command = |program: &str| Channel {
            name: "phone".into(),
            kind: ChannelKind::Command(CommandChannel {
                argv: vec![program.into(), "a/b".into()],
                env: Vec::new(),
                workdir: PathBuf::new(),
            }),
            timeout: Channel::DEFAULT_TIMEOUT,
            retry_for: Channel::DEFAULT_RETRY_FOR,
            ca_file: None,
        };
        for (program, rooted) in
            [("./call.sh", "/srv/books/call.sh"), ("/bin/call", "/bin/call"), ("call", "call")]
        {
            let mut channel = command(program);
            channel.root(Path::new("/srv/books"));
            let ChannelKind::Command(command) = channel.kind else { unreachable!() };
            assert_eq!(command.argv, [rooted, "a/b"]);
            assert_eq!(command.workdir, Path::new("/srv/books"));
        }
    }
}
