//! From a place in a decoded string back to the place in the file where it was typed.

use std::ops::Range;

use super::source::{SourceMap, Span, Style, Text, floor_boundary};

impl Text {
    /// Where `range` (bytes of the decoded value) stands in the file. Exact wherever the notation allows it; else the
    /// whole scalar.
    pub fn locate(&self, source: &SourceMap, range: Range<usize>) -> Span {
        let raw = source.slice(self.span);
        let start = floor_boundary(&self.value, range.start);
        let end = floor_boundary(&self.value, range.end).max(start);
        let place = match self.style {
            Style::Literal => literal(&self.value, raw),
            Style::Folded => folded(&self.value, raw),
            Style::Plain => aligned(&self.value, raw, self.style),
            Style::SingleQuoted | Style::DoubleQuoted => raw
                .get(1..raw.len().saturating_sub(1))
                .and_then(|inner| aligned(&self.value, inner, self.style))
                .map(|map| map.into_iter().map(|at| at + 1).collect()),
        };
        let Some(map) = place else { return self.span };
        // The end is where the last character ends, not where the next one begins: a line break may lie between.
        let from = map[start];
        let to = if end > start {
            let last = floor_boundary(&self.value, end - 1);
            let first_of_last = map[last];
            let width = raw[first_of_last..].chars().next().map_or(0, char::len_utf8);
            if map[end] > first_of_last && raw[first_of_last..map[end]].contains(['\n', '\r']) {
                first_of_last + width
            } else {
                map[end]
            }
        } else {
            from
        };
        let base = self.span.start as usize;
        super::yaml::span(self.span.file, base + from, base + to.max(from))
    }
}

/// For each byte of the value (and its end) the byte of the raw text where it was typed. None: they do not agree.
type Map = Option<Vec<usize>>;

/// A `|` block: each line of the value stands in its own line of the file, behind the same indentation.
fn literal(value: &str, raw: &str) -> Map {
    let (header, content) = raw.split_once('\n')?;
    let content_start = header.len() + 1;
    let first = value.split('\n').find(|line| !line.trim().is_empty())?;
    let first_raw =
        content.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).find(|l| !l.trim().is_empty())?;
    // By the blanks in front: those at the end of the last line are not part of the span.
    let leading = |line: &str| line.len() - line.trim_start().len();
    let indent = leading(first_raw).checked_sub(leading(first))?;
    let mut map = Vec::with_capacity(value.len() + 1);
    let mut at = content_start;
    let mut lines = content.split('\n');
    for (number, line) in value.split('\n').enumerate() {
        if number > 0 {
            // The line break itself.
            map.push(at.saturating_sub(1).min(raw.len()));
        }
        let Some(typed) = lines.next() else {
            // Behind the last line: only the breaks that end the value are left.
            map.extend(std::iter::repeat_n(raw.len(), line.len()));
            continue;
        };
        let text = typed.strip_suffix('\r').unwrap_or(typed);
        let skip = indent.min(text.len());
        if text.get(skip..).is_none_or(|rest| !rest.starts_with(line) && !line.starts_with(rest)) {
            return None;
        }
        map.extend((0..line.len()).map(|i| (at + skip + i).min(raw.len())));
        at += typed.len() + 1;
    }
    map.push(at.saturating_sub(1).min(raw.len()));
    Some(map)
}

/// A `>` block, as far as it holds plain paragraphs.
fn folded(value: &str, raw: &str) -> Map {
    let (header, content) = raw.split_once('\n')?;
    let skip = content.len() - content.trim_start().len();
    let base = header.len() + 1 + skip;
    let mut map = aligned(value.trim_end_matches('\n'), &content[skip..], Style::Plain)?;
    for at in &mut map {
        *at += base;
    }
    map.resize(value.len() + 1, raw.len());
    Some(map)
}

/// Walks the value and the raw text side by side: line breaks are folded, escapes count as what they stand for.
fn aligned(value: &str, raw: &str, style: Style) -> Map {
    let mut map = Vec::with_capacity(value.len() + 1);
    let mut at = 0;
    let mut rest = value;
    while !rest.is_empty() {
        let typed = &raw[at..];
        let blank = typed.len() - typed.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let breaks = typed[..blank].matches('\n').count();
        let (decoded, width) = if breaks > 0 {
            let folded = if breaks == 1 { " ".to_owned() } else { "\n".repeat(breaks - 1) };
            (folded, blank)
        } else if style == Style::SingleQuoted && typed.starts_with("''") {
            ("'".to_owned(), 2)
        } else if style == Style::DoubleQuoted && typed.starts_with('\\') {
            escape(typed)?
        } else {
            let c = typed.chars().next()?;
            (c.to_string(), c.len_utf8())
        };
        rest = rest.strip_prefix(decoded.as_str())?;
        map.extend(std::iter::repeat_n(at, decoded.len()));
        at += width;
    }
    map.push(at);
    Some(map)
}

/// An escape at the beginning of `typed`: what it stands for, and its width.
fn escape(typed: &str) -> Option<(String, usize)> {
    let kind = typed[1..].chars().next()?;
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        '\n' | '\r' => {
            let skip = typed[1..].len() - typed[1..].trim_start_matches([' ', '\t', '\r', '\n']).len();
            return Some((String::new(), 1 + skip));
        }
        _ => {
            let c = match kind {
                '0' => '\0',
                'a' => '\x07',
                'b' => '\x08',
                't' | '\t' => '\t',
                'n' => '\n',
                'v' => '\x0b',
                'f' => '\x0c',
                'r' => '\r',
                'e' => '\x1b',
                'N' => '\u{85}',
                '_' => '\u{a0}',
                'L' => '\u{2028}',
                'P' => '\u{2029}',
                other => other,
            };
            return Some((c.to_string(), 1 + kind.len_utf8()));
        }
    };
    let code = u32::from_str_radix(typed.get(2..2 + digits)?, 16).ok()?;
    // A surrogate pair does not come through here: the caller then falls back to the whole scalar.
    Some((char::from_u32(code)?.to_string(), 2 + digits))
}
