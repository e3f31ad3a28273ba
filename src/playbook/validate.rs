//! Walks a tree against the description of the format and reports everything that does not fit.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::ast::{Node, NodeKind};
use super::diagnostic::Diagnostic;
use super::shape::{Kind, Object, Refusal, Rule};
use super::source::{Span, Style, Text};
use super::{format, read};
use crate::model::{check_name, nearest};

/// Everything in `root` that does not fit `object`. Nothing is said about the places in `reported`.
pub fn validate(root: &Node, object: &Object, reported: &HashSet<Span>) -> Vec<Diagnostic> {
    let mut walker = Walker { reported, path: Vec::new(), found: Vec::new(), objects: 0 };
    walker.object(root, object, None);
    walker.found
}

/// The most mistakes that are reported of one file.
pub const MAX_FOUND: usize = 1000;

/// The most steps, checks, params and the like in one file. A decoded step takes over a KiB of memory.
pub const MAX_OBJECTS: usize = 25_000;

/// The code of the diagnostic after which a tree is not decoded.
pub(super) const TOO_MANY: &str = "too-many-steps";

enum Part<'n> {
    Key(&'n str),
    Item(usize),
}

struct Walker<'n> {
    reported: &'n HashSet<Span>,
    path: Vec<Part<'n>>,
    found: Vec<Diagnostic>,
    /// Steps, checks, params and the like, counted so far.
    objects: usize,
}

impl<'n> Walker<'n> {
    /// `phases[0].steps[2].timeout`
    fn path(&self) -> String {
        let mut out = String::new();
        for part in &self.path {
            match part {
                Part::Key(key) if out.is_empty() => out.push_str(key),
                Part::Key(key) => {
                    let _ = write!(out, ".{key}");
                }
                Part::Item(n) => {
                    let _ = write!(out, "[{n}]");
                }
            }
        }
        out
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if !self.full() {
            self.found.push(diagnostic);
        }
    }

    /// Nobody reads more than this many; a hostile file must not make us write them.
    fn full(&self) -> bool {
        self.found.len() >= MAX_FOUND
    }

    fn wrong_type(&mut self, node: &Node, kind: &Kind) {
        let path = self.path();
        let message = if path.is_empty() {
            format!("the file must be {}, not {}", kind.words(), found(node))
        } else {
            format!("`{path}` must be {}, not {}", kind.words(), found(node))
        };
        let mut diagnostic =
            Diagnostic::error("wrong-type", node.span, message).label(format!("expected {}", kind.words()));
        if let Some(help) = type_help(node, kind) {
            diagnostic = diagnostic.help(help);
        }
        self.report(diagnostic);
    }

