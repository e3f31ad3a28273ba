//! Channels: whether a notice would reach its way. Nothing is sent, not even a greeting of TLS.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use super::{Checks, Finding, Kind, command, plain, port};
use crate::model::{Channel, ChannelKind, Secret, SecretName, SecretText};
use crate::plan::SecretSource;
use crate::text::neutral;

/// `values`: what could be read of `sources`, those secrets that were to be read.
pub fn channels(
    checks: &mut Checks,
    channels: &[Channel],
    sources: &[(SecretName, SecretSource)],
    values: &BTreeMap<SecretName, Secret>,
    by_command: bool,
) {
    for channel in channels {
        let wanted = neutral::line(channel.target());
        let about =
            Finding::new(Kind::Channel, format!("{} ({})", channel.name, channel.kind_name()), wanted)
                .advisory();
        let lacking: Vec<&SecretName> =
            channel.secrets().into_iter().filter(|s| !values.contains_key(s)).collect();
        if let Some(name) = lacking.first() {
            let unasked = !by_command
                && sources.iter().any(|(n, source)| n == *name && matches!(source, SecretSource::Command(_)));
            checks.add_found(match unasked {
                true => about.skipped(format!("not tried: it needs the secret {}", name.0)),
                false => about.warn(
                    format!("the secret {} is missing", name.0),
                    "nothing is sent there without it; see above",
                ),
            });
            continue;
        }
        let (channel, limit) = (channel.clone(), checks.limit());
        let text =
            |text: &SecretText| text.resolve(|name| values.get(name)).map_err(|error| error.to_string());
        let url = match &channel.kind {
            ChannelKind::Slack(c) => Some(text(&c.url)),
            ChannelKind::Pagerduty(c) => Some(text(&c.url)),
            ChannelKind::Webhook(c) => Some(text(&c.url)),
            ChannelKind::Email(_) | ChannelKind::Command(_) => None,
        };
        checks.add(about, move |about| match reach(&channel, url, limit) {
            Ok(Reached::Answers) => {
                let found = format!("answers, {}", about.wanted);
                about.ok(found)
            }
            Ok(Reached::There(found)) => about.ok(found),
            Ok(Reached::ByProxy) => about.skipped("not tried: it goes through a proxy"),
            Err(why) => {
                let mend = match &channel.kind {
                    ChannelKind::Command(_) => "put it there, and make it executable".to_owned(),
                    _ => format!("`runbook channels test {}` sends a test notice", channel.name),
                };
                let found = format!("{why}, {}", about.wanted);
                about.warn(found, mend)
            }
        });
    }
}

enum Reached {
    Answers,
    There(String),
    ByProxy,
}

fn reach(channel: &Channel, url: Option<Result<Secret, String>>, limit: Duration) -> Result<Reached, String> {
    if let Some(file) = &channel.ca_file {
        certificates(file)?;
    }
    match &channel.kind {
        ChannelKind::Slack(_) | ChannelKind::Pagerduty(_) | ChannelKind::Webhook(_) => {
            let url = url.unwrap_or_else(|| Err("it has no URL".into()))?;
            answers(&url, limit)
        }
        ChannelKind::Email(c) => {
            port::connect(&c.smtp.host, c.smtp.port, limit)?;
            Ok(Reached::Answers)
        }
        ChannelKind::Command(c) => {
            let program = c.argv.first().map_or("", String::as_str);
            let path = command::find(program, &c.workdir).ok_or_else(|| command::absent(program).0)?;
            match std::fs::metadata(&c.workdir) {
                Ok(meta) if meta.is_dir() => Ok(Reached::There(path.display().to_string())),
                Ok(_) => Err(format!("{} is not a folder", c.workdir.display())),
                Err(error) => Err(format!("{}: {}", c.workdir.display(), plain(&error))),
            }
        }
    }
}

/// No words of the parser: they could quote a secret.
fn answers(url: &Secret, limit: Duration) -> Result<Reached, String> {
    let text = std::str::from_utf8(url.expose()).map_err(|_| "its URL is not UTF-8")?;
    let url = Url::parse(text.trim()).map_err(|_| "its URL is not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its URL begins neither with https:// nor with http://".into());
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err("its URL names no host".into());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if by_proxy(url.scheme(), host, &variable) {
        return Ok(Reached::ByProxy);
    }
    port::connect(host, port, limit)?;
    Ok(Reached::Answers)
}

/// Whether the variables that every client knows send it elsewhere first.
fn by_proxy(scheme: &str, host: &str, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
    let own = if scheme == "https" { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    if either(own).or_else(|| either("ALL_PROXY")).is_none() {
        return false;
    }
    let spared = either("NO_PROXY").unwrap_or_default();
    let spares = |entry: &str| {
        let entry = entry.trim().trim_start_matches('.');
        entry == "*" || (!entry.is_empty() && (host == entry || host.ends_with(&format!(".{entry}"))))
    };
    !spared.split(',').any(spares)
}

fn certificates(file: &Path) -> Result<(), String> {
    let pem =
        std::fs::read(file).map_err(|error| format!("`ca_file` {}: {}", file.display(), plain(&error)))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err(format!("`ca_file` {}: there are no certificates in PEM", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_seen_as_clients_see_it() {
        let with = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let none = with(&[]);
        let https = with(&[("https_proxy", "http://p:3128"), ("NO_PROXY", "localhost, .example.org")]);
        let all = with(&[("ALL_PROXY", "socks5://p"), ("no_proxy", "*")]);
        assert!(!by_proxy("https", "hooks.slack.com", &none));
        assert!(by_proxy("https", "hooks.slack.com", &https));
        assert!(!by_proxy("http", "hooks.slack.com", &https));
        assert!(!by_proxy("https", "a.example.org", &https) && !by_proxy("https", "example.org", &https));
        assert!(by_proxy("https", "notexample.org", &https));
        assert!(!by_proxy("https", "hooks.slack.com", &all));
    }
}
