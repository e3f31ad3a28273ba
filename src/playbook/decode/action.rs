//! What is done, and its options.

use super::map::{Map, list, text, texts};
use super::people::{ask, choose};
use super::steps;
use crate::playbook::ast::*;
use crate::playbook::read;
use crate::playbook::source::{Spanned, Text};

pub(super) fn shell(map: Map<'_>) -> Option<Spanned<Shell>> {
    map.word("shell", |word| match word {
        "bash" => Some(Shell::Bash),
        "sh" => Some(Shell::Sh),
        _ => None,
    })
}

pub(super) fn options(map: Map<'_>) -> Options {
    Options {
        timeout: map.timeout(),
        grace: map.duration("grace"),
        env: map.env(),
        workdir: map.text("workdir"),
        stdin: map.text("stdin"),
        shell: shell(map),
        on: map.text("on"),
    }
}

pub(super) fn action(map: Map<'_>) -> Option<Action> {
    type Read = fn(&Node, &str) -> Option<ActionKind>;
    const READERS: [(&str, Read); 10] = [
        ("run", |node, _| text(node).map(ActionKind::Run)),
        ("exec", |node, _| exec(node).map(ActionKind::Exec)),
        ("sql", |node, source| {
            let map = Map::of(node, source)?;
            Some(ActionKind::Sql(Box::new(Sql {
                database: map.text("database")?,
                password: map.text("password"),
                ca_file: map.text("ca_file"),
                query: map.text("query")?,
            })))
        }),
        ("http", |node, source| Map::of(node, source).and_then(http).map(Box::new).map(ActionKind::Http)),
        ("wait", |node, _| {
            let NodeKind::Text(text) = &node.kind else { return None };
            let value = read::duration(&text.value).ok()?;
            Some(ActionKind::Wait(Spanned { value, span: node.span }))
        }),
        ("choose", |node, source| {
            Map::of(node, source).and_then(choose).map(Box::new).map(ActionKind::Choose)
        }),
        ("manual", |node, source| {
            let map = Map::of(node, source)?;
            ask(map, "instructions", "by").map(Box::new).map(ActionKind::Manual)
        }),
        ("notify", |node, source| {
            let map = Map::of(node, source)?;
            let tell = Tell { channels: map.one_or_list("channels"), message: map.text("message")? };
            Some(ActionKind::Notify(Box::new(tell)))
        }),
        ("any_of", |node, source| list(node).map(|items| ActionKind::AnyOf(steps(Some(items), source)))),
        ("playbook", |node, source| {
            let map = Map::of(node, source)?;
            Some(ActionKind::Playbook { name: map.text("name")?, params: map.values("params") })
        }),
    ];
    READERS.iter().find_map(|(key, read)| {
        let (key, node) = map.entry(key)?;
        Some(Action { span: key.span, kind: read(node, map.source)? })
    })
}

pub(super) fn exec(node: &Node) -> Option<Vec<Vec<Text>>> {
    let items = list(node)?;
    if items.iter().any(|item| list(item).is_some()) {
        Some(items.iter().filter_map(list).map(texts).collect())
    } else {
        Some(vec![texts(items)])
    }
}

pub(super) fn http(map: Map<'_>) -> Option<Http> {
    const METHODS: [(&str, &str); 6] = [
        ("get", "GET"),
        ("post", "POST"),
        ("put", "PUT"),
        ("patch", "PATCH"),
        ("delete", "DELETE"),
        ("head", "HEAD"),
    ];
    let (method, url) = METHODS.iter().find_map(|(key, method)| {
        let (key, url) = map.entry(key)?;
        Some((Spanned { value: *method, span: key.span }, text(url)?))
    })?;
    Some(Http {
        method,
        url,
        headers: map.pairs("headers"),
        body: map.text("body"),
        json: map.get("json").cloned(),
        auth: map.map("auth").and_then(auth),
        ca_file: map.text("ca_file"),
    })
}

fn auth(map: Map<'_>) -> Option<Auth> {
    if let Some(token) = map.text("bearer") {
        return Some(Auth::Bearer(token));
    }
    let basic = map.map("basic")?;
    Some(Auth::Basic { user: basic.text("user")?, password: basic.text("password")? })
}