    fn value(&mut self, node: &'n Node, kind: &'static Kind, key: Option<&'n Text>) {
        if self.reported.contains(&node.span) {
            return;
        }
        match (kind, &node.kind) {
            (Kind::Value, _) => {}
            (_, NodeKind::Null) => self.empty(node, kind, key),
            (Kind::List(item), NodeKind::List(items)) => self.items(items, item),
            (Kind::OneOrList(item) | Kind::Some(item), NodeKind::List(items)) => {
                if items.is_empty() {
                    self.empty_list(node);
                }
                self.items(items, item);
            }
            (Kind::OneOrList(item), NodeKind::Text(_)) => self.value(node, item, key),
            (Kind::Items, NodeKind::List(items)) => {
                if items.is_empty() {
                    self.empty_list(node);
                }
                self.items(items, &Kind::Value);
            }
            (Kind::Items, NodeKind::Text(_)) => self.value(node, &Kind::Expression, key),
            (Kind::Argv, NodeKind::List(items)) => self.argv(node, items),
            (Kind::Pipeline, NodeKind::List(items)) => self.pipeline(node, items),
            (Kind::Map { keys, values }, NodeKind::Map(entries)) => {
                for (name, value) in entries {
                    if let Err(help) = read::map_key(*keys, &name.value) {
                        let message = format!("`{}` cannot be a name here", name.value);
                        self.report(Diagnostic::error("bad-name", name.span, message).help(help));
                    }
                    self.path.push(Part::Key(&name.value));
                    self.value(value, values, Some(name));
                    self.path.pop();
                }
            }
            (Kind::Object(object), NodeKind::Map(_)) => self.object(node, object, key),
            (Kind::Bool, NodeKind::Bool(_)) => {}
            (Kind::Int { min, max }, NodeKind::Int(n)) => {
                if n < min || n > max {
                    self.out_of_range(node, &min.to_string(), &max.to_string());
                }
            }
            (Kind::Number { min, max }, NodeKind::Int(_) | NodeKind::Float(_)) => {
                if read::number(node).is_some_and(|n| n < *min || n > *max) {
                    self.out_of_range(node, &min.to_string(), &max.to_string());
                }
            }
            (Kind::EnvValue, NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Bool(_)) => {}
            (Kind::Duration | Kind::Timeout, NodeKind::Int(n)) => {
                let help = format!("write {n}s for seconds or {n}m for minutes");
                self.bad_scalar(node, "duration", "a duration needs a unit".to_owned(), help);
            }
            (Kind::Size, NodeKind::Int(n)) => {
                let help = format!("write {n}B for bytes or {n}MiB for mebibytes");
                self.bad_scalar(node, "size", "a size needs a unit".to_owned(), help);
            }
            (_, NodeKind::Text(text)) => self.text(node, text, kind),
            _ => self.wrong_type(node, kind),
        }
    }

    /// A key with nothing behind it.
    fn empty(&mut self, node: &Node, kind: &Kind, key: Option<&Text>) {
        let path = self.path();
        let message = format!("`{path}` has no value");
        let at = if node.span.start == node.span.end { key.map_or(node.span, |k| k.span) } else { node.span };
        self.report(
            Diagnostic::error("wrong-type", at, message)
                .label(format!("expected {}", kind.words()))
                .help("give it a value, or remove the key"),
        );
    }

    fn empty_list(&mut self, node: &Node) {
        let message = format!("`{}` must not be empty", self.path());
        self.report(Diagnostic::error("empty-list", node.span, message).label("expected at least one item"));
    }

    fn items(&mut self, items: &'n [Node], kind: &'static Kind) {
        for (n, item) in items.iter().enumerate() {
            self.path.push(Part::Item(n));
            self.value(item, kind, None);
            self.path.pop();
        }
    }

    fn argv(&mut self, node: &'n Node, items: &'n [Node]) {
        if items.is_empty() {
            self.empty_list(node);
        }
        self.items(items, &Kind::Template);
    }

    fn pipeline(&mut self, node: &'n Node, items: &'n [Node]) {
        let lists = items.iter().filter(|item| matches!(item.kind, NodeKind::List(_))).count();
        if lists == 0 {
            self.argv(node, items);
        } else {
            self.items(items, &Kind::Argv);
        }
    }

    fn out_of_range(&mut self, node: &Node, min: &str, max: &str) {
        let message = format!("`{}` must lie between {min} and {max}", self.path());
        self.report(Diagnostic::error("out-of-range", node.span, message).label(format!("{min} to {max}")));
    }

    fn bad_scalar(&mut self, node: &Node, what: &'static str, why: String, help: String) {
        let code = match what {
            "duration" => "bad-duration",
            "size" => "bad-size",
            "date" => "bad-date",
            "name" => "bad-name",
            _ => "bad-pattern",
        };
        let message = format!("`{}` is not a {what}", self.path());
        let diagnostic = Diagnostic::error(code, node.span, message).label(why);
        self.report(if help.is_empty() { diagnostic } else { diagnostic.help(help) });
    }

