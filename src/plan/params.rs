//! Parameters: their declared types, and checking a value against them.
//!
//! What the constraints mean for each type:
//! `pattern` is searched in the text (anchor it with `^` and `$` to match the whole value) of a string or a path, and
//! in each text of a list; `choices` are the values allowed, for a list the values allowed in it; `min` and `max`
//! bound a number, a duration or a size itself, and the length of a string, a path (in characters) or a list.

use std::cmp::Ordering;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::model::{parse_bytes, parse_duration};

/// A declared parameter, as far as a value is checked against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSpec {
    pub name: String,
    pub kind: ParamKind,
    pub pattern: Option<String>,
    pub choices: Vec<Value>,
    pub min: Option<Value>,
    pub max: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamKind {
    String,
    Path,
    Integer,
    Number,
    Boolean,
    Duration,
    Size,
    List,
}

impl ParamKind {
    /// With its article, as in "write {}".
    pub fn describe(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Path => "a path",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Duration => "a duration such as 30s, 15m or 1h30m",
            Self::Size => "a size such as 512B, 200MiB or 2GiB",
            Self::List => "a list",
        }
    }
}

impl ParamSpec {
    /// The value in the parameter's type, or what is wrong with it. A text (from the command line or a template) is
    /// read as the type asks: `8` becomes the integer 8 for `integer`, `true` the boolean for `boolean`, `a,b` or
    /// `["a", "b"]` the list for `list`. Durations and sizes are checked and stay as typed, so that a template
    /// prints what the person wrote.
    pub fn check(&self, value: &Value) -> Result<Value, String> {
        let value = self.convert(value)?;
        match &value {
            Value::Array(items) => {
                for item in items {
                    self.check_pattern(item)?;
                    self.check_choice(item)?;
                }
            }
            _ => {
                self.check_pattern(&value)?;
                self.check_choice(&value)?;
            }
        }
        self.check_bounds(&value)?;
        Ok(value)
    }

    /// A bound as a number: bytes for a size, milliseconds for a duration, else the number itself.
    pub fn bound(&self, bound: &Value) -> Result<Number, String> {
        match self.kind {
            ParamKind::Duration | ParamKind::Size => self.measure(&self.convert(bound)?),
            ParamKind::Boolean => Err("true and false have no order".into()),
            ParamKind::Integer => match bound {
                Value::Number(n) if !n.is_f64() => Ok(n.clone()),
                other => Err(mismatch(self.kind, other)),
            },
            ParamKind::Number => match bound {
                Value::Number(n) => Ok(n.clone()),
                other => Err(mismatch(self.kind, other)),
            },
            ParamKind::String | ParamKind::Path | ParamKind::List => match bound {
                Value::Number(n) if n.is_u64() => Ok(n.clone()),
                other => Err(format!("this bounds the length: write a whole number, not {}", show(other))),
            },
        }
    }

