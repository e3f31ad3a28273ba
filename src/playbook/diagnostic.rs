//! What is wrong with a playbook, for the person who typed it.

use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::source::{FileId, LineIndex, SourceMap, Span, floor_boundary};
use crate::model::is_hidden;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake: where, what, and how to mend it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A stable name in kebab-case, such as `unknown-key`.
    pub code: &'static str,
    /// One short sentence in lower case without a full stop.
    pub message: String,
    pub span: Span,
    /// Stands at the caret.
    pub label: String,
    /// Further places that explain the mistake.
    pub related: Vec<(Span, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn related(mut self, span: Span, note: impl Into<String>) -> Self {
        self.related.push((span, note.into()));
        self
    }
}

/// How diagnostics are shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub colour: bool,
    /// Columns of the terminal; long lines are trimmed to it.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self { colour: false, width: 100 }
    }
}

/// The most that are shown to people; tools get them all.
const MAX_SHOWN: usize = 100;

/// Places further apart than this many lines are shown apart.
const MAX_LINES: usize = 200;

/// The longest line that is given to the renderer, in characters. Longer ones are cut around the place.
const MAX_LINE: usize = 400;

/// The diagnostics in the order of their places, each with its line, and a closing line such as
/// `3 errors, 1 warning in playbooks/x.yaml`. Empty if there are none.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, look: Look) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (d.span, d.severity, d.code));
    let lines: Vec<LineIndex<'_>> = sources.files.iter().map(|f| LineIndex::new(&f.text)).collect();
    let renderer = if look.colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(look.width.max(40));
    let mut out = String::new();
    for diagnostic in sorted.iter().take(MAX_SHOWN) {
        out.push_str(&render_one(diagnostic, sources, &lines, &renderer));
        out.push_str("\n\n");
    }
    if sorted.len() > MAX_SHOWN {
        let _ = writeln!(out, "... and {} more\n", sorted.len() - MAX_SHOWN);
    }
    let _ = writeln!(out, "{}", summary(&sorted, sources));
    out
}

/// `3 errors, 1 warning in playbooks/x.yaml`
fn summary(diagnostics: &[&Diagnostic], sources: &SourceMap) -> String {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let words: Vec<String> = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}{}", if n == 1 { "" } else { "s" }))
        .collect();
    let mut files: Vec<String> = Vec::new();
    for diagnostic in diagnostics {
        let path = sources
            .get(diagnostic.span.file)
            .map(|f| printable(&f.path.display().to_string()))
            .unwrap_or_default();
        if !files.contains(&path) {
            files.push(path);
        }
    }
    format!("{} in {}", words.join(", "), files.join(", "))
}

fn render_one(
    diagnostic: &Diagnostic,
    sources: &SourceMap,
    lines: &[LineIndex<'_>],
    renderer: &Renderer,
) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        Group::with_title(level.primary_title(printable(&diagnostic.message)).id(diagnostic.code));
    for piece in pieces(diagnostic, lines) {
        let path =
            sources.get(piece.file).map(|f| printable(&f.path.display().to_string())).unwrap_or_default();
        let mut snippet = Snippet::source(piece.text).line_start(piece.first_line);
        if piece.cut {
            // A snippet would count its columns from the cut.
            group = group.element(Origin::path(path).line(piece.line).char_column(piece.column));
        } else {
            snippet = snippet.path(path);
        }
        for mark in piece.marks {
            let kind = if mark.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(mark.range);
            snippet = snippet.annotation(if mark.label.is_empty() {
                annotation
            } else {
                annotation.label(printable(mark.label))
            });
        }
        group = group.element(snippet);
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    renderer.render(&[group])
}

/// Lines of a file, and what is marked on them.
struct Piece<'d> {
    file: FileId,
    /// The line and column of the first mark.
    line: usize,
    column: usize,
    first_line: usize,
    text: String,
    /// The text is a part of a long line.
    cut: bool,
    marks: Vec<Mark<'d>>,
}

struct Mark<'d> {
    range: Range<usize>,
    primary: bool,
    label: &'d str,
}

