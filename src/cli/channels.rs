//! `runbook channels`: where word of a run goes, and whether it arrives.

use std::collections::BTreeMap;

use serde_json::json;

use crate::model::{
    Channel, ChannelKind, Delivery, Notice, NoticeAction, RunId, Severity, dedup_key, nearest, notice_id,
};
use crate::plan;
use crate::playbook::load::Loaded;
use crate::report::look::{Look, Tone, pad};
use crate::report::neutral;
use crate::runner::{Identity, keys, wall_now};

use super::args::{Channels, ChannelsCommand, ChannelsList, ChannelsTest};
use super::context::{Context, print, print_json};
use super::error::CliError;

pub fn channels(context: &Context, args: Channels) -> Result<u8, CliError> {
    match args.command {
        None => list(context, &ChannelsList::default()),
        Some(ChannelsCommand::List(args)) => list(context, &args),
        Some(ChannelsCommand::Test(args)) => test(context, &args),
    }
}

/// The playbook with what it shares; without one only the latter.
fn load(context: &Context, playbook: Option<&str>) -> Result<Loaded, CliError> {
    match playbook {
        Some(playbook) => context.load(playbook),
        None => Ok(Loaded { shared: context.library.shared(), ..Loaded::default() }),
    }
}

fn list(context: &Context, args: &ChannelsList) -> Result<u8, CliError> {
    let loaded = load(context, args.playbook.as_deref())?;
    let (channels, _) = plan::channels(&loaded, &context.cwd);
    let from = |channel: &Channel| -> String {
        let has = |book: &&crate::playbook::load::Book| {
            book.playbook.channels.iter().any(|c| c.name.value == channel.name)
        };
        let book = loaded.books.iter().find(has);
        book.map_or_else(
            || "runbook.yaml".to_owned(),
            |book| format!("playbook {}", book.playbook.name.value),
        )
    };
    if args.json {
        let rows: Vec<_> = channels
            .iter()
            .map(|c| {
                let secrets: Vec<_> = c.secrets().into_iter().map(|name| &name.0).collect();
                json!({
                    "name": c.name, "kind": c.kind_name(), "target": c.target(), "secrets": secrets,
                    "timeout_ms": c.timeout, "retry_for_ms": c.retry_for, "from": from(c),
                })
            })
            .collect();
        print_json(&rows)?;
        return Ok(0);
    }
    if channels.is_empty() {
        print("no channels\ndeclare them below `channels` in runbook.yaml, or in a playbook\n")?;
        return Ok(0);
    }
    let mut rows = vec![["NAME", "KIND", "FROM", "TARGET"].map(str::to_owned)];
    rows.extend(
        channels
            .iter()
            .map(|c| [c.name.clone(), c.kind_name().to_owned(), from(c), neutral::line(c.target())]),
    );
    let widths = [0, 1, 2].map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for [name, kind, from, target] in rows {
        let columns = [pad(&name, widths[0]), pad(&kind, widths[1]), pad(&from, widths[2]), target];
        text.push_str(columns.join("  ").trim_end());
        text.push('\n');
    }
    print(&text)?;
    Ok(0)
}

fn test(context: &Context, args: &ChannelsTest) -> Result<u8, CliError> {
    let loaded = load(context, args.playbook.as_deref())?;
    let (channels, secrets) = plan::channels(&loaded, &context.cwd);
    let Some(channel) = channels.iter().find(|c| c.name == args.name) else {
        let known: Vec<&str> = channels.iter().map(|c| c.name.as_str()).collect();
        let hint = match (nearest(&args.name, known.iter().copied()), known.as_slice()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, []) => {
                "there are none; one in a playbook is tried with `runbook channels test NAME PLAYBOOK`".into()
            }
            (None, known) => format!("channels: {}", known.join(", ")),
        };
        return Err(CliError::usage(format!("there is no channel {:?}", args.name)).hint(hint));
    };
    let needed: Vec<_> = secrets.into_iter().filter(|(name, _)| channel.secrets().contains(&name)).collect();
    let keys = keys(&BTreeMap::new(), &needed).1;
    print(&format!("{} ({}, {})\n", channel.name, channel.kind_name(), neutral::line(channel.target())))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::io("the runtime", &e))?;
    let mut code = 0;
    for notice in notices(channel)? {
        let delivery = runtime.block_on(crate::notify::send(channel, &notice, &keys));
        print(&shown(&notice, &delivery, context.look))?;
        if !delivery.delivered {
            code = 1;
            break;
        }
    }
    Ok(code)
}

/// A test notice. Where it opens an alert, it is also closed again.
fn notices(channel: &Channel) -> Result<Vec<Notice>, CliError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(|e| CliError::io("random numbers", &std::io::Error::other(e.to_string())))?;
    let (at, identity) = (wall_now(), Identity::current());
    let run = RunId::new("channel-test", at, random);
    let notice = |action, event: &str, subject: &str| Notice {
        id: notice_id(&run, event),
        action,
        dedup_key: dedup_key(&run),
        subject: subject.to_owned(),
        text: format!(
            "This is a test of the channel {:?}, sent by `runbook channels test`. There is no incident and nothing to do.",
            channel.name
        ),
        run: run.clone(),
        playbook: "channel-test".into(),
        title: "Test of a channel".into(),
        environment: None,
        severity: Some(Severity::Low),
        drill: false,
        facts: vec![("channel".into(), channel.name.clone())],
        head: None,
        at,
        host: identity.host.clone(),
        operator: identity.operator.clone(),
        link: None,
    };
    let alerts = matches!(channel.kind, ChannelKind::Pagerduty(_));
    let first = if alerts { NoticeAction::Trigger } else { NoticeAction::Info };
    let mut all = vec![notice(first, "1", "[test] runbook: this is only a test")];
    if alerts {
        all.push(notice(NoticeAction::Resolve, "2", "[test] runbook: the test is over"));
    }
    Ok(all)
}

fn shown(notice: &Notice, delivery: &Delivery, look: Look) -> String {
    let what = match notice.action {
        NoticeAction::Trigger => "trigger  ",
        NoticeAction::Resolve => "resolve  ",
        NoticeAction::Acknowledge | NoticeAction::Info => "",
    };
    let tries = match delivery.attempts {
        0 => "nothing was sent".to_owned(),
        1 => "1 try".to_owned(),
        n => format!("{n} tries"),
    };
    let (tone, word, said) = match (delivery.delivered, delivery.unsure) {
        (true, _) => (Tone::Good, "delivered", delivery.answered.as_deref()),
        (false, true) => (Tone::Warn, "perhaps delivered", delivery.why.as_deref()),
        (false, false) => (Tone::Bad, "not delivered", delivery.why.as_deref()),
    };
    let said = said.filter(|s| !s.is_empty()).map_or_else(String::new, |said| format!(": {said}"));
    format!("  {what}{}{said} ({tries}, {})\n", look.paint(tone, word), delivery.duration)
}