    /// The value in the parameter's type, whatever its bounds.
    pub(super) fn convert(&self, value: &Value) -> Result<Value, String> {
        refuse_nul(value)?;
        let wrong = || mismatch(self.kind, value);
        match (self.kind, value) {
            (ParamKind::String, Value::String(_)) | (ParamKind::Boolean, Value::Bool(_)) => Ok(value.clone()),
            (ParamKind::String, Value::Number(_) | Value::Bool(_)) => {
                Err(format!("{}; put {value} in quotes", wrong()))
            }
            (ParamKind::Path, Value::String(text)) => check_path(text).map(|()| value.clone()),
            (ParamKind::Integer, Value::Number(n)) if !n.is_f64() => Ok(value.clone()),
            (ParamKind::Integer, Value::String(text)) => {
                text.parse::<i64>().map(Value::from).map_err(|_| wrong())
            }
            (ParamKind::Number, Value::Number(_)) => Ok(value.clone()),
            (ParamKind::Number, Value::String(text)) => parse_number(text).ok_or_else(wrong),
            (ParamKind::Boolean, Value::String(text)) => match text.as_str() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(wrong()),
            },
            (ParamKind::Duration, Value::String(text)) => parse_duration(text).map(|_| value.clone()),
            (ParamKind::Duration, Value::Number(n)) => parse_duration(&n.to_string()).map(|_| value.clone()),
            (ParamKind::Size, Value::String(text)) => parse_bytes(text).map(|_| value.clone()),
            (ParamKind::Size, Value::Number(n)) if n.is_u64() => Ok(value.clone()),
            (ParamKind::List, Value::Array(items)) => {
                items.iter().try_for_each(check_item).map(|()| value.clone())
            }
            (ParamKind::List, Value::String(text)) => parse_list(text),
            _ => Err(wrong()),
        }
    }

    fn check_pattern(&self, value: &Value) -> Result<(), String> {
        let (Some(pattern), Value::String(text)) = (&self.pattern, value) else { return Ok(()) };
        let regex =
            Regex::new(pattern).map_err(|e| format!("its pattern is not a regular expression: {e}"))?;
        if regex.is_match(text) {
            Ok(())
        } else {
            Err(format!("{} does not match the pattern {pattern}", show(value)))
        }
    }

    fn check_choice(&self, value: &Value) -> Result<(), String> {
        if self.choices.is_empty() || self.choices.contains(value) {
            return Ok(());
        }
        let choices = self.choices.iter().map(show).collect::<Vec<_>>().join(", ");
        Err(format!("{} is not one of: {choices}", show(value)))
    }

    fn check_bounds(&self, value: &Value) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(());
        }
        let measured = self.measure(value)?;
        let of = match self.kind {
            ParamKind::String | ParamKind::Path => "the length of ",
            ParamKind::List => "the number of items in ",
            _ => "",
        };
        let outside = |bound: &Option<Value>, wrong: Ordering, word: &str| match bound {
            Some(bound) if compare(&measured, &self.bound(bound)?) == Some(wrong) => {
                Err(format!("{of}{} is {word} {}", show(value), show(bound)))
            }
            _ => Ok(()),
        };
        outside(&self.min, Ordering::Less, "less than the minimum")?;
        outside(&self.max, Ordering::Greater, "more than the maximum")
    }

    /// What `min` and `max` bound, of a converted value.
    fn measure(&self, value: &Value) -> Result<Number, String> {
        match (self.kind, value) {
            (ParamKind::Duration, Value::String(text)) => parse_duration(text).map(|ms| ms.0.into()),
            (ParamKind::Size, Value::String(text)) => parse_bytes(text).map(Into::into),
            (_, Value::Number(n)) => Ok(n.clone()),
            (_, Value::String(text)) => Ok(text.chars().count().into()),
            (_, Value::Array(items)) => Ok(items.len().into()),
            (kind, other) => Err(mismatch(kind, other)),
        }
    }
}

/// Exact for integers; a float makes it a comparison of floats.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return Some(a.cmp(&b));
    }
    a.as_f64()?.partial_cmp(&b.as_f64()?)
}

fn mismatch(kind: ParamKind, value: &Value) -> String {
    format!("this must be {}, not {}", kind.describe(), show(value))
}

/// A value for people: short, and what kind of thing it is.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("{:?}...", text.chars().take(60).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "a map".into(),
        other => other.to_string(),
    }
}

/// No variable and no argument can hold a NUL byte.
fn refuse_nul(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.contains('\0') => Err("a value cannot contain a NUL byte".into()),
        Value::Array(items) => items.iter().try_for_each(refuse_nul),
        _ => Ok(()),
    }
}

fn check_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a path cannot be empty".into());
    }
    if text == "~" || text.starts_with("~/") {
        return Err(format!("~ is not expanded here: write the folder out instead of {text:?}"));
    }
    Ok(())
}

fn check_item(item: &Value) -> Result<(), String> {
    match item {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(()),
        other => Err(format!("an item of a list is a text, a number, true or false, not {}", show(other))),
    }
}

fn parse_number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    // What Rust reads beyond JSON's numbers (`inf`, `NaN`) is no number to a person.
    if !text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
        return None;
    }
    Number::from_f64(text.parse().ok()?).map(Value::Number)
}