    fn text(&mut self, node: &'n Node, text: &'n Text, kind: &Kind) {
        let value = text.value.as_str();
        let problem = match kind {
            Kind::Text | Kind::SecretText | Kind::EnvValue => None,
            Kind::Template | Kind::Expression => {
                if value.trim().is_empty() && matches!(kind, Kind::Expression) {
                    Some(("expression", "this is empty".to_owned()))
                } else {
                    None
                }
            }
            Kind::Name => check_name(value).err().map(|e| ("name", e.to_string())),
            Kind::Pattern => {
                regex::Regex::new(value).err().map(|e| ("regular expression", last_line(&e.to_string())))
            }
            Kind::Duration => read::duration(value).err().map(|e| ("duration", e)),
            Kind::Timeout => read::timeout(value).err().map(|e| ("duration", e)),
            Kind::Size => read::size(value).err().map(|e| ("size", e)),
            Kind::Date => read::date(value).err().map(|e| ("date", e)),
            Kind::Choice(words) => return self.choice(node, value, words),
            Kind::Object(_)
            | Kind::Bool
            | Kind::Int { .. }
            | Kind::Number { .. }
            | Kind::Value
            | Kind::Items
            | Kind::List(_)
            | Kind::Some(_)
            | Kind::OneOrList(_)
            | Kind::Argv
            | Kind::Pipeline
            | Kind::Map { .. } => return self.wrong_type(node, kind),
        };
        if let Some((what, why)) = problem {
            if what == "expression" {
                let message = format!("`{}` is empty", self.path());
                self.report(
                    Diagnostic::error("empty-expression", node.span, message)
                        .help("write an expression, or remove the key"),
                );
            } else {
                self.bad_scalar(node, what, why, String::new());
            }
        }
    }

