//! What a plain YAML scalar is, by the YAML 1.2 core schema, read strictly.

/// A plain scalar's type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plain {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text,
}

/// The type of a plain scalar; an error for numbers that people read in two ways or that cannot be held exactly.
pub fn resolve(text: &str) -> Result<Plain, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Plain::Null),
        "true" => return Ok(Plain::Bool(true)),
        "false" => return Ok(Plain::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("a number must be finite");
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return i64::from_str_radix(digits, radix).map(Plain::Int).map_err(|_| TOO_LARGE);
        }
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            return Err("a number with a leading zero is read differently by different people");
        }
        return text.parse().map(Plain::Int).map_err(|_| TOO_LARGE);
    }
    if !is_float(unsigned) {
        return Ok(Plain::Text);
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() => Ok(Plain::Float(n)),
        Ok(_) => Err(TOO_LARGE),
        Err(_) => Ok(Plain::Text),
    }
}

const TOO_LARGE: &str = "the number is too large";

/// `[0-9]+(\.[0-9]*)?` or `\.[0-9]+`, then perhaps an exponent.
fn is_float(text: &str) -> bool {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent_ok = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    exponent_ok && digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_and_nothing_more() {
        for (text, want) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("null", Plain::Null),
            ("true", Plain::Bool(true)),
            ("True", Plain::Text),
            ("no", Plain::Text),
            ("on", Plain::Text),
            ("yes", Plain::Text),
            ("0", Plain::Int(0)),
            ("-12", Plain::Int(-12)),
            ("+3", Plain::Int(3)),
            ("0x1F", Plain::Int(31)),
            ("0o17", Plain::Int(15)),
            ("1.5", Plain::Float(1.5)),
            ("1.", Plain::Float(1.0)),
            (".5", Plain::Float(0.5)),
            ("1e3", Plain::Float(1000.0)),
            ("1e", Plain::Text),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("e3", Plain::Text),
            ("1.2.3", Plain::Text),
            ("12:30", Plain::Text),
            ("2026-11-01", Plain::Text),
            ("0x", Plain::Text),
            ("5m", Plain::Text),
        ] {
            assert_eq!(resolve(text), Ok(want), "{text:?}");
        }
        for bad in
            ["012", "-007", ".inf", "-.inf", ".nan", "99999999999999999999", "1e999", "0xffffffffffffffffff"]
        {
            assert!(resolve(bad).is_err(), "{bad:?}");
        }
    }
}
