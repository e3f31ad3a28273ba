//! Values in a query: bound parameters, never text.

use minijinja::value::Value;
use serde_json::Value as Json;

use super::environment::{self, Rendered, placeholder_index};
use super::{Ctx, TemplateError, text};

/// Why a value cannot stand where it does.
pub(super) struct Misplaced {
    /// The value's index; none for a mistake of the query itself.
    pub value: Option<usize>,
    pub message: String,
    pub help: String,
}

pub(super) fn render_query(src: &str, ctx: &Ctx<'_>) -> Result<(String, Vec<Json>), TemplateError> {
    let Rendered { text, values } = environment::render(src, ctx)?;
    if values.is_empty() {
        return Ok((text, Vec::new()));
    }
    let query = number(&text).map_err(|mut all| match all.pop() {
        Some(m) => TemplateError { message: m.message, range: None, help: Some(m.help) },
        None => TemplateError::new("the query cannot be read", None),
    })?;
    let binds = values.iter().map(bind).collect::<Result<_, _>>()?;
    Ok((query, binds))
}

fn bind(value: &Value) -> Result<Json, TemplateError> {
    match text::json(value)? {
        Json::Array(_) | Json::Object(_) => Err(TemplateError {
            message: "a list or map cannot be bound to a query".into(),
            range: None,
            help: Some("bind its items one by one, or as JSON text: `{{ x | tojson }}`".into()),
        }),
        value => Ok(value),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Code,
    /// Until this character; doubled it stands for itself.
    Quoted(char),
    LineComment,
    BlockComment,
}

/// The query with `?1`, `?2`, ... for its values.
pub(super) fn number(text: &str) -> Result<String, Vec<Misplaced>> {
    let mut out = String::with_capacity(text.len());
    let mut errors = Vec::new();
    let mut place = Place::Code;
    let mut chars = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        if let Some(index) = placeholder_index(c) {
            if let Some((message, help)) = refusal(place, before, next) {
                errors.push(Misplaced { value: Some(index), message, help });
            }
            out.push_str(&format!("?{}", index + 1));
        } else {
            out.push(c);
            place = match (place, c, next) {
                (Place::Code, '\'' | '"' | '`', _) => Place::Quoted(c),
                (Place::Code, '[', _) => Place::Quoted(']'),
                (Place::Code, '-', Some('-')) => Place::LineComment,
                (Place::Code, '/', Some('*')) => {
                    out.extend(chars.next());
                    Place::BlockComment
                }
                (Place::Code, '?', _) => {
                    errors.push(Misplaced {
                        value: None,
                        message: "`?` and `{{ }}` cannot be mixed in a query".into(),
                        help: "write every value as {{ }}".into(),
                    });
                    place
                }
                (Place::Quoted(end), _, _) if c == end => Place::Code,
                (Place::LineComment, '\n', _) => Place::Code,
                (Place::BlockComment, '*', Some('/')) => {
                    out.extend(chars.next());
                    Place::Code
                }
                _ => place,
            };
        }
        before = c;
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

fn refusal(place: Place, before: char, next: Option<char>) -> Option<(String, String)> {
    let touches = |c: char| c.is_alphanumeric() || "_$?:@".contains(c) || placeholder_index(c).is_some();
    let (message, help) = match place {
        Place::Quoted('\'') => (
            "a value inside quotes cannot be bound",
            "write {{ }} without quotes around it; to join it with text: 'text' || {{ x }}",
        ),
        Place::Quoted(_) => (
            "a value cannot be the name of a table or column",
            "write the name itself, or splice text you trust with `| raw`",
        ),
        Place::LineComment | Place::BlockComment => {
            ("a value inside a comment cannot be bound", "remove it from the comment")
        }
        Place::Code if touches(before) || next.is_some_and(touches) => {
            ("a value cannot be part of a word", "put a space around {{ }}")
        }
        Place::Code => return None,
    };
    Some((message.into(), help.into()))
}
