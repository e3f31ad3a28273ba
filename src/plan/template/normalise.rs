//! Rewriting a source into what MiniJinja reads, with a way back to the source as typed.
//!
//! `steps.stop-app` would be a subtraction; it becomes `steps["stop-app"]`. The same for `groups.web-eu` and
//! `run.phases.restore-data`.

use std::ops::Range;

use super::environment::is_reserved;
use super::{Place, TemplateError};

/// A rewritten source.
pub(super) struct Normalised {
    pub text: String,
    /// Each rewritten stretch: in the source, in `text`. In order.
    edits: Vec<(Range<usize>, Range<usize>)>,
}

impl Normalised {
    /// The range of the source as typed for a range of `text`. It cuts no character, which MiniJinja's ranges of what it
    /// cannot read may do, and lies inside.
    pub fn to_source(&self, range: Range<usize>) -> Range<usize> {
        let start = self.offset(self.text.floor_char_boundary(range.start), false);
        start..self.offset(self.text.ceil_char_boundary(range.end), true).max(start)
    }

    fn offset(&self, at: usize, is_end: bool) -> usize {
        let mut shift = (0, 0);
        for (source, text) in &self.edits {
            if at <= text.start {
                break;
            }
            if at < text.end {
                return if is_end { source.end } else { source.start };
            }
            shift = (source.end, text.end);
        }
        shift.0 + (at - shift.1)
    }
}

/// Rewrites `source`, or says what in it cannot be read.
pub(super) fn normalise(source: &str, place: Place) -> Result<Normalised, TemplateError> {
    if let Some((at, c)) = source.char_indices().find(|(_, c)| is_reserved(*c) || *c == '\0') {
        let what =
            if c == '\0' { "a NUL character".to_owned() } else { format!("the reserved character {c:?}") };
        return Err(TemplateError::new(
            format!("{what} cannot stand in a text"),
            Some(at..at + c.len_utf8()),
        ));
    }
    let mut out = Normalised { text: String::with_capacity(source.len()), edits: Vec::new() };
    if place == Place::Expression {
        code(source, 0..source.len(), &mut out);
        return Ok(out);
    }
    let mut at = 0;
    while let Some(open) = source[at..].find('{').map(|i| at + i) {
        let rest = &source[open..];
        if rest.starts_with("{#") && !source[..open].ends_with('$') {
            return Err(TemplateError {
                message: "`{#` begins no comment here".into(),
                range: Some(open..open + 2),
                help: Some("use the YAML comment `#`; to write it literally: {{ '{#' }}".into()),
            });
        }
        let close = match rest.as_bytes().get(1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                out.text.push_str(&source[at..=open]);
                at = open + 1;
                continue;
            }
        };
        out.text.push_str(&source[at..open]);
        let end = if is_raw_block(rest) { raw_end(source, open) } else { code_end(source, open + 2, close) };
        if is_raw_block(rest) {
            out.text.push_str(&source[open..end]);
        } else {
            code(source, open..end, &mut out);
        }
        at = end;
    }
    out.text.push_str(&source[at..]);
    Ok(out)
}

fn is_raw_block(rest: &str) -> bool {
    let Some(tag) = rest.strip_prefix("{%") else { return false };
    let tag = tag.trim_start_matches(['-', '+']).trim_start();
    tag.strip_prefix("raw").is_some_and(|t| t.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
}

/// Just after the `{% endraw %}` of the raw block at `open`, or the end of the source.
fn raw_end(source: &str, open: usize) -> usize {
    let mut at = open + 2;
    while let Some(i) = source[at..].find("{%").map(|i| at + i) {
        let tag = source[i + 2..].trim_start_matches(['-', '+']).trim_start();
        if tag.starts_with("endraw") {
            return source[i..].find("%}").map_or(source.len(), |j| i + j + 2);
        }
        at = i + 2;
    }
    source.len()
}

/// Just after the `close` that ends the code beginning at `at`; brackets and string literals are stepped over, as
/// MiniJinja does it.
fn code_end(source: &str, at: usize, close: &str) -> usize {
    let bytes = source.as_bytes();
    let mut depth = 0_i32;
    let mut i = at;
    while i < bytes.len() {
        match bytes[i] {
            quote @ (b'\'' | b'"') => i = string_end(bytes, i, quote),
            _ if depth == 0 && source.as_bytes()[i..].starts_with(close.as_bytes()) => return i + 2,
            b => {
                depth += i32::from(b"([{".contains(&b)) - i32::from(b")]}".contains(&b));
                i += 1;
            }
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut i = open + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b if b == quote => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

/// Copies code, rewriting the ids of steps and the names of groups that MiniJinja cannot read as names.
fn code(source: &str, range: Range<usize>, out: &mut Normalised) {
    const ROOTS: [&[u8]; 3] = [b"steps.", b"groups.", b"run.phases."];
    let bytes = source.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let (mut i, mut copied) = (range.start, range.start);
    while i < range.end {
        let b = bytes[i];
        if b == b'\'' || b == b'"' {
            i = string_end(bytes, i, b).min(range.end);
            continue;
        }
        let root = ROOTS.iter().find(|root| bytes[i..range.end].starts_with(root)).filter(|_| {
            !source[..i].bytes().last().is_some_and(word)
                && !source[range.start..i].trim_end().ends_with(['.', '|'])
        });
        let Some(root) = root else {
            i += 1;
            continue;
        };
        let start = i + root.len();
        let mut end = start;
        while end < range.end && (word(bytes[end]) || bytes[end] == b'-') {
            end += 1;
        }
        // The minus of `-}}` belongs to the braces.
        while end > start && bytes[end - 1] == b'-' {
            end -= 1;
        }
        let name = &source[start..end];
        i = end.max(start);
        if name.contains('-') || name.starts_with(|c: char| c.is_ascii_digit()) {
            out.text.push_str(&source[copied..start - 1]);
            let from = out.text.len();
            out.text.push_str("[\"");
            out.text.push_str(name);
            out.text.push_str("\"]");
            out.edits.push((start - 1..end, from..out.text.len()));
            copied = end;
        }
    }
    out.text.push_str(&source[copied..range.end]);
}
