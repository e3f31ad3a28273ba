//! A run of which the outside was told, and what became of each word: in every view, and on paper.

use runbook::model::{
    Cause, Channel, ChannelKind, CommandChannel, Event, Millis, PagerDutyChannel, Person, Piece, Record,
    RunOutcome, SecretName, SecretText, SlackChannel, Via,
};
use runbook::plan::{Cadence, Level, Plan, Updates};
use runbook::report::{About, Brief, Checklist, Closing, History, Incident, Look, Status, write_closing};

use crate::fixtures::{Tape, plan_of, run};
use crate::{HEAD, check, fold, tail, text};

fn channel(name: &str, kind: ChannelKind) -> Channel {
    Channel {
        name: name.to_owned(),
        kind,
        timeout: Channel::DEFAULT_TIMEOUT,
        retry_for: Channel::DEFAULT_RETRY_FOR,
        ca_file: None,
    }
}

/// A step; who is told of it by three channels and a page.
fn plan() -> Plan {
    let mut plan = plan_of(&[("recover", "Recover")], vec![run("restore", "Restore it", 0, "./restore")]);
    let secret = |name: &str| SecretText(vec![Piece::Secret(SecretName(name.to_owned()))]);
    let slack = SlackChannel { url: SecretText::plain("https://hooks.example.org/T0/hush-Zq81xk") };
    let pager = PagerDutyChannel {
        url: SecretText::plain("https://events.example.org/v2/enqueue"),
        routing_key: secret("pd_key"),
    };
    let phone = CommandChannel {
        argv: vec!["./call.sh".into(), "--urgent".into()],
        env: vec![("TOKEN".into(), secret("sms"))],
        workdir: "/srv/playbooks".into(),
    };
    plan.channels = vec![
        channel("team", ChannelKind::Slack(slack)),
        channel("pager", ChannelKind::Pagerduty(pager)),
        channel("phone", ChannelKind::Command(phone)),
    ];
    let level = |level: u32, after: Option<u64>, notify: &[&str], to: &[&str]| Level {
        level,
        after: after.map(Millis::secs),
        projected_breach: None,
        notify: notify.iter().map(|name| (*name).to_owned()).collect(),
        to: to.iter().map(|name| (*name).to_owned()).collect(),
    };
    plan.escalation = vec![
        level(1, Some(0), &["team", "pager"], &["alice", "bob"]),
        level(2, Some(300), &["phone"], &["the board"]),
        level(3, None, &["phone"], &[]),
    ];
    plan.escalation[1].projected_breach = Some(runbook::model::Percentile::P90);
    let cadence = |length: Option<u64>, every: u64| Cadence {
        length: length.map(Millis::secs),
        every: Millis::secs(every),
    };
    plan.updates = Some(Updates {
        channels: vec!["team".to_owned()],
        every: vec![cadence(Some(1800), 300), cadence(Some(1800), 900), cadence(None, 1800)],
        status_file: Some("/srv/www/status.txt".into()),
    });
    plan.roles = [("on-call".to_owned(), vec!["alice".to_owned(), "bob".to_owned()])].into();
    plan
}

fn notice(number: u32, cause: Cause, channels: &[&str], to: &[&str]) -> Event {
    Event::Notice {
        number,
        cause,
        channels: channels.iter().map(|name| (*name).to_owned()).collect(),
        to: to.iter().map(|name| (*name).to_owned()).collect(),
        text: None,
    }
}

/// Delivered, or why not; a `?` in front of the reason means that nobody knows.
fn ended(number: u32, channel: &str, attempts: u32, why: Option<&str>) -> Event {
    let unsure = why.is_some_and(|why| why.starts_with('?'));
    Event::NoticeEnded {
        number,
        channel: channel.to_owned(),
        delivered: why.is_none(),
        attempts,
        unsure,
        why: why.map(|why| why.trim_start_matches('?').to_owned()),
    }
}