/// The lines to show: the place itself first. Marks that are near each other stand in one piece.
fn pieces<'d>(diagnostic: &'d Diagnostic, lines: &[LineIndex<'_>]) -> Vec<Piece<'d>> {
    let related = diagnostic.related.iter().map(|(span, note)| (*span, note.as_str(), false));
    let marks: Vec<_> =
        std::iter::once((diagnostic.span, diagnostic.label.as_str(), true)).chain(related).collect();
    let file = diagnostic.span.file;
    if let Some(index) = lines.get(usize::from(file.0))
        && marks.iter().all(|(span, ..)| span.file == file)
    {
        let at = |span: Span| index.position(span.start).0;
        let first = marks.iter().map(|(span, ..)| at(*span)).min().unwrap_or(1);
        let last = marks.iter().map(|(span, ..)| at(*span)).max().unwrap_or(1);
        if last - first <= MAX_LINES && (first..=last).all(|n| index.line(n).1.len() <= MAX_LINE) {
            return vec![one_piece(file, index, first..=last, &marks)];
        }
    }
    marks
        .iter()
        .filter_map(|(span, label, primary)| {
            let index = lines.get(usize::from(span.file.0))?;
            Some(cut_piece(index, *span, label, *primary))
        })
        .collect()
}

/// Whole lines.
fn one_piece<'d>(
    file: FileId,
    index: &LineIndex<'_>,
    lines: RangeInclusive<usize>,
    marks: &[(Span, &'d str, bool)],
) -> Piece<'d> {
    let (line, column) = marks.first().map_or((1, 1), |(span, ..)| index.position(span.start));
    let first_line = *lines.start();
    let mut text = String::new();
    let mut placed = Vec::new();
    for number in lines {
        let (start, line) = index.line(number);
        for (span, label, primary) in marks.iter().filter(|(span, ..)| index.position(span.start).0 == number)
        {
            let range = shown_range(line, within(line, start, *span));
            placed.push(Mark {
                range: text.len() + range.start..text.len() + range.end,
                primary: *primary,
                label,
            });
        }
        text.push_str(&shown(line));
        text.push('\n');
    }
    Piece { file, line, column, first_line, text, cut: false, marks: placed }
}

/// One line, perhaps only a part of it.
fn cut_piece<'d>(index: &LineIndex<'_>, span: Span, label: &'d str, primary: bool) -> Piece<'d> {
    let (line, column) = index.position(span.start);
    let (start, text) = index.line(line);
    let mark = within(text, start, span);
    let part = cut(text, mark.clone());
    let range =
        shown_range(&text[part.clone()], mark.start - part.start..mark.end.min(part.end) - part.start);
    let cut = part.len() < text.len();
    let text = shown(&text[part]);
    Piece {
        file: span.file,
        line,
        column,
        first_line: line,
        text,
        cut,
        marks: vec![Mark { range, primary, label }],
    }
}

/// The part of a span that lies on a line, as a range of the line.
fn within(line: &str, start: usize, span: Span) -> Range<usize> {
    let from = floor_boundary(line, (span.start as usize).saturating_sub(start));
    let to = floor_boundary(line, (span.end as usize).saturating_sub(start)).max(from);
    from..to
}

/// The part of a long line that is shown: what is marked, with some text before and behind it.
fn cut(line: &str, mark: Range<usize>) -> Range<usize> {
    if line.len() <= MAX_LINE {
        return 0..line.len();
    }
    let start = floor_boundary(line, mark.start.saturating_sub(MAX_LINE / 4));
    let end = floor_boundary(line, start + MAX_LINE);
    start..end
}

/// A line as it is shown: no character that changes the terminal.
fn shown(line: &str) -> String {
    line.chars().map(shown_char).collect()
}

/// What is invisible, moves the cursor or turns the direction of writing becomes a visible stand-in of one column.
fn shown_char(c: char) -> char {
    if c != '\t' && is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// A range of `line` as a range of its shown form.
fn shown_range(line: &str, range: Range<usize>) -> Range<usize> {
    let width = |text: &str| text.chars().map(|c| shown_char(c).len_utf8()).sum::<usize>();
    width(&line[..range.start])..width(&line[..range.end])
}

/// A message without what could change the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { shown_char(c) }).collect()
}

/// For tools: an array with all diagnostics in the order of their places. Lines and columns count from 1, columns in
/// characters; `end` is exclusive.
pub fn to_json(diagnostics: &[Diagnostic], sources: &SourceMap) -> serde_json::Value {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (d.span, d.severity, d.code));
    let lines: Vec<LineIndex<'_>> = sources.files.iter().map(|f| LineIndex::new(&f.text)).collect();
    let place = |span: Span| {
        let (start, end) = lines
            .get(usize::from(span.file.0))
            .map_or(((1, 1), (1, 1)), |index| (index.position(span.start), index.position(span.end)));
        let file = sources.get(span.file).map(|f| f.path.display().to_string()).unwrap_or_default();
        serde_json::json!({
            "file": file,
            "line": start.0,
            "column": start.1,
            "end": { "line": end.0, "column": end.1 },
        })
    };
    sorted
        .into_iter()
        .map(|d| {
            let mut value = place(d.span);
            value["code"] = d.code.into();
            value["severity"] = match d.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            }
            .into();
            value["message"] = d.message.as_str().into();
            value["label"] = d.label.as_str().into();
            value["help"] = d.help.as_deref().into();
            value["related"] = d
                .related
                .iter()
                .map(|(span, note)| {
                    let mut value = place(*span);
                    value["message"] = note.as_str().into();
                    value
                })
                .collect();
            value
        })
        .collect()
}
