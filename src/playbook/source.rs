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