fn records(over: bool) -> Vec<Record> {
    let mut tape = Tape::start(false);
    tape.pass(4);
    let why = "the incident has lasted 0s".to_owned();
    tape.event(notice(1, Cause::Escalation { level: 1, why }, &["team", "pager"], &["alice", "bob"]));
    tape.event(notice(2, Cause::Update { number: 1, last: false }, &["team", "status file"], &[]));
    tape.phase("recover");
    tape.pass(40).event(ended(1, "team", 1, None));
    tape.pass(2_100).event(ended(1, "pager", 3, None));
    tape.event(ended(2, "status file", 1, Some("/srv/www/status.txt: Permission denied (os error 13)")));
    tape.pass(20_000);
    let by = Person { name: "carol".to_owned(), uid: Some(1000), via: Via::Socket };
    tape.event(Event::Acknowledged { by });
    tape.event(notice(3, Cause::Acknowledged { by: "carol".to_owned() }, &["pager"], &[]));
    tape.resume(5_000);
    tape.event(ended(2, "team", 0, Some("?the process that sent it is gone")));
    tape.event(ended(3, "pager", 0, Some("?the process that sent it is gone")));
    tape.good("restore", "./restore", 2_400).phase_end("recover");
    if !over {
        return std::mem::take(&mut tape.records);
    }
    tape.event(notice(4, Cause::Update { number: 2, last: true }, &["team", "status file"], &[]));
    tape.event(notice(5, Cause::Recovered, &["pager"], &[]));
    let mut records = tape.ended(RunOutcome::Recovered, None);
    let last = records.last().expect("an end").clone();
    let after = [
        ended(4, "status file", 1, None),
        ended(
            4,
            "team",
            4,
            Some("hooks.example.org answered 503: <b>not now</b>|\u{1b}[2J; it was not tried again"),
        ),
    ];
    for (n, event) in (1..).zip(after) {
        let record = Record { seq: last.seq + n, event, ..last.clone() };
        records.push(record);
    }
    records
}

#[test]
fn who_was_told_stands_in_every_view() {
    let plan = plan();
    let (open, over) = (records(false), records(true));
    for (name, records) in [("told-open", &open), ("told", &over)] {
        fold(&plan, records);
        let incident = Incident::build(&plan, records, HEAD, &tail);
        check(&format!("{name}.report.md"), &incident.to_markdown());
        check(&format!("{name}.report.html"), &incident.to_html());
        let json: serde_json::Value = serde_json::from_str(&incident.to_json().expect("JSON")).expect("JSON");
        check(&format!("{name}.report.notices.json"), &format!("{:#}\n", json["notices"]));
        assert!(!incident.to_html().contains("<b>not now") && !incident.to_markdown().contains('\u{1b}'));
    }
    let mut all = String::new();
    for (name, records, driven) in
        [("driven", &open, true), ("killed", &open, false), ("over", &over, false), ("leaving", &over, true)]
    {
        let history = History::of(&plan, records);
        let now = history.last_at;
        let status = Status::of(&plan, &history, now, Some(driven));
        let brief = Brief::of(&plan, records, now, Some(driven));
        let shown = text(|w| brief.write(w, Look::PLAIN));
        assert!(shown.lines().count() < 24, "{shown}");
        all.push_str(&format!("=== {name}: status\n{}", text(|w| status.write(w, Look::PLAIN))));
        all.push_str(&format!("=== {name}: brief\n{shown}"));
        if history.end.is_some() {
            let closing = Closing { head: HEAD, report: None, look: Look::PLAIN, tail: &tail };
            let block = text(|w| write_closing(w, &plan, &history, &closing));
            all.push_str(&format!("=== {name}: closing\n{block}"));
        }
    }
    check("told.views.txt", &all);
    let entries = runbook::report::timeline::Timeline::of(&over);
    check("told.log.txt", &runbook::report::log_text::log_text(&plan, &entries, Look::PLAIN));
}

#[test]
fn whom_to_tell_stands_on_paper_without_what_is_secret() {
    let about = About {
        hash: "5f1c".repeat(16),
        date: "2026-11-21 10:37:55 UTC".to_owned(),
        responsibilities: vec![("on-call".to_owned(), vec!["Answers the pager".to_owned()])],
        contacts: vec![("vendor".to_owned(), "+49 30 1234567".to_owned())],
        ..About::default()
    };
    let sheet = Checklist::of(&plan(), &about);
    let shown = sheet.to_text(Look::PLAIN);
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    check("told.checklist.txt", &shown);
    check("told.checklist.md", &sheet.to_markdown());
    for form in [shown, sheet.to_markdown(), sheet.to_html()] {
        assert!(
            !form.contains("hush") && form.contains("https://hooks.example.org/…") | form.contains("&#58;"),
            "{form}"
        );
    }
}
