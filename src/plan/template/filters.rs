//! Filters beyond MiniJinja's own. All are pure: nothing is read, no clock is asked.

use std::sync::OnceLock;

use base64::Engine as _;
use chrono::{NaiveDate, SecondsFormat};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error};
use regex::Regex;
use sha2::{Digest, Sha256};

use super::names::{RawText, own_error};
use crate::model::parse_duration;

/// Every filter a text may use.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "b64encode",
    "basename",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "dirname",
    "duration",
    "file_time",
    "first",
    "float",
    "from_json",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "raw",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "sha256",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// Every test (`x is ...`) a text may use.
pub(super) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Every function a text may call.
pub(super) const FUNCTIONS: &[&str] = &["dict", "range"];

pub(super) fn add_to(env: &mut Environment<'static>) {
    env.add_filter("raw", |value: Value| -> Result<Value, Error> {
        super::text::plain(&value)
            .map(|text| Value::from_object(RawText(text)))
            .map_err(|e| own_error(e.message))
    });
    env.add_filter("file_time", |name: &str| file_time(name).map_err(own_error));
    env.add_filter("duration", |text: &str| {
        parse_duration(text).map(|d| d.0).map_err(|e| own_error(format!("{text:?} is not a duration: {e}")))
    });
    env.add_filter("basename", |path: &str| basename(path).to_owned());
    env.add_filter("dirname", |path: &str| dirname(path).to_owned());
    env.add_filter("from_json", |text: &str| {
        serde_json::from_str::<serde_json::Value>(text)
            .map(|v| Value::from(Serde(&v)))
            .map_err(|e| own_error(format!("the text is not JSON: {e}")))
    });
    env.add_filter("b64encode", |text: &str| base64::engine::general_purpose::STANDARD.encode(text));
    env.add_filter("sha256", |text: &str| {
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
}

/// Like the command `basename`: trailing slashes do not count.
fn basename(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((_, name)) => name,
        None if trimmed.is_empty() && !path.is_empty() => "/",
        None => trimmed,
    }
}

/// Like the command `dirname`.
fn dirname(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some((dir, _)) => match dir.trim_end_matches('/') {
            "" => "/",
            dir => dir,
        },
        None if trimmed.is_empty() && !path.is_empty() => "/",
        None => ".",
    }
}

/// The time that a file's name states, as RFC 3339 in UTC. A date alone is its midnight. Only the name counts, not
/// the folders before it, and a name that states two different times is refused.
fn file_time(path: &str) -> Result<String, String> {
    static STAMP: OnceLock<Result<Regex, regex::Error>> = OnceLock::new();
    let stamp = STAMP.get_or_init(|| {
        Regex::new(
            r"(?x)
            (?<y>\d{4}) (?<d>[-_.]?) (?<mo>\d{2}) [-_.]? (?<da>\d{2})
            (?: [T_.\-\ ]? (?<h>\d{2}) [-_:.]? (?<mi>\d{2}) (?: [-_:.]? (?<s>\d{2}) (?: [.,]\d{1,9} )? )?
                (?<zone> Z | [+-]\d{2}:?\d{2} )? )?
            ",
        )
    });
    let stamp = stamp.as_ref().map_err(ToString::to_string)?;
    let name = basename(path.trim());
    let mut found: Option<String> = None;
    for caps in stamp.captures_iter(name) {
        let (start, end) = caps.get(0).map_or((0, 0), |m| (m.start(), m.end()));
        let digit = |at: Option<u8>| at.is_some_and(|b| b.is_ascii_digit());
        // Part of a longer number: a checksum or a counter, no stamp.
        if (start > 0 && digit(name.bytes().nth(start - 1))) || digit(name.bytes().nth(end)) {
            continue;
        }
        let Some(time) = stamp_time(&caps) else { continue };
        if found.as_ref().is_some_and(|other| *other != time) {
            return Err(format!("the name {name:?} states more than one time"));
        }
        found = Some(time);
    }
    found.ok_or_else(|| {
        format!("the name {name:?} states no time: expected one like 20260101T020000Z or 2026-01-01_02-00-00")
    })
}

fn stamp_time(caps: &regex::Captures<'_>) -> Option<String> {
    let number = |name: &str| caps.name(name).and_then(|m| m.as_str().parse::<u32>().ok());
    let year = i32::try_from(number("y")?).ok().filter(|y| (1970..=2200).contains(y))?;
    let date = NaiveDate::from_ymd_opt(year, number("mo")?, number("da")?)?;
    let time =
        date.and_hms_opt(number("h").unwrap_or(0), number("mi").unwrap_or(0), number("s").unwrap_or(0))?;
    let offset = match caps.name("zone").map(|m| m.as_str()) {
        None | Some("Z") => 0,
        Some(zone) => {
            let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
            let minutes =
                digits.get(..2)?.parse::<i64>().ok()? * 60 + digits.get(2..)?.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let utc = time.and_utc() - chrono::TimeDelta::minutes(offset);
    Some(utc.to_rfc3339_opts(SecondsFormat::Secs, true))
}
