//! Values on their way to a PostgreSQL server and back. Both ways as text: the server reads and writes each of its types,
//! and those of its extensions, better than anybody else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value, json};

type Oid = u32;

const BOOL: Oid = 16;
const BYTEA: Oid = 17;
const JSON: [Oid; 2] = [114, 3802];
const INTEGERS: [Oid; 4] = [20, 21, 23, 26];
const FLOATS: [Oid; 2] = [700, 701];
const NUMERIC: Oid = 1700;
const TIMESTAMPTZ: Oid = 1184;
/// The first of what is not built in: types of extensions and of users.
const FIRST_FOREIGN: Oid = 16384;
/// Digits that a number of JSON holds for sure.
const DIGITS: usize = 15;

/// Arrays that are read as lists, with the type of their items.
const ARRAYS: [(Oid, Oid); 24] = [
    (1000, BOOL),
    (1001, BYTEA),
    (1003, 19),
    (1005, 21),
    (1007, 23),
    (1009, 25),
    (1014, 1042),
    (1015, 1043),
    (1016, 20),
    (1021, 700),
    (1022, 701),
    (1028, 26),
    (1041, 869),
    (1115, 1114),
    (1182, 1082),
    (1183, 1083),
    (1185, TIMESTAMPTZ),
    (1187, 1186),
    (1231, NUMERIC),
    (199, 114),
    (2951, 2950),
    (3221, 3220),
    (3807, 3802),
    (1002, 18),
];

/// A value as the server reads it for a parameter of this type; none is NULL.
pub fn bind(value: &Value, oid: Oid) -> Result<Option<String>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) if JSON.contains(&oid) => value.to_string(),
        Value::Array(items) if is_array(oid) => array(items, json_items(oid))?,
        Value::Array(_) => {
            return Err(
                "a list is bound to an array or to JSON only: write {{ x }}::text[] or {{ x }}::jsonb".into(),
            );
        }
        Value::Object(_) => return Err("a map is bound to JSON only: write {{ x }}::jsonb".into()),
    };
    match text.contains('\0') {
        true => Err("a value holds a NUL byte, which no text of PostgreSQL can".into()),
        false => Ok(Some(text)),
    }
}

/// What is not built in may be one: the server will say.
fn is_array(oid: Oid) -> bool {
    oid >= FIRST_FOREIGN || ARRAYS.iter().any(|(array, _)| *array == oid)
}

fn json_items(oid: Oid) -> bool {
    ARRAYS.iter().any(|(array, item)| *array == oid && JSON.contains(item))
}

/// `{1,"a b",NULL}`
fn array(items: &[Value], of_json: bool) -> Result<String, String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
    let items = items
        .iter()
        .map(|item| match item {
            Value::Null => Ok("NULL".to_owned()),
            Value::Array(inner) if !of_json => array(inner, of_json),
            Value::Array(_) | Value::Object(_) if of_json => Ok(quoted(&item.to_string())),
            Value::Array(_) | Value::Object(_) => {
                Err("a map cannot stand in a list that is bound".to_owned())
            }
            Value::String(text) => Ok(quoted(text)),
            Value::Bool(_) | Value::Number(_) => Ok(item.to_string()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{{{}}}", items.join(",")))
}

/// A value as the server wrote it. `size` grows by what it takes.
pub fn to_json(text: Option<&[u8]>, oid: Oid, size: &mut usize) -> Value {
    *size += 16;
    let Some(bytes) = text else { return Value::Null };
    *size += bytes.len();
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text, oid),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn read(text: &str, oid: Oid) -> Value {
    let typed = match oid {
        BOOL => match text {
            "t" => Some(Value::Bool(true)),
            "f" => Some(Value::Bool(false)),
            _ => None,
        },
        BYTEA => bytes(text),
        TIMESTAMPTZ => instant(text).map(Value::from),
        _ if INTEGERS.contains(&oid) => text.parse::<i64>().ok().map(Value::from),
        // JSON has no infinity.
        _ if FLOATS.contains(&oid) => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
        NUMERIC => numeric(text),
        _ if JSON.contains(&oid) => serde_json::from_str(text).ok(),
        _ => match ARRAYS.iter().find(|(array, _)| *array == oid) {
            Some((_, item)) => Array { rest: text, item: *item }.whole(),
            None => None,
        },
    };
    typed.unwrap_or_else(|| Value::from(text))
}

/// A number if none of its digits is lost by that, else its text.
fn numeric(text: &str) -> Option<Value> {
    if let Ok(integer) = text.parse::<i64>() {
        return Some(Value::from(integer));
    }
    let digits = text.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'.');
    (plain && digits <= DIGITS).then(|| text.parse().ok().and_then(Number::from_f64).map(Value::Number))?
}

/// As everywhere in runbook: RFC 3339, in UTC, which the session was asked for.
fn instant(text: &str) -> Option<String> {
    let (date, time) = text.strip_suffix("+00")?.split_once(' ')?;
    Some(format!("{date}T{time}Z"))
}

fn bytes(text: &str) -> Option<Value> {
    let hex = text.strip_prefix("\\x")?.as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = hex.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let bytes = pairs.collect::<Option<Vec<u8>>>()?;
    Some(json!({ "base64": STANDARD.encode(bytes) }))
}

/// `{1,"a b",NULL,{2}}` being read. One whose indices do not begin at 1 (`[0:1]={1,2}`) stays a text.
struct Array<'a> {
    rest: &'a str,
    item: Oid,
}

/// Deeper arrays than the server knows are no arrays.
const DEEPEST: usize = 6;

