//! A step that is done for each item of a list.

use super::map::Map;
use crate::playbook::ast::*;

pub(super) fn foreach(map: Map<'_>) -> Option<ForEach> {
    let node = map.get("foreach")?;
    let items = match &node.kind {
        NodeKind::List(items) => Items::List(items.clone()),
        NodeKind::Text(text) => Items::Expression(text.clone()),
        _ => return None,
    };
    Some(ForEach {
        span: node.span,
        items,
        max_parallel: map.u32("max_parallel"),
        on_item_failure: map.word("on_item_failure", |word| {
            Some(match word {
                "stop" => OnItemFailure::Stop,
                "continue" => OnItemFailure::Continue,
                _ => return None,
            })
        }),
        at_least: map.u32("at_least"),
    })
}
