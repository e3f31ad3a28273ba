//! What must be there before the first step.

use super::map::{Map, env_text};
use crate::playbook::ast::*;
use crate::playbook::read;

pub(super) fn requires(map: Map<'_>) -> Requires {
    let versions = map.list("versions").unwrap_or_default();
    Requires {
        commands: map.texts("commands"),
        versions: versions.iter().filter_map(|node| version(node, map.source)).collect(),
        files: map.texts("files"),
        free_space: map.map("free_space").and_then(|space| {
            Some(FreeSpace {
                path: space.text("path")?,
                at_least: space.word("at_least", |size| read::size(size).ok())?,
            })
        }),
        free_ports: map.map("ports").map(|ports| ports.words("free")).unwrap_or_default(),
        open_ports: map.map("ports").map(|ports| ports.words("open")).unwrap_or_default(),
        env: map.texts("env"),
        hosts: map.texts("hosts"),
    }
}

fn version(node: &Node, source: &str) -> Option<Version> {
    let map = Map::of(node, source)?;
    Some(Version {
        command: map.text("command")?,
        at_least: env_text(map.get("at_least")?, source)?,
        ask: map.texts("ask"),
    })
}
