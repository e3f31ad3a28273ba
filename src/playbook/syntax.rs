//! What the YAML parser's errors mean to the person who typed the file.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use super::diagnostic::Diagnostic;
use super::source::{FileId, Span};
use super::yaml::span;

/// The mistake behind an error of the parser. `place` goes from the end of the last thing that was understood to where
/// the parser stopped; `open` is the innermost bracket that is not closed.
pub(super) fn explain(
    file: FileId,
    text: &str,
    place: Range<usize>,
    open: Option<usize>,
    error: &ScanError,
) -> Diagnostic {
    let at = place.end;
    if let Some(tab) = indenting_tab(text, at) {
        return Diagnostic::error("tab", span(file, tab, tab + 1), "a tab indents this line")
            .label("tab here")
            .help("YAML is indented with spaces only: replace each tab by spaces");
    }
    if let Some(found) = unquoted_braces(file, text, at) {
        return found;
    }
    if let Some(open) = open
        && text[open..at.max(open)].contains('\n')
    {
        let bracket = &text[open..open + 1];
        return Diagnostic::error(
            "yaml",
            span(file, open, open + 1),
            format!("this `{bracket}` is not closed"),
        )
        .label("opened here")
        .related(span(file, at, at), "this cannot stand inside of it")
        .help("add the closing bracket");
    }
    let at = better_place(text, place, error);
    let (message, label, help) = words(error);
    let width = text[at..].chars().next().filter(|c| *c != '\n' && *c != '\r').map_or(0, char::len_utf8);
    let mut diagnostic = Diagnostic::error("yaml", span(file, at, at + width), message).label(label);
    if !help.is_empty() {
        diagnostic = diagnostic.help(help);
    }
    diagnostic
}

/// Where the person made the mistake, if the parser saw it only later, or reports the beginning of the value.
fn better_place(text: &str, place: Range<usize>, error: &ScanError) -> usize {
    let at = place.end;
    match error.kind() {
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => text
            .get(place.clone())
            .and_then(|skipped| skipped.find(['"', '\'']))
            .map_or(at, |n| place.start + n),
        ErrorKind::UnknownQuotedScalarEscape => {
            let mut rest = text[at..].char_indices();
            while let Some((n, c)) = rest.next() {
                if c == '\\'
                    && rest.next().is_none_or(|(_, kind)| !"0abt\tnvfre \"/\\N_LPxuU\n\r".contains(kind))
                {
                    return at + n;
                }
            }
            at
        }
        _ => at,
    }
}

/// `key: {{ x }}`: YAML takes the braces for a map.
pub(super) fn unquoted(at: Span, raw: Option<&str>) -> Diagnostic {
    let help = match raw {
        Some(raw) if !raw.contains(['"', '\n', '\\']) => format!("put quotes around it: \"{raw}\""),
        Some(raw) if !raw.contains(['\'', '\n']) => format!("put quotes around it: '{raw}'"),
        _ => "put quotes around the whole value, or write it as a block below `|`".to_owned(),
    };
    Diagnostic::error("unquoted-template", at, "a value that begins with `{{` needs quotes")
        .label("YAML reads these braces as a map")
        .help(help)
}

/// The lines around `at` (its own, the next, the one before), each with the offset of its beginning.
fn lines_around(text: &str, at: usize) -> [Option<(usize, &str)>; 3] {
    let line_at = |start: usize| text[start..].split('\n').next().map(|line| (start, line));
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let own = line_at(start);
    let next = own.and_then(|(_, line)| (start + line.len() < text.len()).then_some(start + line.len() + 1));
    let before = start.checked_sub(1).map(|end| text[..end].rfind('\n').map_or(0, |n| n + 1));
    [own, next.and_then(line_at), before.and_then(line_at)]
}

/// A tab in the white space that begins a line near `at`. The parser may stop one line early or late.
fn indenting_tab(text: &str, at: usize) -> Option<usize> {
    lines_around(text, at).into_iter().flatten().find_map(|(start, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        (indent.len() < line.len()).then(|| indent.find('\t').map(|tab| start + tab)).flatten()
    })
}

