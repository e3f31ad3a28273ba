//! Checks, and what happens when an attempt fails.

use super::action::{action, options};
use super::map::Map;
use super::people::ask;
use crate::playbook::ast::*;

pub(super) fn checks(map: Map<'_>, key: &str) -> Vec<Check> {
    map.list(key).unwrap_or_default().iter().filter_map(|node| check(Map::of(node, map.source)?)).collect()
}

pub(super) fn check(map: Map<'_>) -> Option<Check> {
    Some(Check {
        span: map.span,
        title: map.text("title"),
        action: action(map)?,
        options: options(map),
        expect: map.one_or_list("expect"),
        within: map.duration("within"),
        every: map.duration("every"),
        required: map.bool("required").is_none_or(|required| required.value),
    })
}

pub(super) fn undo(map: Map<'_>) -> Option<Undo> {
    Some(Undo {
        span: map.span,
        approval: map.map("approval").and_then(|map| ask(map, "prompt", "approvers")).map(Box::new),
        action: action(map)?,
        options: options(map),
        expect: map.one_or_list("expect"),
        retry: map.map("retry").map(retry),
    })
}

pub(super) fn retry(map: Map<'_>) -> Retry {
    Retry {
        span: map.span,
        attempts: map.u32("attempts"),
        delay: map.duration("delay"),
        backoff: map.number("backoff"),
        max_delay: map.duration("max_delay"),
        jitter: map.number("jitter"),
        when: map.text("when"),
        remedies: map
            .list("remedies")
            .unwrap_or_default()
            .iter()
            .filter_map(|node| remedy(node, map.source))
            .collect(),
    }
}

pub(super) fn remedy(node: &Node, source: &str) -> Option<Remedy> {
    let map = Map::of(node, source)?;
    Some(Remedy { span: map.span, title: map.text("title"), action: action(map)?, options: options(map) })
}