    fn choice(&mut self, node: &Node, value: &str, words: &'static [&'static str]) {
        let path = self.path();
        match words.iter().find(|word| **word == value) {
            Some(_) => {}
            None if path == "apiVersion" => {
                let message = format!("`apiVersion` {value:?} is not one that this program reads");
                self.report(
                    Diagnostic::error("api-version", node.span, message)
                        .label(format!("this program reads {}", format::API_VERSION))
                        .help(format!(
                            "write `apiVersion: {}`, or use a program that reads {value:?}",
                            format::API_VERSION
                        )),
                );
            }
            None => {
                let help = match nearest(value, words.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("write {}", Kind::Choice(words).words()),
                };
                let message = format!("`{path}` cannot be {value:?}");
                self.report(
                    Diagnostic::error("bad-value", node.span, message)
                        .label(format!("expected {}", Kind::Choice(words).words()))
                        .help(help),
                );
            }
        }
    }

    fn object(&mut self, node: &'n Node, object: &Object, key: Option<&'n Text>) {
        let NodeKind::Map(entries) = &node.kind else {
            if self.reported.contains(&node.span) {
                return;
            }
            let message = format!("the file must be {} (a map), not {}", object.name, found(node));
            self.report(
                Diagnostic::error("wrong-type", node.span, message)
                    .help(format!("begin the file with `apiVersion: {}`", format::API_VERSION)),
            );
            return;
        };
        let at = entries.first().map_or(node.span, |(first, _)| first.span);
        self.objects += 1;
        if self.objects == MAX_OBJECTS + 1 {
            // Not through `report`: the decoder relies on it.
            self.found.push(
                Diagnostic::error(
                    TOO_MANY,
                    at,
                    format!("more than {MAX_OBJECTS} steps, checks and the like in one file"),
                )
                .label("the limit is reached here")
                .help("split the playbook: a step `playbook: { name: ... }` includes another one"),
            );
        }
        if self.objects > MAX_OBJECTS {
            return;
        }
        for (name, value) in entries {
            match object.field(&name.value) {
                Some(field) => {
                    self.path.push(Part::Key(&name.value));
                    self.value(value, &field.kind, Some(name));
                    self.path.pop();
                }
                None => self.unknown_key(name, object),
            }
        }
        let keys = KeySet { entries };
        for field in object.all().filter(|f| f.required && keys.get(f.name).is_none()) {
            let diagnostic = self.missing(object, key.map_or(at, |k| k.span), &format!("`{}`", field.name));
            self.report(diagnostic.help(format!("add `{}: ...`: {}", field.name, field.doc)));
        }
        for rule in object.rules {
            self.rule(rule, object, &keys, key.map_or(at, |k| k.span));
        }
    }

    fn missing(&self, object: &Object, at: Span, what: &str) -> Diagnostic {
        let path = self.path();
        let message = if path.is_empty() {
            format!("{what} is missing")
        } else {
            format!("`{path}` has no {}", without_article(what))
        };
        Diagnostic::error("missing-key", at, message).label(format!("{} needs {what}", object.name))
    }

    fn unknown_key(&mut self, key: &Text, object: &Object) {
        if self.full() {
            return;
        }
        let name = key.value.as_str();
        let shown: String = name.chars().take(60).collect();
        let diagnostic = match object.refused.iter().find(|(refused, _)| *refused == name) {
            Some((_, Refusal::Because(why))) => Diagnostic::error(
                "misplaced-key",
                key.span,
                format!("the key `{shown}` does not belong here"),
            )
            .label(format!("not a key of {}", object.name))
            .help(*why),
            None => {
                let help = match nearest(name, object.all().map(|f| f.name)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        let known: Vec<_> = object.all().map(|f| f.name).collect();
                        format!("{} has the keys {}", object.name, known.join(", "))
                    }
                };
                Diagnostic::error("unknown-key", key.span, format!("unknown key `{shown}`"))
                    .label(format!("not a key of {}", object.name))
                    .help(help)
            }
        };
        self.report(diagnostic);
    }

    fn rule(&mut self, rule: &Rule, object: &Object, keys: &KeySet<'_>, at: Span) {
        match rule {
            Rule::One { what, keys: wanted, or } => {
                let present: Vec<&Text> = wanted.iter().filter_map(|k| keys.get(k)).collect();
                match present.as_slice() {
                    [] => {
                        // A key that was refused by name, such as `notify`, already says why nothing is here.
                        let excused = or.iter().any(|or| keys.get(or).is_some())
                            || object.refused.iter().any(|(k, _)| keys.get(k).is_some())
                            || object.fields.is_empty();
                        if !excused {
                            let diagnostic = self.missing(object, at, what);
                            let choices: Vec<String> = wanted.iter().map(|k| format!("`{k}`")).collect();
                            let or: Vec<String> = or.iter().map(|or| format!("`{or}`")).collect();
                            let also = match or.as_slice() {
                                [] => String::new(),
                                or => format!(" (or only {})", or.join(" or ")),
                            };
                            self.report(
                                diagnostic.help(format!("write one of {}{also}", choices.join(", "))),
                            );
                        }
                    }
                    [_] => {}
                    [first, rest @ ..] => {
                        for second in rest {
                            let message =
                                format!("`{}` and `{}` cannot stand together", first.value, second.value);
                            let one = match without_article(what) {
                                noun if noun == *what => format!("only {what}"),
                                noun => format!("one {noun}"),
                            };
                            self.report(
                                Diagnostic::error("too-many-keys", second.span, message)
                                    .label(format!("{} has {one}", object.name))
                                    .related(first.span, "the first is here")
                                    .help("keep one of them"),
                            );
                        }
                    }
                }
            }
            Rule::Not { key, with, because } => {
                if let Some(key) = keys.get(key)
                    && let Some(other) = with.iter().find_map(|w| keys.get(w))
                {
                    let message = format!("`{}` does not go together with `{}`", key.value, other.value);
                    self.report(
                        Diagnostic::error("keys-conflict", key.span, message)
                            .label(*because)
                            .related(other.span, format!("`{}` is here", other.value))
                            .help(format!("remove `{}`", key.value)),
                    );
                }
            }
            Rule::Only { key, with } => {
                if let Some(key) = keys.get(key)
                    && with.iter().all(|w| keys.get(w).is_none())
                    && !object.refused.iter().any(|(k, _)| keys.get(k).is_some())
                {
                    let needs = match with {
                        [one] => format!("`{one}`"),
                        _ => "an action".to_owned(),
                    };
                    let message = format!("`{}` says nothing without {needs}", key.value);
                    self.report(
                        Diagnostic::error("keys-conflict", key.span, message)
                            .label(format!("there is no {} here", without_article(&needs)))
                            .help(format!("add {needs}, or remove `{}`", key.value)),
                    );
                }
            }
        }
    }
}