impl Array<'_> {
    fn whole(mut self) -> Option<Value> {
        let value = self.list(0)?;
        self.rest.is_empty().then_some(value)
    }

    fn take(&mut self, c: char) -> bool {
        self.rest.strip_prefix(c).map(|rest| self.rest = rest).is_some()
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        if depth >= DEEPEST || !self.take('{') {
            return None;
        }
        let mut items = Vec::new();
        if self.take('}') {
            return Some(items.into());
        }
        loop {
            items.push(if self.rest.starts_with('{') { self.list(depth + 1)? } else { self.item()? });
            if self.take('}') {
                return Some(items.into());
            }
            if !self.take(',') {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value> {
        if !self.take('"') {
            let end = self.rest.find([',', '}'])?;
            let (text, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(if text == "NULL" { Value::Null } else { read(text, self.item) });
        }
        let mut text = String::new();
        loop {
            let c = self.rest.chars().next()?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '"' => return Some(read(&text, self.item)),
                '\\' => {
                    let escaped = self.rest.chars().next()?;
                    self.rest = &self.rest[escaped.len_utf8()..];
                    text.push(escaped);
                }
                c => text.push(c),
            }
        }
    }
}

/// What `INSERT 0 5`, `UPDATE 3` and the like say. The rows of a mere question are not counted.
pub fn affected(tag: &str, gave_rows: bool) -> u64 {
    let mut words = tag.split(' ');
    match (words.next(), words.next_back()) {
        // `create table ... as`
        (Some("SELECT"), Some(count)) if !gave_rows => count.parse().unwrap_or(0),
        (Some("INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY"), Some(count)) => count.parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(text: &str, oid: Oid) -> Value {
        to_json(Some(text.as_bytes()), oid, &mut 0)
    }

    #[test]
    fn values_of_a_server() {
        for (text, oid, value) in [
            ("t", BOOL, json!(true)),
            ("-9223372036854775808", 20, json!(i64::MIN)),
            ("0.1", 701, json!(0.1)),
            ("NaN", 701, json!("NaN")),
            ("-10.50", NUMERIC, json!(-10.5)),
            ("0.000001234", NUMERIC, json!(0.000_001_234)),
            ("12345678901234567890.5", NUMERIC, json!("12345678901234567890.5")),
            ("9007199254740993", NUMERIC, json!(9_007_199_254_740_993_i64)),
            ("Infinity", NUMERIC, json!("Infinity")),
            ("\\x00ff", BYTEA, json!({"base64": "AP8="})),
            ("{\"a\": [1, null]}", 3802, json!({"a": [1, null]})),
            ("2026-11-21 17:10:00.5+00", TIMESTAMPTZ, json!("2026-11-21T17:10:00.5Z")),
            ("infinity", TIMESTAMPTZ, json!("infinity")),
            ("0/15D68C8", 3220, json!("0/15D68C8")),
            ("{}", 1009, json!([])),
            ("{a,\"b \\\"c\\\\\",NULL,\"NULL\"}", 1009, json!(["a", "b \"c\\", null, "NULL"])),
            ("{{1,2},{3,NULL}}", 1007, json!([[1, 2], [3, null]])),
            ("[0:1]={1,2}", 1007, json!("[0:1]={1,2}")),
            ("{\"{\\\"a\\\": 1}\"}", 3807, json!([{"a": 1}])),
            ("{{{{{{{{1}}}}}}}}", 1007, json!("{{{{{{{{1}}}}}}}}")),
        ] {
            assert_eq!(back(text, oid), value, "{text}");
        }
        assert_eq!(to_json(None, BOOL, &mut 0), Value::Null);
        assert_eq!(to_json(Some(b"\xff"), 25, &mut 0), json!({"base64": "/w=="}));
    }

    #[test]
    fn values_for_a_server() {
        let to = |value: Value, oid| bind(&value, oid);
        assert_eq!(to(json!(null), 25), Ok(None));
        assert_eq!(to(json!("a'; drop"), 25), Ok(Some("a'; drop".into())));
        assert_eq!(to(json!(1.5), 701), Ok(Some("1.5".into())));
        assert_eq!(
            to(json!([1, null, "a\"\\b", [true]]), 1009),
            Ok(Some(r#"{1,NULL,"a\"\\b",{true}}"#.into()))
        );
        assert_eq!(to(json!([{"a": "b"}]), 3807), Ok(Some(r#"{"{\"a\":\"b\"}"}"#.into())));
        assert_eq!(to(json!([1]), 3802), Ok(Some("[1]".into())));
        assert!(to(json!([1]), 25).unwrap_err().contains("::text[]"));
        assert!(to(json!({}), 1009).unwrap_err().contains("::jsonb"));
        assert!(to(json!([{}]), 1009).unwrap_err().contains("in a list"));
        assert!(to(json!("a\0b"), 25).unwrap_err().contains("NUL"));
    }

    #[test]
    fn a_list_comes_back_as_it_went() {
        let list = json!(["", " ", "NULL", "{", "}", ",", "\"", "\\", "\\\"", "ä\n\t", "'", null]);
        let text = bind(&list, 1009).unwrap().unwrap();
        assert_eq!(back(&text, 1009), list);
    }

    #[test]
    fn rows_that_were_changed() {
        assert_eq!(affected("INSERT 0 5", false), 5);
        assert_eq!(affected("UPDATE 3", true), 3);
        assert_eq!(affected("SELECT 7", true), 0);
        assert_eq!(affected("SELECT 7", false), 7);
        assert_eq!(affected("CREATE TABLE", false), 0);
    }
}
