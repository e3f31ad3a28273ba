//! MiniJinja's filters that can make much out of little: what they would make is reckoned first, and refused if it is too
//! much. Fuel counts instructions, and each of these is a single one.

use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, State, filters};

use super::names::own_error;

/// Bytes of a text that a filter may make; far above what a text may come to in the end.
const MOST_BYTES: usize = 16 << 20;
/// Items or columns that a filter may be asked for.
const MOST_ITEMS: usize = 100_000;

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
