//! The MiniJinja environment: what is switched on, what it may spend, and rendering into parts.
//!
//! Nothing is rendered to text here. The formatter keeps each `{{ }}`'s value and writes one reserved character in its
//! place, so that text and data stay apart until a place (script, query, URL, ...) decides how a value enters it.

use std::ops::Range;

use minijinja::machinery::ast::{Spanned, Stmt, Template};
use minijinja::machinery::{self, CodeGenerator, make_string_output, parse, parse_expr};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::names::{self, RawText};
use super::{Ctx, TemplateError, bounded, filters, limits};

/// Instructions a render may execute: some tens of milliseconds.
const FUEL: u64 = 500_000;
/// Bytes a render may write, its values included.
const MAX_OUTPUT: usize = 1 << 20;
/// Values a text may hold.
const MAX_VALUES: usize = 60_000;
/// The first of the characters that stand for values: the last private plane, which no one types.
const FIRST_RESERVED: u32 = 0x10_0000;

/// Whether `c` stands for a value in rendered text and so may not be typed.
pub(super) fn is_reserved(c: char) -> bool {
    u32::from(c) >= FIRST_RESERVED
}

/// The character that stands for value `index`.
pub(super) fn placeholder(index: usize) -> Option<char> {
    u32::try_from(index).ok().filter(|_| index < MAX_VALUES).and_then(|i| char::from_u32(FIRST_RESERVED + i))
}

/// The value that `c` stands for.
pub(super) fn placeholder_index(c: char) -> Option<usize> {
    let index = u32::from(c).checked_sub(FIRST_RESERVED)? as usize;
    (index < MAX_VALUES).then_some(index)
}

/// Rendered text whose values still stand as reserved characters, and the values.
pub(super) struct Rendered {
    pub text: String,
    pub values: Vec<Value>,
}

/// A piece of rendered text.
pub(super) enum Part<'a> {
    Text(&'a str),
    Value(&'a Value),
}

impl Rendered {
    pub fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let mut start = 0;
        for (at, c) in self.text.char_indices() {
            let Some(value) = placeholder_index(c).and_then(|i| self.values.get(i)) else { continue };
            if start < at {
                parts.push(Part::Text(&self.text[start..at]));
            }
            parts.push(Part::Value(value));
            start = at + c.len_utf8();
        }
        if start < self.text.len() {
            parts.push(Part::Text(&self.text[start..]));
        }
        parts
    }
}

#[derive(Default)]
struct Store {
    values: Vec<Value>,
    bytes: usize,
}

thread_local! {
    static ENVIRONMENT: Environment<'static> = build();
}

/// Template comments are off: `{#` is part of the shell's `${#name}`, and a comment that began there would swallow
/// the script up to the next `#}`. The delimiters are made of a character that cannot be typed.
pub(super) fn syntax() -> minijinja::syntax::SyntaxConfig {
    minijinja::syntax::SyntaxConfig::builder()
        .comment_delimiters("{\u{10fffd}", "\u{10fffd}}")
        .keep_trailing_newline(true)
        .build()
        .unwrap_or_default()
}

fn build() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_debug(false);
    env.set_fuel(Some(FUEL));
    env.set_syntax(syntax());
    env.set_formatter(keep_value);
    for name in ["safe", "escape", "e", "pprint", "attr", "format"] {
        env.remove_filter(name);
    }
    for name in ["safe", "escaped"] {
        env.remove_test(name);
    }
    for name in ["debug", "namespace"] {
        env.remove_global(name);
    }
    filters::add_to(&mut env);
    limits::add_to(&mut env);
    env
}

fn keep_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "a value is undefined"));
    }
    if let Some(raw) = value.downcast_object_ref::<RawText>() {
        if raw.0.chars().any(is_reserved) {
            return Err(Error::new(ErrorKind::InvalidOperation, "a raw text holds a reserved character"));
        }
        let store = state.get_or_insert_extension_with(Store::default);
        store.bytes = store.bytes.saturating_add(raw.0.len());
        if store.bytes > MAX_OUTPUT {
            return Err(too_long());
        }
        return out.write_str(&raw.0).map_err(Error::from);
    }
    let size = value.as_str().map_or(16, str::len);
    let store = state.get_or_insert_extension_with(Store::default);
    store.bytes = store.bytes.saturating_add(size);
    let index = store.values.len();
    let (false, Some(mark)) = (store.bytes > MAX_OUTPUT, placeholder(index)) else {
        return Err(too_long());
    };
    store.values.push(value.clone());
    out.write_str(mark.encode_utf8(&mut [0; 4])).map_err(Error::from)
}

