//! Values in a query: bound parameters, never text.

use minijinja::value::Value;
use serde_json::Value as Json;

use super::environment::{self, Rendered, placeholder_index};
use super::{Ctx, Dialect, TemplateError, text};

/// Why a value cannot stand where it does.
pub(super) struct Misplaced {
    /// The value's index; none for a mistake of the query itself.
    pub value: Option<usize>,
    pub message: String,
    pub help: String,
}

impl Dialect {
    /// By the text of `database`, or its source, as far as that tells.
    pub fn of(database: &str) -> Self {
        if database.starts_with("sqlite:") {
            Self::Sqlite
        } else if database.starts_with("postgres://") || database.starts_with("postgresql://") {
            Self::Postgres
        } else {
            Self::Unknown
        }
    }
}

pub(super) fn render_query(
    src: &str,
    dialect: Dialect,
    ctx: &Ctx<'_>,
) -> Result<(String, Vec<Json>), TemplateError> {
    let Rendered { text, values } = environment::render(src, ctx)?;
    if values.is_empty() {
        return Ok((text, Vec::new()));
    }
    let query = number(&text, dialect).map_err(|mut all| match all.pop() {
        Some(m) => TemplateError { message: m.message, range: None, help: Some(m.help) },
        None => TemplateError::new("the query cannot be read", None),
    })?;
    let binds = values.iter().map(|value| bind(value, dialect)).collect::<Result<_, _>>()?;
    Ok((query, binds))
}

fn bind(value: &Value, dialect: Dialect) -> Result<Json, TemplateError> {
    match text::json(value)? {
        Json::Array(_) | Json::Object(_) if dialect == Dialect::Sqlite => Err(TemplateError {
            message: "a list or map cannot be bound to a query".into(),
            range: None,
            help: Some("bind its items one by one, or as JSON text: `{{ x | tojson }}`".into()),
        }),
        value => Ok(value),
    }
}

#[derive(Clone, PartialEq)]
enum Place {
    Code,
    /// Until this character; doubled it stands for itself.
    Quoted(char),
    /// `E'...'`: a backslash takes the next character's meaning away.
    Escaped,
    /// `$tag$ ... $tag$`
    Dollar(String),
    LineComment,
    /// So many deep.
    BlockComment(usize),
}

/// The query with `?1`, `?2`, ... for its values; with `$1`, `$2`, ... for PostgreSQL. SQLite reads those as well, so they
/// also serve where nobody knows yet.
pub(super) fn number(text: &str, dialect: Dialect) -> Result<String, Vec<Misplaced>> {
    let mark = if dialect == Dialect::Sqlite { '?' } else { '$' };
    let mut out = String::with_capacity(text.len());
    let mut errors = Vec::new();
    let mut place = Place::Code;
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at + c.len_utf8()..];
        if let Some(index) = placeholder_index(c) {
            if let Some((message, help)) = refusal(&place, before, rest, dialect) {
                errors.push(Misplaced { value: Some(index), message, help });
            }
            out.push_str(&format!("{mark}{}", index + 1));
            at += c.len_utf8();
        } else {
            if place == Place::Code && is_parameter(c, before, rest, dialect) {
                errors.push(Misplaced {
                    value: None,
                    message: format!("`{mark}` and `{{{{ }}}}` cannot be mixed in a query"),
                    help: "write every value as {{ }}".into(),
                });
            }
            let length = step(&mut place, &text[at..], &text[..at], dialect);
            out.push_str(&text[at..at + length]);
            at += length;
        }
        before = text[..at].chars().next_back().unwrap_or(' ');
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// A parameter that the author has numbered by hand.
fn is_parameter(c: char, before: char, rest: &str, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Sqlite => c == '?',
        // `?` is an operator there.
        _ => c == '$' && rest.starts_with(|c: char| c.is_ascii_digit()) && !is_word(before),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Goes on by a character, or by two that belong together, or by the whole mark of a dollar quote; gives the bytes.
fn step(place: &mut Place, rest: &str, before: &str, dialect: Dialect) -> usize {
    let mut chars = rest.chars();
    let (c, next) = (chars.next().unwrap_or(' '), chars.next());
    let foreign = dialect != Dialect::Sqlite;
    let one = c.len_utf8();
    match (&mut *place, c, next) {
        (Place::Code, '\'', _) if foreign && is_escaping(before) => *place = Place::Escaped,
        (Place::Code, '\'' | '"', _) => *place = Place::Quoted(c),
        (Place::Code, '`', _) if !foreign => *place = Place::Quoted(c),
        (Place::Code, '[', _) if !foreign => *place = Place::Quoted(']'),
        (Place::Code, '$', _) if foreign => {
            if let Some(tag) = dollar(rest, before) {
                *place = Place::Dollar(tag.to_owned());
                return tag.len();
            }
        }
        (Place::Code, '-', Some('-')) => *place = Place::LineComment,
        (Place::Code, '/', Some('*')) => {
            *place = Place::BlockComment(1);
            return 2;
        }
        (Place::Quoted(end), _, _) if c == *end => *place = Place::Code,
        (Place::Escaped, '\\', Some(next)) if placeholder_index(next).is_none() => {
            return one + next.len_utf8();
        }
        (Place::Escaped, '\'', _) => *place = Place::Code,
        (Place::Dollar(tag), '$', _) if rest.starts_with(tag.as_str()) => {
            let length = tag.len();
            *place = Place::Code;
            return length;
        }
        (Place::LineComment, '\n', _) => *place = Place::Code,
        (Place::BlockComment(depth), '/', Some('*')) if foreign => {
            *depth += 1;
            return 2;
        }
        (Place::BlockComment(depth), '*', Some('/')) => {
            *depth -= 1;
            if *depth == 0 {
                *place = Place::Code;
            }
            return 2;
        }
        _ => {}
    }
    one
}

/// `E` as a word of its own, right before the quote.
fn is_escaping(before: &str) -> bool {
    before.strip_suffix(['e', 'E']).is_some_and(|before| !before.ends_with(is_word))
}

/// `$$` or `$tag$` at the beginning of `rest`.
fn dollar<'t>(rest: &'t str, before: &str) -> Option<&'t str> {
    let end = rest[1..].find('$')? + 1;
    let tag = &rest[1..end];
    let is_tag = !tag.starts_with(|c: char| c.is_ascii_digit())
        && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_tag && !before.ends_with(is_word)).then(|| &rest[..=end])
}

fn refusal(place: &Place, before: char, rest: &str, dialect: Dialect) -> Option<(String, String)> {
    let touches = |c: char| match dialect {
        Dialect::Sqlite => c.is_alphanumeric() || "_$?:@".contains(c) || placeholder_index(c).is_some(),
        // There `:` and the others begin operators, such as the cast `::`.
        _ => is_word(c) || placeholder_index(c).is_some(),
    };
    let (message, help) = match place {
        Place::Quoted('\'') | Place::Escaped | Place::Dollar(_) => (
            "a value inside quotes cannot be bound",
            "write {{ }} without quotes around it; to join it with text: 'text' || {{ x }}",
        ),
        Place::Quoted(_) => (
            "a value cannot be the name of a table or column",
            "write the name itself, or splice text you trust with `| raw`",
        ),
        Place::LineComment | Place::BlockComment(_) => {
            ("a value inside a comment cannot be bound", "remove it from the comment")
        }
        Place::Code if touches(before) || rest.starts_with(touches) => {
            ("a value cannot be part of a word", "put a space around {{ }}")
        }
        Place::Code => return None,
    };
    Some((message.into(), help.into()))
}
