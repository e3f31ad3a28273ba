//! Positions in source files.

use std::path::PathBuf;

/// A file among the loaded ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileId(pub u16);

/// A range of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    pub file: FileId,
    pub start: u32,
    pub end: u32,
}

/// The loaded files, for showing lines in diagnostics.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    pub files: Vec<SourceFile>,
}

#[derive(Debug, Clone)]
pub struct SourceFile {
    /// As the person would type it.
    pub path: PathBuf,
    pub text: String,
}

/// A value and where it was typed.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

/// How a string was written; needed to point into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

/// A string as typed; perhaps a template or an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub value: String,
    /// The whole scalar in the file, quotes or block header included.
    pub span: Span,
    pub style: Style,
}

impl SourceMap {
    /// Adds a file; its id is its place in `files`.
    pub fn add(&mut self, path: PathBuf, text: String) -> FileId {
        // A run never loads more files than `load` allows, far below the limit of the id.
        let id = FileId(u16::try_from(self.files.len()).unwrap_or(u16::MAX));
        self.files.push(SourceFile { path, text });
        id
    }

    pub fn get(&self, file: FileId) -> Option<&SourceFile> {
        self.files.get(usize::from(file.0))
    }

    /// The text that a span covers; empty if it lies outside of the file.
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.file)
            .and_then(|f| f.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }
}

/// Where the lines of a text begin.
#[derive(Debug, Clone)]
pub struct LineIndex<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> LineIndex<'t> {
    pub fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let offset = floor_boundary(self.text, offset as usize);
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = self.text[self.starts[line]..offset].trim_start_matches('\u{feff}');
        (line + 1, before.chars().count() + 1)
    }

    /// A line (from 1) without its line break, and the byte where it begins.
    pub fn line(&self, line: usize) -> (usize, &'t str) {
        let start = self.starts.get(line - 1).copied().unwrap_or(self.text.len());
        let end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let text = &self.text[start..end.max(start)];
        (start, text.strip_suffix('\r').unwrap_or(text))
    }
}

/// The nearest character boundary at or before `at`.
pub(super) fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
