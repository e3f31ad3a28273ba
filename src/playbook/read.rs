//! Reading single values; shared by the validator, which reports, and the decoder, which takes.

use chrono::NaiveDate;

use super::ast::{Node, NodeKind};
use super::shape::Keys;
use crate::model::{Millis, StepId, check_name, parse_bytes, parse_duration};

pub fn duration(text: &str) -> Result<Millis, String> {
    parse_duration(text)
}

/// A duration, or `none` for no limit.
pub fn timeout(text: &str) -> Result<Option<Millis>, String> {
    if text == "none" {
        return Ok(None);
    }
    match parse_duration(text)? {
        Millis(0) => Err("a timeout of 0 ends at once: write none for no limit".into()),
        limit => Ok(Some(limit)),
    }
}

pub fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text)
}

pub fn date(text: &str) -> Result<NaiveDate, String> {
    const HELP: &str = "write year, month and day, such as 2026-11-01";
    let shape_ok = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    if !shape_ok {
        return Err(HELP.into());
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "there is no such day".into())
}

/// A number, whole or not.
pub fn number(node: &Node) -> Option<f64> {
    match node.kind {
        #[expect(clippy::cast_precision_loss, reason = "only compared with small limits")]
        NodeKind::Int(n) => Some(n as f64),
        NodeKind::Float(n) => Some(n),
        _ => None,
    }
}

/// Whether a key may stand in a map of this sort; the error says what to write.
pub fn map_key(keys: Keys, name: &str) -> Result<(), String> {
    let identifier = || {
        name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match keys {
        Keys::Identifier if !identifier() => {
            Err("use letters, digits and _, and begin with a letter, so that expressions can read it".into())
        }
        Keys::Variable if !identifier() => {
            Err("a variable has letters, digits and _, and begins with a letter".into())
        }
        Keys::Name => check_name(name).map_err(|e| e.to_string()),
        Keys::Step => StepId::parse(name).map(|_| ()).map_err(|e| e.to_string()),
        Keys::Header
            if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b)) =>
        {
            Err("a header's name has letters, digits and -".into())
        }
        _ => Ok(()),
    }
}
