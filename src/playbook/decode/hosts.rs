//! Where commands run besides this machine.

use super::map::{Map, env_text, text, texts};
use crate::playbook::ast::{HostDecl, HostKind, Node};
use crate::playbook::source::Text;

pub(super) fn hosts(map: Map<'_>) -> Vec<HostDecl> {
    map.entries("hosts").filter_map(|entry| host(entry, map.source)).collect()
}

fn host((name, node): &(Text, Node), source: &str) -> Option<HostDecl> {
    let map = Map::of(node, source)?;
    // A number counts as it was typed.
    let word = |key: &str| map.get(key).and_then(|node| env_text(node, source));
    let kind = if let Some(to) = map.text("ssh") {
        let options = map
            .entries("options")
            .filter_map(|(name, value)| Some((name.clone(), env_text(value, source)?)))
            .collect();
        HostKind::Ssh {
            to,
            port: word("port"),
            user: word("user"),
            config: map.text("config"),
            identity: map.text("identity"),
            options,
        }
    } else if let Some(container) = map.get("container").and_then(text) {
        HostKind::Container { name: container, engine: map.text("engine"), user: word("user") }
    } else if let Some(target) = map.text("kubectl") {
        HostKind::Kubectl {
            target,
            container: word("pod_container"),
            namespace: word("namespace"),
            context: word("context"),
        }
    } else {
        HostKind::Via(map.list("via").map(texts)?)
    };
    Some(HostDecl { name: name.clone(), kind, connect_timeout: map.duration("connect_timeout") })
}
