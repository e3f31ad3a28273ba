//! YAML text to a tree of [`Node`]s that knows where every value stands.
//!
//! Built on the events of `granit-parser`. Scalars follow the YAML 1.2 core schema, read strictly: only `true` and
//! `false` are booleans, a number that people read in two ways (`0644`) is refused. Mistakes that leave the structure
//! readable (a duplicate key, an unquoted `{{ }}`) are noted and the reading goes on; a broken structure ends it.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, StructureStyle};

use super::ast::{Node, NodeKind};
use super::diagnostic::Diagnostic;
use super::source::{FileId, Span, Style, Text};
use super::validate::MAX_FOUND;
use super::{scalar, syntax};

/// The largest file that is read.
pub const MAX_BYTES: u64 = 4 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// The most values in a file, which keep it within some 50 MiB of memory.
pub const MAX_NODES: usize = 250_000;
/// The most values that anchors and aliases may copy, in all.
pub const MAX_COPIES: usize = 10_000;

/// Up to so many keys, looking at each costs less than a table of them.
const SMALL_MAP: usize = 16;

/// What was read of a file, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Tree {
    /// None: the structure could not be read.
    pub root: Option<Node>,
    /// Places of values that stand for something already reported; nothing more is to be said about them.
    pub reported: HashSet<Span>,
    pub diagnostics: Vec<Diagnostic>,
}

/// The bytes of a file as text. A mistake comes with a readable copy, so that its line can be shown.
pub fn decode(file: FileId, bytes: Vec<u8>) -> Result<String, (String, Box<Diagnostic>)> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let diagnostic =
                Diagnostic::error("bad-encoding", span(file, at, at + 3), "the file is not valid UTF-8")
                    .label("this byte is not part of a character")
                    .help("save the file as UTF-8");
            return Err((text, diagnostic.into()));
        }
    };
    if let Some(at) = text.find('\0') {
        const SHOWN: char = char::REPLACEMENT_CHARACTER;
        let place = span(file, at, at + SHOWN.len_utf8());
        let diagnostic = Diagnostic::error("bad-encoding", place, "the file contains a NUL byte")
            .label("NUL byte here")
            .help("remove it: a playbook is plain text");
        return Err((text.replace('\0', SHOWN.encode_utf8(&mut [0; 4])), diagnostic.into()));
    }
    Ok(text)
}

/// Reads one YAML document. Never fails as a whole: what could not be read is in the diagnostics.
pub fn parse(file: FileId, text: &str) -> Tree {
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        // Above our own limit, so that the error is ours, but low enough to bound what the parser keeps.
        flow_nesting_limit: 2 * MAX_DEPTH,
        block_nesting_limit: 2 * MAX_DEPTH,
    };
    let mut builder = Builder {
        file,
        text,
        events: Parser::new_from_str_with_options(text, options),
        tag: None,
        open: Vec::new(),
        last_end: 0,
        depth: 0,
        nodes: 0,
        copies: 0,
        anchors: HashMap::new(),
        tree: Tree::default(),
    };
    match builder.document() {
        Ok(root) => builder.tree.root = root,
        Err(fatal) => {
            // The same mistake may have been noted just before it broke the structure.
            builder
                .tree
                .diagnostics
                .retain(|known| known.code != fatal.code || known.span.start != fatal.span.start);
            builder.tree.diagnostics.push(*fatal);
        }
    }
    builder.tree
}

pub(super) fn span(file: FileId, start: usize, end: usize) -> Span {
    let offset = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { file, start: offset(start), end: offset(end.max(start)) }
}

/// Boxed: the error is rare and large.
type Fatal = Box<Diagnostic>;

/// An event and the bytes it covers.
type Step<'t> = (Event<'t>, usize, usize);

