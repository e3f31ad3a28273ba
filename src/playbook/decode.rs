//! From a validated tree to the [`Playbook`].
//!
//! Nothing is reported here: the validator has said everything. What does not fit is left out, so that a file with
//! mistakes still gives a playbook in which later checks can find more mistakes; such a playbook is never run.

use super::ast::*;
use super::read;
use super::source::{Spanned, Style, Text};
use crate::model::IncidentStatus;

mod action;
mod check;
mod foreach;
mod hosts;
mod map;
mod people;
mod requires;
mod tell;

use action::{action, options, shell};
use check::{check, checks, retry, undo};
use foreach::foreach;
use map::{Map, list, text, texts};
use people::ask;
use requires::requires;
use tell::{channels, escalation, updates};

/// The playbook of a tree; None if it has no name. `source` is the text of the file.
pub fn playbook(root: &Node, source: &str) -> Option<Playbook> {
    let map = Map::of(root, source)?;
    let phases = if let Some(phases) = map.list("phases") {
        phases.iter().filter_map(|node| phase(node, source)).collect()
    } else {
        let key = map.entry("steps").map_or(root.span, |(key, _)| key.span);
        vec![Phase {
            id: Text { value: "steps".into(), span: key, style: Style::Plain },
            title: None,
            deadline: None,
            status: None,
            steps: steps(map.list("steps"), source),
        }]
    };
    Some(Playbook {
        span: root.span,
        name: map.text("name")?,
        title: map.text("title"),
        description: map.text("description"),
        severity: map.word("severity", |word| {
            Some(match word {
                "critical" => Severity::Critical,
                "high" => Severity::High,
                "medium" => Severity::Medium,
                "low" => Severity::Low,
                _ => return None,
            })
        }),
        owner: map.text("owner"),
        reviewed: map.word("reviewed", |text| read::date(text).ok()),
        review_every: map.duration("review_every"),
        symptoms: map.texts("symptoms"),
        objectives: map.map("objectives").map(objectives).unwrap_or_default(),
        params: map.entries("params").filter_map(|entry| param(entry, source)).collect(),
        secrets: map.entries("secrets").filter_map(|entry| secret(entry, source)).collect(),
        environments: environments(map),
        channels: channels(map),
        escalation: escalation(map),
        updates: map.map("updates").map(updates),
        roles: lists(map, "roles"),
        hosts: hosts::hosts(map),
        groups: lists(map, "groups"),
        requires: map.map("requires").map(requires).unwrap_or_default(),
        defaults: map.map("defaults").map(defaults).unwrap_or_default(),
        max_parallel: map.u32("max_parallel"),
        lock: map.text("lock"),
        workdir: map.text("workdir"),
        phases,
        drill: map.map("drill").map(drill),
    })
}

/// The contents of `runbook.yaml`.
pub fn config(root: &Node, source: &str) -> Option<Config> {
    let map = Map::of(root, source)?;
    Some(Config {
        playbooks: map.texts("playbooks"),
        state: map.text("state"),
        environments: environments(map),
        hosts: hosts::hosts(map),
        groups: lists(map, "groups"),
        channels: channels(map),
        escalation: escalation(map),
        updates: map.map("updates").map(updates),
        secrets: map.entries("secrets").filter_map(|entry| secret(entry, source)).collect(),
        roles: lists(map, "roles"),
        responsibilities: lists(map, "responsibilities"),
        contacts: map.pairs("contacts"),
    })
}

/// A map of names to lists of texts.
fn lists(map: Map<'_>, key: &str) -> Vec<(Text, Vec<Text>)> {
    map.entries(key).filter_map(|(name, node)| Some((name.clone(), texts(list(node)?)))).collect()
}

fn objectives(map: Map<'_>) -> Objectives {
    Objectives { rto: map.duration("rto"), rpo: map.duration("rpo"), data_as_of: map.text("data_as_of") }
}

fn param((name, node): &(Text, Node), source: &str) -> Option<Param> {
    let map = Map::of(node, source)?;
    let kind = map.word("type", |word| {
        Some(match word {
            "string" => ParamType::String,
            "path" => ParamType::Path,
            "integer" => ParamType::Integer,
            "number" => ParamType::Number,
            "boolean" => ParamType::Boolean,
            "duration" => ParamType::Duration,
            "size" => ParamType::Size,
            "list" => ParamType::List,
            _ => return None,
        })
    });
    let Some(kind) = kind else {
        // The type is a mistake that is reported already; that the parameter is there is true all the same.
        return Some(Param {
            name: name.clone(),
            kind: Spanned { value: ParamType::String, span: name.span },
            description: None,
            required: true,
            default: None,
            pattern: None,
            choices: Vec::new(),
            min: None,
            max: None,
        });
    };
    Some(Param {
        name: name.clone(),
        kind,
        description: map.text("description"),
        required: map.flag("required"),
        default: map.get("default").cloned(),
        pattern: map.text("pattern"),
        choices: map.list("choices").map(<[Node]>::to_vec).unwrap_or_default(),
        min: map.get("min").cloned(),
        max: map.get("max").cloned(),
    })
}

