//! MiniJinja's filters and operators that can make much out of little: what they would make is reckoned first, and refused
//! if it is too much. Fuel counts instructions, and each of these is a single one.
//!
//! The operators get here by [`super::bounded`]. A value that shares its parts with itself (`[a, a]`, again and again) costs
//! nothing until somebody walks over it: so each one that is built is walked over at once, up to a limit. All that a
//! render makes and walks over counts against one sum.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::names::own_error;

/// Bytes of a text that a filter may make; far above what a text may come to in the end.
const MOST_BYTES: usize = 16 << 20;
/// Items or columns that a filter may be asked for.
const MOST_ITEMS: usize = 100_000;
/// All that a render may make, in bytes; an item of a list counts for so many.
const MOST_IN_ALL: usize = 64 << 20;
const ITEM: usize = 64;
/// Lists in lists.
const DEEPEST: usize = 64;

pub(super) const ADD: &str = "made_by_add";
pub(super) const MULTIPLY: &str = "made_by_multiply";
pub(super) const CONCAT: &str = "made_by_concat";
pub(super) const MADE: &str = "made";

/// Replaces the filters by ones that look before they call them.
pub(super) fn add_to(env: &mut Environment<'static>) {
    env.add_filter("builtin join", filters::join);
    env.add_filter("builtin replace", filters::replace);
    env.add_filter("builtin indent", filters::indent);
    env.add_filter("builtin batch", filters::batch);
    env.add_filter("builtin slice", filters::slice);
    env.add_filter("builtin tojson", filters::tojson);
    limit(env, "join", "builtin join", joined);
    limit(env, "replace", "builtin replace", replaced);
    limit(env, "indent", "builtin indent", indented);
    limit(env, "batch", "builtin batch", counted);
    limit(env, "slice", "builtin slice", counted);
    limit(env, "tojson", "builtin tojson", counted);
    env.add_filter(ADD, |state: &mut State<'_, '_>, a: Value, b: Value| operate(state, '+', a, b));
    env.add_filter(MULTIPLY, |state: &mut State<'_, '_>, a: Value, b: Value| operate(state, '*', a, b));
    env.add_filter(CONCAT, |state: &mut State<'_, '_>, a: Value, b: Value| operate(state, '~', a, b));
    env.add_filter(MADE, |state: &mut State<'_, '_>, value: Value| made(state, value));
}

/// What a render has made so far.
#[derive(Default)]
struct Sum(usize);

fn too_much() -> Error {
    own_error(format!("a value would be larger than {} MiB", MOST_BYTES >> 20))
}

fn charge(state: &mut State<'_, '_>, size: usize) -> Result<(), Error> {
    let sum = state.get_or_insert_extension_with(Sum::default);
    sum.0 = sum.0.saturating_add(size);
    match sum.0 > MOST_IN_ALL {
        true => Err(own_error("the text takes too much to render: does it grow without end?".into())),
        false => Ok(()),
    }
}

/// An operator, once its result is known to be of a bearable size.
fn operate(state: &mut State<'_, '_>, op: char, a: Value, b: Value) -> Result<Value, Error> {
    if a.is_undefined() || b.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let length = |value: &Value| value.as_str().map(str::len).or_else(|| value.len().map(|n| n * ITEM));
    let size = match op {
        '~' => written(&a).saturating_add(written(&b)),
        '+' => length(&a).unwrap_or(0).saturating_add(length(&b).unwrap_or(0)),
        _ => match (length(&a), length(&b)) {
            (Some(length), None) => length.saturating_mul(b.as_usize().unwrap_or(0)),
            (None, Some(length)) => length.saturating_mul(a.as_usize().unwrap_or(0)),
            _ => 0,
        },
    };
    if size > MOST_BYTES {
        return Err(too_much());
    }
    charge(state, size)?;
    let source = match op {
        '~' => return Ok(Value::from(format!("{a}{b}"))),
        '+' => "a + b",
        _ => "a * b",
    };
    // The operator's own, which is not at hand otherwise. Where it fails is told by whoever called.
    let plain = |e: Error| match e.detail() {
        Some(detail) => Error::new(e.kind(), detail.to_owned()),
        None => Error::from(e.kind()),
    };
    let value = state.env().compile_expression(source).map_err(plain)?;
    let value = value.eval(Value::from(BTreeMap::from([("a", a), ("b", b)]))).map_err(plain)?;
    made(state, value)
}