fn without_article(what: &str) -> &str {
    what.strip_prefix("an ").or_else(|| what.strip_prefix("a ")).unwrap_or(what)
}

struct KeySet<'n> {
    entries: &'n [(Text, Node)],
}

impl<'n> KeySet<'n> {
    fn get(&self, name: &str) -> Option<&'n Text> {
        self.entries.iter().map(|(key, _)| key).find(|key| key.value == name)
    }
}

/// What stands in the file, in people's words.
fn found(node: &Node) -> String {
    match &node.kind {
        NodeKind::Null => "nothing".into(),
        NodeKind::Bool(b) => format!("the boolean {b}"),
        NodeKind::Int(n) => format!("the number {n}"),
        NodeKind::Float(n) => format!("the number {n}"),
        NodeKind::Text(text) => {
            let short: String = text.value.chars().take(30).collect();
            if short.len() < text.value.len() {
                format!("the text {short:?}...")
            } else {
                format!("the text {short:?}")
            }
        }
        NodeKind::List(_) => "a list".into(),
        NodeKind::Map(_) => "a map".into(),
    }
}

fn type_help(node: &Node, kind: &Kind) -> Option<String> {
    let textual = matches!(
        kind,
        Kind::Text
            | Kind::Template
            | Kind::SecretText
            | Kind::Expression
            | Kind::Name
            | Kind::Pattern
            | Kind::Choice(_)
            | Kind::OneOrList(_)
    );
    match (&node.kind, kind) {
        (NodeKind::Int(n), _) if textual => Some(format!("put quotes around it: \"{n}\"")),
        (NodeKind::Float(n), _) if textual => Some(format!("put quotes around it: \"{n}\"")),
        (NodeKind::Bool(b), _) if textual => Some(format!("put quotes around it: \"{b}\"")),
        (NodeKind::Text(text), Kind::Bool) => Some(match text.value.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "write true".into(),
            "no" | "off" | "n" | "false" => "write false".into(),
            _ => "write true or false".into(),
        }),
        (NodeKind::Text(text), Kind::Int { .. } | Kind::Number { .. }) if text.style != Style::Plain => {
            Some("write the number without quotes".into())
        }
        (NodeKind::Text(text), Kind::List(_))
            if text.value.len() <= 40 && !text.value.contains(['\n', '{']) =>
        {
            Some(format!("write a list: [{}]", text.value))
        }
        (NodeKind::Text(text), Kind::Argv | Kind::Pipeline) => {
            let words: Vec<&str> = text.value.split_whitespace().collect();
            let simple = text.value.len() <= 60
                && text.value.chars().all(|c| c.is_ascii_alphanumeric() || " ./_-".contains(c));
            Some(if simple {
                format!("write a list: [{}]", words.join(", "))
            } else {
                "write a list; a script belongs into `run`".into()
            })
        }
        (NodeKind::Map(_), Kind::List(_) | Kind::Some(_)) => Some("begin each item with `- `".into()),
        (NodeKind::Map(_), Kind::Text | Kind::Template | Kind::SecretText | Kind::Expression) => {
            Some("put quotes around the text if it contains `: `".into())
        }
        (
            NodeKind::Text(_) | NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Bool(_),
            Kind::Object(object),
        ) => {
            let first = object.all().next().map_or("key", |f| f.name);
            Some(format!("write {{ {first}: ... }}"))
        }
        _ => None,
    }
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").trim().to_owned()
}
