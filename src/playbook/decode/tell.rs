//! Who is told, and when.

use super::map::{Map, texts};
use crate::model::Percentile;
use crate::playbook::ast::*;

pub(super) fn channels(map: Map<'_>) -> Vec<Channel> {
    map.entries("channels")
        .filter_map(|(name, node)| {
            let map = Map::of(node, map.source)?;
            Some(Channel {
                name: name.clone(),
                kind: channel_kind(map)?,
                timeout: map.duration("timeout"),
                retry_for: map.duration("retry_for"),
                ca_file: map.text("ca_file"),
            })
        })
        .collect()
}

pub(super) fn channel_kind(map: Map<'_>) -> Option<ChannelKind> {
    if let Some(slack) = map.map("slack") {
        return Some(ChannelKind::Slack { url: slack.text("url")? });
    }
    if let Some(pager) = map.map("pagerduty") {
        return Some(ChannelKind::Pagerduty {
            routing_key: pager.text("routing_key")?,
            url: pager.text("url"),
        });
    }
    if let Some(hook) = map.map("webhook") {
        let (url, headers, sign) = (hook.text("url")?, hook.pairs("headers"), hook.text("sign"));
        return Some(ChannelKind::Webhook { url, headers, sign });
    }
    if let Some(email) = map.map("email") {
        return Some(ChannelKind::Email {
            smtp: email.text("smtp")?,
            from: email.text("from")?,
            to: email.one_or_list("to"),
            username: email.text("username"),
            password: email.text("password"),
        });
    }
    Some(ChannelKind::Command { argv: map.list("command").map(texts)?, env: map.env() })
}

pub(super) fn escalation(map: Map<'_>) -> Vec<Level> {
    let levels = map.list("escalation").unwrap_or_default().iter();
    let level = |node| {
        let map = Map::of(node, map.source)?;
        Some(Level {
            level: map.u32("level")?,
            after: map.duration("after"),
            projected_breach: map.word("projected_breach", |word| match word {
                "p50" => Some(Percentile::P50),
                "p90" => Some(Percentile::P90),
                _ => None,
            }),
            notify: map.one_or_list("notify"),
            to: map.one_or_list("to"),
        })
    };
    levels.filter_map(level).collect()
}

pub(super) fn updates(map: Map<'_>) -> Updates {
    let cadences = map.list("every").unwrap_or_default().iter();
    let cadence = |node| {
        let map = Map::of(node, map.source)?;
        Some(Cadence { span: map.span, length: map.duration("for"), every: map.duration("every")? })
    };
    Updates {
        span: map.span,
        channels: map.one_or_list("channels"),
        every: cadences.filter_map(cadence).collect(),
        status_file: map.text("status_file"),
    }
}