fn parse_list(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('[') {
        let value: Value = serde_json::from_str(text).map_err(|e| format!("this is not a JSON list: {e}"))?;
        refuse_nul(&value)?;
        if let Value::Array(items) = &value {
            items.iter().try_for_each(check_item)?;
        }
        return Ok(value);
    }
    if text.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    Ok(text.split(',').map(|item| Value::from(item.trim())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(kind: ParamKind) -> ParamSpec {
        ParamSpec { name: "p".into(), kind, pattern: None, choices: Vec::new(), min: None, max: None }
    }

    #[test]
    fn text_is_read_as_the_type_asks() {
        for (kind, text, value) in [
            (ParamKind::String, "8", json!("8")),
            (ParamKind::Integer, "8", json!(8)),
            (ParamKind::Integer, "-8", json!(-8)),
            (ParamKind::Number, "1.5", json!(1.5)),
            (ParamKind::Number, "8", json!(8)),
            (ParamKind::Boolean, "true", json!(true)),
            (ParamKind::Duration, "1h30m", json!("1h30m")),
            (ParamKind::Size, "2GiB", json!("2GiB")),
            (ParamKind::Path, "a/b", json!("a/b")),
            (ParamKind::List, "a, b", json!(["a", "b"])),
            (ParamKind::List, r#"["a,b", 1]"#, json!(["a,b", 1])),
            (ParamKind::List, "", json!([])),
        ] {
            assert_eq!(spec(kind).check(&json!(text)), Ok(value), "{kind:?} {text}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_what_to_write() {
        for (kind, value, part) in [
            (ParamKind::String, json!(8), "put 8 in quotes"),
            (ParamKind::String, json!("a\0b"), "NUL"),
            (ParamKind::String, json!(null), "nothing"),
            (ParamKind::Integer, json!("8.0"), "a whole number"),
            (ParamKind::Integer, json!(8.0), "a whole number"),
            (ParamKind::Integer, json!("99999999999999999999"), "a whole number"),
            (ParamKind::Number, json!("inf"), "a number"),
            (ParamKind::Number, json!("NaN"), "a number"),
            (ParamKind::Number, json!("1e999"), "a number"),
            (ParamKind::Boolean, json!("yes"), "true or false"),
            (ParamKind::Boolean, json!(1), "true or false"),
            (ParamKind::Duration, json!("30"), "write 30s"),
            (ParamKind::Duration, json!(30), "write 30s"),
            (ParamKind::Size, json!("2 gigs"), "200MiB"),
            (ParamKind::Path, json!(""), "empty"),
            (ParamKind::Path, json!("~/x"), "not expanded"),
            (ParamKind::List, json!([["a"]]), "an item"),
            (ParamKind::List, json!(["a\0"]), "NUL"),
            (ParamKind::List, json!("[\"a\\u0000\"]"), "NUL"),
            (ParamKind::List, json!("[1"), "JSON"),
        ] {
            let error = spec(kind).check(&value).expect_err(&value.to_string());
            assert!(error.contains(part), "{value}: {error}");
        }
    }

    #[test]
    fn bounds_measure_what_the_type_means() {
        for (kind, min, max, good, low, high) in [
            (ParamKind::Integer, json!(1), json!(3), json!("2"), json!("0"), json!("4")),
            (ParamKind::Number, json!(0.5), json!(2), json!(2), json!(0.4), json!(2.1)),
            (ParamKind::Duration, json!("1m"), json!("1h"), json!("90s"), json!("59s"), json!("61m")),
            (ParamKind::Size, json!("1KiB"), json!(2048), json!("2kB"), json!("1kB"), json!("3KiB")),
            (ParamKind::String, json!(2), json!(3), json!("äöü"), json!("a"), json!("abcd")),
            (ParamKind::List, json!(1), json!(2), json!("a,b"), json!(""), json!("a,b,c")),
        ] {
            let spec = ParamSpec { min: Some(min), max: Some(max), ..spec(kind) };
            assert!(spec.check(&good).is_ok(), "{kind:?}");
            assert!(spec.check(&low).expect_err("low").contains("less than the minimum"), "{kind:?}");
            assert!(spec.check(&high).expect_err("high").contains("more than the maximum"), "{kind:?}");
        }
    }

    #[test]
    fn patterns_and_choices_hold_for_each_item_of_a_list() {
        let list = ParamSpec { pattern: Some("^[a-z]+$".into()), ..spec(ParamKind::List) };
        assert!(list.check(&json!("a,b")).is_ok());
        assert!(list.check(&json!("a,B")).expect_err("B").contains("\"B\" does not match"));
        let choice = ParamSpec { choices: vec![json!("a"), json!("b")], ..spec(ParamKind::List) };
        assert!(choice.check(&json!("b,a")).is_ok());
        assert_eq!(choice.check(&json!("b,c")), Err(r#""c" is not one of: "a", "b""#.into()));
        let searched = ParamSpec { pattern: Some("b".into()), ..spec(ParamKind::String) };
        assert!(searched.check(&json!("abc")).is_ok(), "a pattern is searched unless it is anchored");
    }
}