struct Builder<'t> {
    file: FileId,
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The tag of the event in hand.
    tag: Option<Span>,
    /// Where the brackets that are open were typed.
    open: Vec<usize>,
    /// Where the last event with text ended.
    last_end: usize,
    depth: usize,
    nodes: usize,
    copies: usize,
    /// None: named, but not yet complete, or too large to copy.
    anchors: HashMap<usize, (Node, usize)>,
    tree: Tree,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Option<Node>, Fatal> {
        let mut root = None;
        let mut documents = 0;
        loop {
            let (event, start, end) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Diagnostic::error(
                            "many-documents",
                            self.span(start, end),
                            "more than one YAML document in a file",
                        )
                        .label("a second document begins here")
                        .help("put each playbook in its own file and remove the `---`")
                        .into());
                    }
                }
                other => root = Some(self.node((other, start, end))?),
            }
        }
    }

    fn next(&mut self) -> Result<Step<'t>, Fatal> {
        match self.events.next() {
            Some(Ok((event, at))) => {
                let start = at.start.byte_offset().unwrap_or(self.last_end);
                self.tag = at
                    .tag_span()
                    .and_then(|tag| Some(self.span(tag.start.byte_offset()?, tag.end.byte_offset()?)));
                Ok((event, start, at.end.byte_offset().unwrap_or(start)))
            }
            Some(Err(error)) => Err(self.syntax_error(&error)),
            None => Ok((Event::StreamEnd, self.text.len(), self.text.len())),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Fatal {
        let at = error.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        if matches!(error.kind(), granit_parser::ErrorKind::RecursionLimitExceeded) {
            return self.too_deep(at);
        }
        Box::new(syntax::explain(self.file, self.text, self.last_end..at, self.open.last().copied(), error))
    }

    fn too_deep(&self, at: usize) -> Fatal {
        Diagnostic::error("too-deep", self.span(at, at + 1), format!("nested deeper than {MAX_DEPTH} levels"))
            .label("this level is one too many")
            .into()
    }

    fn span(&self, start: usize, end: usize) -> Span {
        span(self.file, start, end)
    }

    /// Counts one more value.
    fn count(&mut self, at: usize) -> Result<(), Fatal> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::error(
                "too-many-values",
                self.span(at, at + 1),
                format!("more than {MAX_NODES} values in one file"),
            )
            .label("the limit is reached here")
            .help("split the playbook: a step `playbook: { name: ... }` includes another one")
            .into());
        }
        Ok(())
    }

    fn node(&mut self, (event, start, end): Step<'t>) -> Result<Node, Fatal> {
        self.count(start)?;
        let first = self.nodes;
        let tag_place = self.tag.take();
        let (node, anchor, tagged) = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let text = self.text_of(value.into_owned(), style, start, end);
                (self.scalar(text), anchor, tag.is_some())
            }
            Event::SequenceStart(style, anchor, tag) => {
                (self.list(style, start, end)?, anchor, tag.is_some())
            }
            Event::MappingStart(style, anchor, tag) => (self.map(style, start, end)?, anchor, tag.is_some()),
            Event::Alias(id) => return self.alias(id, start, end),
            // No other event stands in a node's place.
            _ => (Node { span: self.span(start, end), kind: NodeKind::Null }, 0, false),
        };
        if tagged {
            self.push(
                Diagnostic::error(
                    "yaml-tag",
                    tag_place.unwrap_or(node.span),
                    "YAML tags (`!...`) are not supported",
                )
                .label("`!` begins a tag")
                .help("remove the tag, or put quotes around the whole value if `!` is part of it"),
            );
            self.tree.reported.insert(node.span);
        }
        if anchor != 0 {
            let size = self.nodes - first + 1;
            self.copy(size, start)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    /// Counts values that an anchor or an alias copies.
    fn copy(&mut self, size: usize, at: usize) -> Result<(), Fatal> {
        self.copies += size;
        if self.copies > MAX_COPIES {
            return Err(Diagnostic::error(
                "too-many-aliases",
                self.span(at, at + 1),
                format!("anchors and aliases copy more than {MAX_COPIES} values"),
            )
            .label("the limit is reached here")
            .help("write the values out, or make them a param")
            .into());
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, start: usize, end: usize) -> Result<Node, Fatal> {
        self.last_end = end;
        let Some((_, size)) = self.anchors.get(&id) else {
            return Err(Diagnostic::error(
                "alias-loop",
                self.span(start, end),
                "an alias stands inside the value it names",
            )
            .label("this would never end")
            .into());
        };
        let size = *size;
        self.copy(size, start)?;
        // What is copied counts as typed here, so that an anchor around it knows its own size.
        self.nodes += size;
        Ok(self.anchors[&id].0.clone())
    }

    fn list(&mut self, style: StructureStyle, start: usize, end: usize) -> Result<Node, Fatal> {
        self.enter(style, start, end)?;
        let mut items = Vec::new();
        loop {
            let step = self.next()?;
            if matches!(step.0, Event::SequenceEnd) {
                let end = self.leave(&step);
                return Ok(Node { span: self.span(start, end), kind: NodeKind::List(items) });
            }
            items.push(self.node(step)?);
        }
    }

    fn enter(&mut self, style: StructureStyle, start: usize, end: usize) -> Result<(), Fatal> {
        self.depth += 1;
        if style == StructureStyle::Flow {
            self.open.push(start);
        }
        self.last_end = end;
        if self.depth > MAX_DEPTH { Err(self.too_deep(start)) } else { Ok(()) }
    }

    /// The end of a collection: its bracket, or the end of its last value.
    fn leave(&mut self, step: &Step<'t>) -> usize {
        self.depth -= 1;
        if step.2 > step.1 {
            // Only a bracket has a width.
            self.open.pop();
            self.last_end = step.2;
        }
        self.last_end
    }

    fn map(&mut self, style: StructureStyle, start: usize, end: usize) -> Result<Node, Fatal> {
        self.enter(style, start, end)?;
        let braces = style == StructureStyle::Flow && self.text[start..].starts_with("{{");
        let mut entries: Vec<(Text, Node)> = Vec::new();
        // Of a map that has grown large.
        let mut seen: HashMap<String, Span> = HashMap::new();
        loop {
            let step = self.next()?;
            if matches!(step.0, Event::MappingEnd) {
                let end = self.leave(&step);
                let span = self.span(start, end);
                if braces {
                    self.unquoted_template(span);
                    return Ok(Node { span, kind: NodeKind::Null });
                }
                return Ok(Node { span, kind: NodeKind::Map(entries) });
            }
            let key = if braces { self.skip(step)? } else { self.key(step)? };
            let value = self.next()?;
            let value = self.node(value)?;
            let Some(key) = key else { continue };
            let earlier = if entries.len() < SMALL_MAP {
                entries.iter().find(|(known, _)| known.value == key.value).map(|(known, _)| known.span)
            } else {
                if seen.is_empty() {
                    seen.extend(entries.iter().map(|(known, _)| (known.value.clone(), known.span)));
                }
                seen.get(&key.value).copied()
            };
            if let Some(earlier) = earlier {
                self.push(
                    Diagnostic::error(
                        "duplicate-key",
                        key.span,
                        format!("the key `{}` is there twice", key.value),
                    )
                    .label("again here")
                    .related(earlier, "first here")
                    .help("keep one of the two"),
                );
                continue;
            }
            if !seen.is_empty() {
                seen.insert(key.value.clone(), key.span);
            }
            entries.push((key, value));
        }
    }

    /// Reads a value and forgets it.
    fn skip(&mut self, step: Step<'t>) -> Result<Option<Text>, Fatal> {
        let known = self.tree.diagnostics.len();
        self.node(step)?;
        self.tree.diagnostics.truncate(known);
        Ok(None)
    }

    fn unquoted_template(&mut self, span: Span) {
        let raw = self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
        let shown: String = raw.chars().take(60).collect();
        self.push(syntax::unquoted(span, (raw.len() == shown.len()).then_some(shown.as_str())));
        self.tree.reported.insert(span);
    }

    /// A key, or None if it was reported and its value is to be left out.
    fn key(&mut self, step: Step<'t>) -> Result<Option<Text>, Fatal> {
        let (event, start, end) = step;
        match event {
            Event::Scalar(value, style, anchor, tag) => {
                self.count(start)?;
                let text = self.text_of(value.into_owned(), style, start, end);
                let at = text.span;
                if anchor != 0 || tag.is_some() {
                    self.report("bad-key", at, "a key has no anchor and no tag", "write the key alone");
                } else if style == ScalarStyle::Plain && text.value == "<<" {
                    self.report(
                        "merge-key",
                        at,
                        "merge keys (`<<`) are not supported",
                        "write the keys out, or give the whole value an anchor and use it as `key: *name`",
                    );
                } else if style == ScalarStyle::Plain
                    && !matches!(scalar::resolve(&text.value), Ok(scalar::Plain::Text))
                {
                    let help = format!("put quotes around it: \"{}\"", &self.text[start..end]);
                    self.report("bad-key", at, "a key must be text", &help);
                } else {
                    return Ok(Some(text));
                }
                Ok(None)
            }
            other => {
                let template = self.text[start..].starts_with("{{") || self.text[start..].starts_with("{ {");
                let known = self.tree.diagnostics.len();
                let node = self.node((other, start, end))?;
                if !template {
                    self.tree.diagnostics.truncate(known);
                    self.report(
                        "bad-key",
                        self.line_start_of(node.span),
                        "a key must be text",
                        "write a name before the `:`",
                    );
                }
                Ok(None)
            }
        }
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if self.tree.diagnostics.len() < MAX_FOUND {
            self.tree.diagnostics.push(diagnostic);
        }
    }

    fn report(&mut self, code: &'static str, span: Span, message: &str, help: &str) {
        self.push(Diagnostic::error(code, span, message).help(help));
    }

    fn text_of(&mut self, value: String, style: ScalarStyle, start: usize, end: usize) -> Text {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let (mut start, mut end) = (start, end);
        if matches!(style, Style::Literal | Style::Folded) {
            // The event covers the content only: take the header in, leave the last line break out.
            let between = self.text.get(self.last_end..start).unwrap_or_default();
            start = between.find(['|', '>']).map_or(start, |at| self.last_end + at);
            end = start + self.text[start..end.max(start)].trim_end().len();
        }
        // An empty plain scalar stands where the next token is; show it behind the last one.
        if start == end && value == "~" {
            start = start.min(self.last_end + 1).min(self.text.len());
            end = start;
        } else {
            self.last_end = end;
        }
        Text { value, span: self.span(start, end), style }
    }

    fn scalar(&mut self, text: Text) -> Node {
        let span = text.span;
        if text.style != Style::Plain {
            return Node { span, kind: NodeKind::Text(text) };
        }
        let kind = match scalar::resolve(&text.value) {
            Ok(scalar::Plain::Null) => NodeKind::Null,
            Ok(scalar::Plain::Bool(b)) => NodeKind::Bool(b),
            Ok(scalar::Plain::Int(n)) => NodeKind::Int(n),
            Ok(scalar::Plain::Float(n)) => NodeKind::Float(n),
            Ok(scalar::Plain::Text) => NodeKind::Text(text),
            Err(why) => {
                let help = format!("write it as text, \"{}\", or as a plain number", text.value);
                self.report("bad-number", span, why, &help);
                self.tree.reported.insert(span);
                NodeKind::Null
            }
        };
        Node { span, kind }
    }

    /// The part of a span on its first line.
    fn line_start_of(&self, at: Span) -> Span {
        let raw = self.text.get(at.start as usize..at.end as usize).unwrap_or_default();
        let line = raw.lines().next().unwrap_or_default().trim_end();
        self.span(at.start as usize, at.start as usize + line.len())
    }
}
