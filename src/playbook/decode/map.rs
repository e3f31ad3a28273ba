//! A map node, for looking keys up.

use crate::model::Millis;
use crate::playbook::ast::*;
use crate::playbook::read;
use crate::playbook::source::{Span, Spanned, Style, Text};

/// A map node, for looking keys up.
#[derive(Clone, Copy)]
pub(super) struct Map<'n> {
    pub(super) source: &'n str,
    pub(super) span: Span,
    pub(super) entries: &'n [(Text, Node)],
}

impl<'n> Map<'n> {
    pub(super) fn of(node: &'n Node, source: &'n str) -> Option<Self> {
        match &node.kind {
            NodeKind::Map(entries) => Some(Self { source, span: node.span, entries }),
            _ => None,
        }
    }

    pub(super) fn entry(self, key: &str) -> Option<(&'n Text, &'n Node)> {
        self.entries.iter().find(|(k, _)| k.value == key).map(|(k, v)| (k, v))
    }

    pub(super) fn get(self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, value)| value)
    }

    pub(super) fn map(self, key: &str) -> Option<Self> {
        self.get(key).and_then(|node| Self::of(node, self.source))
    }

    pub(super) fn list(self, key: &str) -> Option<&'n [Node]> {
        self.get(key).and_then(list)
    }

    pub(super) fn entries(self, key: &str) -> impl Iterator<Item = &'n (Text, Node)> {
        self.map(key).map_or(&[][..], |map| map.entries).iter()
    }

    pub(super) fn text(self, key: &str) -> Option<Text> {
        self.get(key).and_then(text)
    }

    pub(super) fn texts(self, key: &str) -> Vec<Text> {
        self.list(key).map(texts).unwrap_or_default()
    }

    /// A list in which a number counts as it was typed.
    pub(super) fn words(self, key: &str) -> Vec<Text> {
        let items = self.list(key).unwrap_or_default().iter();
        items.filter_map(|node| env_text(node, self.source)).collect()
    }

    /// One text, or a list of them.
    pub(super) fn one_or_list(self, key: &str) -> Vec<Text> {
        match self.get(key) {
            Some(Node { kind: NodeKind::Text(one), .. }) => vec![one.clone()],
            Some(node) => list(node).map(texts).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    pub(super) fn word<T>(self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Spanned<T>> {
        let node = self.get(key)?;
        match &node.kind {
            NodeKind::Text(text) => Some(Spanned { value: read(&text.value)?, span: node.span }),
            _ => None,
        }
    }

    pub(super) fn duration(self, key: &str) -> Option<Spanned<Millis>> {
        self.word(key, |text| read::duration(text).ok())
    }

    pub(super) fn timeout(self) -> Option<Timeout> {
        self.word("timeout", |text| read::timeout(text).ok())
    }

    pub(super) fn bool(self, key: &str) -> Option<Spanned<bool>> {
        let node = self.get(key)?;
        match node.kind {
            NodeKind::Bool(value) => Some(Spanned { value, span: node.span }),
            _ => None,
        }
    }

    pub(super) fn flag(self, key: &str) -> bool {
        self.bool(key).is_some_and(|flag| flag.value)
    }

    pub(super) fn u32(self, key: &str) -> Option<Spanned<u32>> {
        let node = self.get(key)?;
        match node.kind {
            NodeKind::Int(n) => Some(Spanned { value: u32::try_from(n).ok()?, span: node.span }),
            _ => None,
        }
    }

    pub(super) fn number(self, key: &str) -> Option<Spanned<f64>> {
        let node = self.get(key)?;
        Some(Spanned { value: read::number(node)?, span: node.span })
    }

    pub(super) fn values(self, key: &str) -> Vec<(Text, Node)> {
        self.entries(key).cloned().collect()
    }

    /// Names with texts.
    pub(super) fn pairs(self, key: &str) -> Vec<(Text, Text)> {
        self.entries(key).filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
    }

    /// Variables: a number or a boolean counts as it was typed.
    pub(super) fn env(self) -> Vec<(Text, Text)> {
        self.entries("env")
            .filter_map(|(name, value)| Some((name.clone(), env_text(value, self.source)?)))
            .collect()
    }
}

pub(super) fn text(node: &Node) -> Option<Text> {
    match &node.kind {
        NodeKind::Text(text) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn env_text(node: &Node, source: &str) -> Option<Text> {
    match &node.kind {
        NodeKind::Text(text) => Some(text.clone()),
        NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Bool(_) => {
            let typed = source.get(node.span.start as usize..node.span.end as usize)?;
            Some(Text { value: typed.to_owned(), span: node.span, style: Style::Plain })
        }
        _ => None,
    }
}

pub(super) fn list(node: &Node) -> Option<&[Node]> {
    match &node.kind {
        NodeKind::List(items) => Some(items),
        _ => None,
    }
}

pub(super) fn texts(items: &[Node]) -> Vec<Text> {
    items.iter().filter_map(text).collect()
}