/// `{{` outside of quotes on the line of the error where it cannot be text: at the beginning of a value, or anywhere
/// in a value inside `{ }` or `[ ]`.
fn unquoted_braces(file: FileId, text: &str, at: usize) -> Option<Diagnostic> {
    let (start, line) = lines_around(text, at)[0]?;
    let mut quote = None;
    let mut flow = false;
    let mut value_start = 0;
    let mut previous = ' ';
    for (i, c) in line.char_indices() {
        let begins_value = line[value_start..i].trim().is_empty();
        match (quote, c) {
            (Some(q), _) if q == c && previous != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if begins_value => quote = Some(c),
            (None, '#') if previous == ' ' => return None,
            (None, '{') if line[i..].starts_with("{{") => {
                let end = line[i..].rfind("}}").map_or(line.trim_end().len(), |n| i + n + 2);
                if begins_value || flow {
                    let from = if begins_value { i } else { value_start + leading(&line[value_start..]) };
                    let raw = line.get(from..end).unwrap_or_default();
                    let lone = raw.matches("{{").count() == 1 && !flow;
                    let at = span(file, start + from, start + end.max(from));
                    let mut found = unquoted(at, lone.then(|| line[from..].trim_end()));
                    if !begins_value {
                        found.message = "a value with `{{` inside `{ }` or `[ ]` needs quotes".to_owned();
                    }
                    return Some(found);
                }
                return None;
            }
            (None, '{' | '[') if begins_value => {
                flow = true;
                value_start = i + 1;
            }
            (None, ',') if flow => value_start = i + 1,
            (None, ' ') if previous == ':' || (previous == '-' && line[..i].trim() == "-") => {
                value_start = i + 1
            }
            _ => {}
        }
        previous = c;
    }
    None
}

fn leading(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// Message, label and help for what people really get wrong; for the rest the parser's own words.
fn words(error: &ScanError) -> (String, &'static str, &'static str) {
    use ErrorKind as K;
    let (message, label, help) = match error.kind() {
        K::MappingValueNotAllowed => (
            "a `:` where no key can be",
            "this makes a second key of the line",
            "put quotes around a text that contains `: `, or check the indentation",
        ),
        K::InvalidTrailingDoubleQuotedScalar | K::InvalidTrailingSingleQuotedScalar => (
            "text follows the closing quote",
            "this stands outside of the quotes",
            "put the whole value in the other kind of quotes, or write it as a block below `|`",
        ),
        K::UnclosedQuotedScalar | K::InvalidQuotedScalarIndent => (
            "a quote is not closed",
            "the quoted text is still open here",
            "add the closing quote; inside single quotes a quote is written twice",
        ),
        K::UnknownQuotedScalarEscape => (
            "this escape is not known in double quotes",
            "unknown escape",
            "write `\\\\` for a backslash, or use single quotes, where it needs no escape",
        ),
        K::UnknownAnchor => (
            "this alias names no anchor",
            "nothing above is called `&` and this name",
            "put quotes around the value if it begins with a plain `*`",
        ),
        K::UndeclaredTagHandle | K::ExpectedTagBang | K::InvalidTagTerminator | K::MissingTagUri => (
            "YAML tags (`!...`) are not supported",
            "`!` begins a tag",
            "put quotes around the value if `!` is part of it",
        ),
        K::UnexpectedCharacter { .. } => (
            "a plain value cannot begin with this character",
            "this character has a meaning in YAML",
            "put quotes around the value",
        ),
        K::MissingAnchorOrAliasName => (
            "a value cannot begin with a lone `&` or `*`",
            "this begins an anchor or an alias",
            "put quotes around the value",
        ),
        K::UnclosedFlowCollection { .. }
        | K::UnexpectedEofFlowMapping
        | K::UnexpectedEofFlowSequence
        | K::UnexpectedEofImplicitFlowMapping => {
            ("a `{` or `[` is not closed", "still open here", "add the closing bracket")
        }
        K::ExpectedFlowMappingSeparator | K::InvalidColonPlacement => (
            "inside `{ }` a `,` or `}` is missing",
            "expected `,` or `}` before this",
            "put quotes around a value that contains `,`, `{` or `}`",
        ),
        K::ExpectedFlowSequenceSeparator => (
            "inside `[ ]` a `,` or `]` is missing",
            "expected `,` or `]` before this",
            "put quotes around a value that contains `,`, `[` or `]`",
        ),
        K::ExpectedBlockMappingKey => (
            "a key was expected",
            "this is not a key of the map above",
            "check the indentation: keys of one map begin in the same column",
        ),
        K::ExpectedBlockSequenceEntry | K::InvalidIndentation | K::BlockSequenceEntryNotAllowed => (
            "the indentation does not fit",
            "this begins in a column where nothing is open",
            "items of a list and keys of a map begin in the same column as their neighbours",
        ),
        K::SimpleKeyExpected | K::InvalidSimpleKey => {
            ("a `:` is missing after a key", "expected `key: value`", "a key is followed by `:` and a space")
        }
        K::DirectiveDisallowed => {
            ("YAML directives (`%...`) are not supported", "directive", "remove the line")
        }
        K::InvalidBlockScalarHeader => (
            "text follows `|` or `>`",
            "the block begins on the next line",
            "move the text to the next line and indent it",
        ),
        kind => return (format!("this is not valid YAML: {kind}"), "here", ""),
    };
    (message.to_owned(), label, help)
}