/// Looks at a value that was just built.
fn made(state: &mut State<'_, '_>, value: Value) -> Result<Value, Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        let size = size(&value)?;
        charge(state, size)?;
    }
    Ok(value)
}

/// The bytes of all that is in it, what is shared as often as it is met.
fn size(value: &Value) -> Result<usize, Error> {
    let mut total = 0_usize;
    // No recursion: it may be deep.
    let mut left = vec![(value.clone(), 0)];
    while let Some((value, depth)) = left.pop() {
        total = total.saturating_add(ITEM + value.as_str().map_or(0, str::len));
        if total + left.len() * ITEM > MOST_BYTES {
            return Err(too_much());
        }
        if depth > DEEPEST {
            return Err(own_error(format!("a value is nested deeper than {DEEPEST} levels")));
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            continue;
        }
        let Ok(items) = value.try_iter() else { continue };
        for item in items {
            total = total.saturating_add(ITEM);
            if total > MOST_BYTES {
                return Err(too_much());
            }
            let inner = if is_map { value.get_item(&item).unwrap_or_default() } else { item };
            // What is no text and holds nothing is counted already.
            if inner.as_object().is_some() || inner.as_str().is_some() {
                left.push((inner, depth + 1));
            }
        }
    }
    Ok(total)
}

/// Counts what is written, and stops where it is too much.
struct Counter(usize);

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        if self.0 > MOST_BYTES { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The bytes of the value as text.
fn written(value: &Value) -> usize {
    if let Some(text) = value.as_str() {
        return text.len();
    }
    let mut counter = Counter(0);
    // An error means that it is beyond the limit, which the count says.
    let _ = write!(counter, "{value}");
    counter.0
}

/// `size` gives the bytes that a call makes, as far as they can be more than what it was given.
fn limit(
    env: &mut Environment<'static>,
    name: &'static str,
    builtin: &'static str,
    size: fn(&Value, &[Value]) -> usize,
) {
    let limited =
        move |state: &mut State<'_, '_>, args: Rest<Value>, named: Kwargs| -> Result<Value, Error> {
            if let Some((value, further)) = args.split_first() {
                let named: Vec<Value> = named.args().filter_map(|name| named.peek(name).ok()).collect();
                if size(value, &[further, &named].concat()) > MOST_BYTES {
                    return Err(own_error(format!("`{name}` would make more than {} MiB", MOST_BYTES >> 20)));
                }
            }
            let mut args = args.0;
            // Filters without named arguments take not even an empty list of them.
            if named.args().next().is_some() {
                args.push(Value::from(named));
            }
            state.apply_filter(builtin, &args)
        };
    env.add_filter(name, limited);
}

fn longest(args: &[Value]) -> usize {
    args.iter().filter_map(|arg| arg.as_str().map(str::len)).max().unwrap_or(0)
}

fn largest(args: &[Value]) -> usize {
    args.iter().filter_map(Value::as_usize).max().unwrap_or(0)
}

fn joined(value: &Value, args: &[Value]) -> usize {
    let joiner = longest(args);
    let Ok(items) = value.try_iter() else { return 0 };
    let mut total = 0_usize;
    for item in items {
        let length = item.as_str().map_or_else(|| item.to_string().len(), str::len);
        total = total.saturating_add(length).saturating_add(joiner);
        if total > MOST_BYTES {
            break;
        }
    }
    total
}

fn replaced(value: &Value, args: &[Value]) -> usize {
    let (Some(text), Some(from), Some(to)) =
        (value.as_str(), args.first().and_then(Value::as_str), args.get(1).and_then(Value::as_str))
    else {
        return 0;
    };
    text.matches(from).count().saturating_mul(to.len())
}

fn indented(value: &Value, args: &[Value]) -> usize {
    let lines = value.as_str().map_or(0, |text| text.lines().count() + 1);
    lines.saturating_mul(largest(args))
}

fn counted(_: &Value, args: &[Value]) -> usize {
    if largest(args) > MOST_ITEMS { usize::MAX } else { 0 }
}
