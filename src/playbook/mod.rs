//! A playbook as a person typed it: YAML with positions, diagnostics, and the one description of the format from
//! which the decoder, the JSON schema and the reference page all follow.

pub mod ast;
pub mod channels;
pub mod decode;
pub mod diagnostic;
pub mod format;
pub mod load;
mod locate;
mod read;
pub mod reference;
pub mod rules;
mod scalar;
pub mod schema;
pub mod shape;
pub mod source;
mod syntax;
pub mod tell;
mod validate;
pub mod yaml;

use std::path::Path;

use diagnostic::{Diagnostic, Severity};
use source::{FileId, SourceMap};

/// What a file says, and everything that is wrong with it.
#[derive(Debug)]
pub struct Parsed<T> {
    /// What could be read. With an error among the diagnostics it is only good for finding more mistakes.
    pub value: Option<T>,
    /// In the order of their places.
    pub diagnostics: Vec<Diagnostic>,
}

impl<T> Parsed<T> {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// Adds the bytes of a file to the sources. A file that is no text is added in a readable form, to show the place.
pub fn decode_bytes(sources: &mut SourceMap, path: &Path, bytes: Vec<u8>) -> Result<FileId, Box<Diagnostic>> {
    let file = FileId(u16::try_from(sources.files.len()).unwrap_or(u16::MAX));
    match yaml::decode(file, bytes) {
        Ok(text) => Ok(sources.add(path.to_owned(), text)),
        Err((text, diagnostic)) => {
            sources.add(path.to_owned(), text);
            Err(diagnostic)
        }
    }
}

/// Reads a playbook. `stem` is the name that the file demands, if there is a file.
pub fn parse(file: FileId, text: &str, stem: Option<&str>) -> Parsed<ast::Playbook> {
    let mut parsed = read_tree(file, text, &format::PLAYBOOK, decode::playbook);
    if let Some(playbook) = &parsed.value {
        parsed.diagnostics.extend(rules::check(playbook, stem));
    }
    parsed.sorted()
}

/// Reads a `runbook.yaml`.
pub fn parse_config(file: FileId, text: &str) -> Parsed<ast::Config> {
    let mut parsed = read_tree(file, text, &format::CONFIG, decode::config);
    if let Some(config) = &parsed.value {
        parsed.diagnostics.extend(rules::check_config(config));
    }
    parsed.sorted()
}

/// Reads a file of parameters: a map from names to values.
pub fn parse_values(
    sources: &mut SourceMap,
    path: &Path,
    bytes: Vec<u8>,
) -> Result<Vec<(String, serde_json::Value)>, Vec<Diagnostic>> {
    let file = decode_bytes(sources, path, bytes).map_err(|d| vec![*d])?;
    let text = sources.get(file).map(|f| f.text.clone()).unwrap_or_default();
    let tree = yaml::parse(file, &text);
    if !tree.diagnostics.is_empty() {
        return Err(tree.diagnostics);
    }
    match tree.root.map(|root| (root.span, root.kind)) {
        None => Ok(Vec::new()),
        Some((_, ast::NodeKind::Map(entries))) => {
            Ok(entries.iter().map(|(name, node)| (name.value.clone(), node.to_value())).collect())
        }
        Some((span, _)) => {
            let wrong = Diagnostic::error("wrong-type", span, "parameters are a map from names to values");
            Err(vec![wrong.help("write one `name: value` a line")])
        }
    }
}

fn read_tree<T>(
    file: FileId,
    text: &str,
    object: &shape::Object,
    decode: impl FnOnce(&ast::Node, &str) -> Option<T>,
) -> Parsed<T> {
    let tree = yaml::parse(file, text);
    let mut diagnostics = tree.diagnostics;
    let Some(root) = tree.root else {
        if diagnostics.is_empty() {
            diagnostics.push(
                Diagnostic::error("empty-file", yaml::span(file, 0, 0), "the file is empty")
                    .help(format!("begin it with `apiVersion: {}`", format::API_VERSION)),
            );
        }
        return Parsed { value: None, diagnostics };
    };
    diagnostics.extend(validate::validate(&root, object, &tree.reported));
    let too_many = diagnostics.iter().any(|d| d.code == validate::TOO_MANY);
    Parsed { value: if too_many { None } else { decode(&root, text) }, diagnostics }
}

impl<T> Parsed<T> {
    /// In the order of their places, each once: a value behind an alias is looked at more than once.
    fn sorted(mut self) -> Self {
        self.diagnostics.sort_by(|a, b| (a.span, a.severity, a.code).cmp(&(b.span, b.severity, b.code)));
        self.diagnostics
            .dedup_by(|a, b| a.span == b.span && a.code == b.code && a.label == b.label && a.help == b.help);
        self
    }
}