fn too_long() -> Error {
    names::own_error("the rendered text is longer than 1 MiB".into())
}

/// Renders a normalised text.
pub(super) fn render(src: &str, ctx: &Ctx<'_>) -> Result<Rendered, TemplateError> {
    if !src.contains("{{") && !src.contains("{%") {
        return Ok(Rendered { text: src.to_owned(), values: Vec::new() });
    }
    ENVIRONMENT.with(|env| {
        let fail = |e: Error| failure(&e, src);
        let parsed = parse(src, "<string>", syntax()).map_err(fail)?;
        let Stmt::Template(whole) = &parsed else { return Err(TemplateError::new("this is no text", None)) };
        let template = Template { children: bounded::stmts(&whole.children) };
        let mut compiler = CodeGenerator::new("<string>", src);
        compiler.compile_stmt(&Stmt::Template(Spanned::new(template, whole.span())));
        let (instructions, blocks) = compiler.finish();
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        let root = names::root(src, ctx);
        let (_, mut state) =
            machinery::eval(env, &instructions, root, &blocks, &mut out, AutoEscape::None).map_err(fail)?;
        let values =
            state.get_extension_mut::<Store>().map(|s| std::mem::take(&mut s.values)).unwrap_or_default();
        drop(state);
        Ok(Rendered { text, values })
    })
}

/// Evaluates a normalised expression.
pub(super) fn eval(src: &str, ctx: &Ctx<'_>) -> Result<Value, TemplateError> {
    ENVIRONMENT.with(|env| {
        let fail = |e: Error| failure(&e, src);
        let parsed = parse_expr(src).map_err(fail)?;
        let mut compiler = CodeGenerator::new("<expression>", src);
        compiler.compile_expr(&bounded::expr(&parsed));
        let (instructions, blocks) = compiler.finish();
        // An expression writes nothing.
        let mut text = String::new();
        let mut out = make_string_output(&mut text);
        let root = names::root(src, ctx);
        let (value, _) =
            machinery::eval(env, &instructions, root, &blocks, &mut out, AutoEscape::None).map_err(fail)?;
        match value {
            Some(value) if !value.is_undefined() => Ok(value),
            _ => Err(TemplateError::new(format!("`{}` is undefined", src.trim()), None)),
        }
    })
}

/// A render's error in words for people. Its range would count in the normalised source, which nobody typed, so the
/// failing expression is quoted instead.
fn failure(error: &Error, src: &str) -> TemplateError {
    let quoted = error.range().and_then(|r| quote(src, r));
    let message = match (error.kind(), error.detail(), quoted) {
        (ErrorKind::OutOfFuel, ..) => {
            "the text takes too long to render: does it loop without end?".to_owned()
        }
        (ErrorKind::UndefinedError, None, Some(quoted)) => format!("`{quoted}` is undefined"),
        (_, Some(detail), Some(quoted)) if !names::is_own(detail) => format!("{detail} (in `{quoted}`)"),
        (_, Some(detail), _) => names::own_message(detail).to_owned(),
        (kind, None, _) => kind.to_string(),
    };
    TemplateError::new(message, None)
}

/// The expression at `range`, with the path before it that the range leaves out.
fn quote(src: &str, range: Range<usize>) -> Option<&str> {
    let before = src.get(..range.start)?;
    let path = |c: char| c.is_alphanumeric() || "_.[]\"'-".contains(c);
    let start = match src.get(range.clone())?.starts_with(['.', '[']) {
        true => before.trim_end_matches(path).len(),
        false => range.start,
    };
    Some(src.get(start..range.end)?.trim()).filter(|quoted| !quoted.is_empty())
}

/// The message and range of an error found while parsing.
pub(super) fn syntax_error(error: &Error) -> (String, Option<Range<usize>>) {
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    (message, error.range())
}
