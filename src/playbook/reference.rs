//! The reference page of the format, made from its description.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::format::{API_VERSION, CONFIG, PLAYBOOK};
use super::shape::{Keys, Kind, Object, Rule};

/// The whole page, in Markdown.
pub fn reference_markdown() -> String {
    let mut page = Page { out: String::new(), seen: HashSet::new(), queue: Vec::new() };
    let _ = writeln!(page.out, "# Format reference, `apiVersion: {API_VERSION}`\n");
    let _ = writeln!(
        page.out,
        "Made from the program's own description of the format. Every key that is not on this page is an error."
    );
    for root in [&PLAYBOOK, &CONFIG] {
        page.queue.push(root);
        let mut next = 0;
        while let Some(object) = page.queue.get(next).copied() {
            next += 1;
            page.object(object);
        }
        page.queue.clear();
    }
    page.out
}

struct Page {
    out: String,
    seen: HashSet<&'static str>,
    queue: Vec<&'static Object>,
}

impl Page {
    fn object(&mut self, object: &'static Object) {
        if !self.seen.insert(object.name) {
            return;
        }
        let title = noun(object);
        let _ = writeln!(self.out, "\n## {}{}\n\n{}\n", title[..1].to_uppercase(), &title[1..], object.doc);
        let _ = writeln!(self.out, "| key | value | |\n|---|---|---|");
        for field in object.all() {
            let mark = if field.required { " (required)" } else { "" };
            let kind = self.kind(&field.kind).replace('|', "\\|");
            let _ =
                writeln!(self.out, "| `{}`{mark} | {kind} | {} |", field.name, field.doc.replace('|', "\\|"));
        }
        let rules: Vec<String> = object.rules.iter().map(rule).collect();
        if !rules.is_empty() {
            let _ = writeln!(self.out, "\n{}", rules.join("\n"));
        }
    }

    fn kind(&mut self, kind: &'static Kind) -> String {
        match kind {
            Kind::Template => "text with `{{ }}`".into(),
            Kind::SecretText => "`secrets.NAME`, or text with `{{ secrets.NAME }}`".into(),
            Kind::Expression => "expression".into(),
            Kind::Text => "text".into(),
            Kind::EnvValue => "text with `{{ }}`, number or boolean".into(),
            Kind::Name => "name: a-z, 0-9 and -".into(),
            Kind::Pattern => "regular expression".into(),
            Kind::Int { min, max } => format!("whole number, {min} to {max}"),
            Kind::Number { min, max } => format!("number, {min} to {max}"),
            Kind::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(", ")
            }
            Kind::Value => "any value".into(),
            Kind::Items => "list of any values, or expression".into(),
            Kind::List(item) | Kind::Some(item) => format!("list: {}", self.kind(item)),
            Kind::OneOrList(item) => {
                let item = self.kind(item);
                format!("{item}, or a list")
            }
            Kind::Map { keys, values } => {
                let keys = match keys {
                    Keys::Variable => "variable",
                    Keys::Header => "header",
                    Keys::Step => "step",
                    Keys::Identifier | Keys::Name => "name",
                };
                format!("map: {keys} to {}", self.kind(values))
            }
            Kind::Object(object) => {
                self.queue.push(object);
                let title = noun(object);
                format!("[{title}](#{})", title.to_lowercase().replace(' ', "-"))
            }
            Kind::Bool
            | Kind::Duration
            | Kind::Timeout
            | Kind::Size
            | Kind::Date
            | Kind::Argv
            | Kind::Pipeline => kind.words(),
        }
    }
}

fn noun(object: &Object) -> &'static str {
    object.name.split_once(' ').map_or(object.name, |(_, noun)| noun)
}

fn rule(rule: &Rule) -> String {
    let list = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    match rule {
        Rule::One { keys, or, .. } => {
            let or: String = or.iter().map(|or| format!(", or only `{or}`")).collect();
            format!("- Exactly one of {}{or}.", list(keys))
        }
        Rule::Not { key, with, because } => format!("- `{key}` not with {}: {because}.", list(with)),
        Rule::Only { key, with } => format!("- `{key}` only with one of {}.", list(with)),
    }
}
