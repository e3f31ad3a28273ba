//! PagerDuty, Events API v2. One alert for a run: the key is the run's, so that whoever triggers, acknowledges or resolves,
//! in whatever process, means the same one.

use serde_json::{Map, Value, json};

use super::http::Post;
use super::{Keys, clean};
use crate::model::{Notice, NoticeAction, PagerDutyChannel, Severity};
use crate::planted::{self, Bug};

/// The API's limit, in characters.
const LONGEST_SUMMARY: usize = 1024;

pub fn post(channel: &PagerDutyChannel, notice: &Notice, keys: &Keys) -> Result<Post, String> {
    let mut event = event(notice);
    event["routing_key"] = keys.resolve_text(&channel.routing_key, "the routing key")?.into();
    Post::json(&channel.url, &event, &notice.id, keys)
}

fn event(notice: &Notice) -> Value {
    let action = match notice.action {
        // The API has no word for news. A trigger with the key of an alert that is open is added to it.
        NoticeAction::Trigger | NoticeAction::Info => "trigger",
        NoticeAction::Acknowledge => "acknowledge",
        NoticeAction::Resolve => "resolve",
    };
    let mut event = json!({
        "routing_key": "",
        "event_action": action,
        "dedup_key": if planted::is(Bug::AlertPerNotice) { &notice.id } else { &notice.dedup_key },
        // The API needs it only for a trigger; whoever looks at the event later finds the journal's head in each.
        "payload": payload(notice),
        "client": "runbook",
    });
    if let Some(link) = &notice.link {
        event["links"] = json!([{ "href": link, "text": notice.run.as_str() }]);
    }
    event
}

fn payload(notice: &Notice) -> Value {
    let mut details = Map::new();
    details.insert("text".into(), notice.text.as_str().into());
    for (name, value) in &notice.facts {
        details.insert(name.clone(), value.as_str().into());
    }
    for (name, value) in clean::origin(notice) {
        details.insert(name.into(), value.into());
    }
    details.insert("notice".into(), notice.id.as_str().into());
    let mut payload = json!({
        "summary": notice.subject.chars().take(LONGEST_SUMMARY).collect::<String>(),
        "source": notice.host,
        "severity": severity(notice),
        "timestamp": notice.at.to_string(),
        "component": notice.playbook,
        "class": if notice.drill { "drill" } else { "recovery" },
        "custom_details": details,
    });
    if let Some(environment) = &notice.environment {
        payload["group"] = environment.as_str().into();
    }
    payload
}

fn severity(notice: &Notice) -> &'static str {
    if notice.drill || notice.action == NoticeAction::Info {
        return "info";
    }
    match notice.severity {
        Some(Severity::Critical) => "critical",
        Some(Severity::High) | None => "error",
        Some(Severity::Medium) => "warning",
        Some(Severity::Low) => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alert_for_a_run() {
        let mut notice = clean::tests::notice();
        let mut keys = Vec::new();
        for (action, word) in [
            (NoticeAction::Trigger, "trigger"),
            (NoticeAction::Info, "trigger"),
            (NoticeAction::Acknowledge, "acknowledge"),
            (NoticeAction::Resolve, "resolve"),
        ] {
            notice.action = action;
            notice.id = format!("another-{word}");
            let event = event(&notice);
            assert_eq!(event["event_action"], word);
            assert_eq!(event["payload"]["custom_details"]["journal head"], "ab".repeat(32));
            keys.push(event["dedup_key"].as_str().unwrap().to_owned());
        }
        keys.dedup();
        assert_eq!(keys, ["runbook/db-corruption-20261121T103755Z-abcd"]);
    }

    #[test]
    fn severities_are_pagerdutys() {
        let mut notice = clean::tests::notice();
        for (of, word) in [
            (Some(Severity::Critical), "critical"),
            (Some(Severity::High), "error"),
            (Some(Severity::Medium), "warning"),
            (Some(Severity::Low), "info"),
            (None, "error"),
        ] {
            notice.severity = of;
            assert_eq!(event(&notice)["payload"]["severity"], word);
        }
        notice.severity = Some(Severity::Critical);
        notice.drill = true;
        assert_eq!(event(&notice)["payload"]["severity"], "info");
        notice.subject = "ä".repeat(2000);
        assert_eq!(event(&notice)["payload"]["summary"].as_str().unwrap().chars().count(), 1024);
    }
}
