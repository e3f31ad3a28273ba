//! What people are asked.

use super::map::Map;
use crate::playbook::ast::*;
use crate::playbook::source::Text;

/// A question; what is asked and who may answer have other names in each place.
pub(super) fn ask(map: Map<'_>, prompt: &str, by: &str) -> Option<Ask> {
    Some(Ask {
        span: map.span,
        prompt: map.text(prompt)?,
        approvers: map.texts(by),
        count: map.u32("count"),
        exclude_operator: map.flag("exclude_operator"),
        timeout: map.duration("timeout"),
        on_timeout: map.word("on_timeout", |word| {
            Some(match word {
                "fail" => OnTimeout::Fail,
                "wait" => OnTimeout::Wait,
                "proceed" => OnTimeout::Proceed,
                "suggest" => OnTimeout::Suggest,
                _ => return None,
            })
        }),
        evidence: map.flag("evidence"),
    })
}

pub(super) fn choose(map: Map<'_>) -> Option<Choose> {
    let option = |(id, node): &(Text, Node)| {
        let option = Map::of(node, map.source)?;
        Some(ChoiceOption {
            id: id.clone(),
            title: option.text("title"),
            eta: option.text("eta"),
            loss: option.text("loss"),
            when: option.text("when"),
        })
    };
    Some(Choose {
        ask: ask(map, "prompt", "by")?,
        options: map.entries("options").filter_map(option).collect(),
        suggest: map.text("suggest"),
    })
}