fn secret((name, node): &(Text, Node), source: &str) -> Option<SecretDecl> {
    let map = Map::of(node, source)?;
    let source = if let Some(variable) = map.text("env") {
        SecretSource::Env(variable)
    } else if let Some(file) = map.text("file") {
        SecretSource::File(file)
    } else {
        SecretSource::Command(map.list("command").map(texts)?)
    };
    Some(SecretDecl { name: name.clone(), source })
}

fn environments(map: Map<'_>) -> Vec<Environment> {
    map.entries("environments")
        .filter_map(|(name, node)| {
            let map = Map::of(node, map.source)?;
            Some(Environment {
                name: name.clone(),
                params: map.values("params"),
                confirm: map.text("confirm").is_some(),
            })
        })
        .collect()
}

fn defaults(map: Map<'_>) -> Defaults {
    Defaults {
        timeout: map.timeout(),
        grace: map.duration("grace"),
        shell: shell(map),
        retry: map.map("retry").map(retry),
        env: map.env(),
    }
}

fn phase(node: &Node, source: &str) -> Option<Phase> {
    let map = Map::of(node, source)?;
    Some(Phase {
        id: map.text("id")?,
        title: map.text("title"),
        deadline: map.duration("deadline"),
        status: map.word("status", |word| {
            Some(match word {
                "investigating" => IncidentStatus::Investigating,
                "identified" => IncidentStatus::Identified,
                "monitoring" => IncidentStatus::Monitoring,
                _ => return None,
            })
        }),
        steps: steps(map.list("steps"), source),
    })
}

fn steps(items: Option<&[Node]>, source: &str) -> Vec<Step> {
    items.unwrap_or_default().iter().filter_map(|node| step(node, source, None)).collect()
}

/// A step; `default_id` is used if it has none.
fn step(node: &Node, source: &str, default_id: Option<String>) -> Option<Step> {
    let map = Map::of(node, source)?;
    let id = match (map.entry("id"), default_id) {
        (Some((_, id)), _) => text(id)?,
        (None, Some(value)) => {
            let first = map.entries.first().map_or(map.span, |(key, _)| key.span);
            Text { value, span: first, style: Style::Plain }
        }
        (None, None) => return None,
    };
    Some(Step {
        span: map.span,
        id,
        title: map.text("title"),
        action: action(map),
        options: options(map),
        foreach: foreach(map).map(Box::new),
        needs: map.list("needs").map(texts),
        when: map.text("when"),
        unless: map.map("unless").and_then(check).map(Box::new),
        approval: map.map("approval").and_then(|map| ask(map, "prompt", "approvers")).map(Box::new),
        retry: map.map("retry").map(retry).map(Box::new),
        expect: map.one_or_list("expect"),
        outputs: map.pairs("outputs"),
        verify: checks(map, "verify"),
        undo: map.map("undo").and_then(undo).map(Box::new),
        irreversible: map.bool("irreversible"),
        check: map.map("check").and_then(check).map(Box::new),
        idempotent: map.bool("idempotent"),
        on_failure: map.word("on_failure", |word| {
            Some(match word {
                "stop" => OnFailure::Stop,
                "continue" => OnFailure::Continue,
                "rollback" => OnFailure::Rollback,
                "ask" => OnFailure::Ask,
                _ => return None,
            })
        }),
        escalate: map.u32("escalate"),
        destructive: map.flag("destructive"),
        sensitive: map.flag("sensitive"),
    })
}

fn drill(map: Map<'_>) -> Drill {
    Drill { isolated: map.flag("isolated"), variants: variants(map), ..sections(map, "") }
}

fn variants(map: Map<'_>) -> Vec<Variant> {
    let each = map.entries("variants").filter_map(|(name, node)| {
        let map = Map::of(node, map.source)?;
        let adds = sections(map, &format!("{}-", name.value));
        Some(Variant { name: name.clone(), title: map.text("title"), adds })
    });
    each.collect()
}

/// What a drill and its variants have in common. `prefix` is of the ids that nobody typed.
fn sections(map: Map<'_>, prefix: &str) -> Drill {
    let steps = |key: &str| {
        let items = map.list(key).unwrap_or_default().iter().enumerate();
        items
            .filter_map(|(n, node)| step(node, map.source, Some(format!("{prefix}{key}-{}", n + 1))))
            .collect()
    };
    Drill {
        isolated: false,
        variants: Vec::new(),
        world: steps("world"),
        params: map.values("params"),
        inject: steps("inject"),
        symptom: checks(map, "symptom"),
        channels: channels(map),
        assert: map.one_or_list("assert"),
        proof: checks(map, "proof"),
        answers: map.pairs("answers"),
        teardown: steps("teardown"),
    }
}
