//! Stamps and spans of time, and sizes, as people type and read them.

use std::cell::LazyCell;
use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Utc};
use serde::de::{self, Visitor};
use serde::{Deserialize, Serialize};

/// A moment on the wall clock, UTC, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

impl Timestamp {
    fn utc(self) -> DateTime<Utc> {
        // A stamp out of chrono's range (some 262,000 years) can only come from a forged record: show the epoch.
        Utc.timestamp_millis_opt(self.0).single().unwrap_or_default()
    }

    /// As `pattern` says: `Y`, `M`, `D`, `h`, `m`, `s` and `f` (milliseconds) are numbers, all else stands for itself. A log
    /// and a report are full of stamps, and chrono reads its own patterns anew for each.
    fn written(self, pattern: &str) -> String {
        let of_day = u32::try_from(self.0.rem_euclid(DAY)).unwrap_or(0);
        let (second, date) = (of_day / 1000, LazyCell::new(|| self.utc().date_naive()));
        let mut text = String::with_capacity(pattern.len() + 16);
        for letter in pattern.chars() {
            let (number, first) = match letter {
                'Y' => match u32::try_from(date.year()) {
                    Ok(year @ 0..=9999) => (year, 1000),
                    _ => {
                        text.push_str(&date.format("%Y").to_string());
                        continue;
                    }
                },
                'M' => (date.month(), 10),
                'D' => (date.day(), 10),
                'h' => (second / 3600, 10),
                'm' => (second / 60 % 60, 10),
                's' => (second % 60, 10),
                'f' => (of_day % 1000, 100),
                other => {
                    text.push(other);
                    continue;
                }
            };
            let mut place = first;
            while place > 0 {
                text.extend(char::from_digit(number / place % 10, 10));
                place /= 10;
            }
        }
        text
    }

    /// The day, UTC, since 1970.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY)
    }

    /// `20261121T103755Z`, as used in a run's id.
    pub fn compact(self) -> String {
        self.written("YMDThmsZ")
    }

    /// `10:37:55`, UTC.
    pub fn clock(self) -> String {
        self.written("h:m:s")
    }

    /// `2026-11-21 10:37:55`, UTC.
    pub fn human(self) -> String {
        self.written("Y-M-D h:m:s")
    }

    /// `2026-11-21`, UTC.
    pub fn date(self) -> String {
        self.written("Y-M-D")
    }

    /// Bytes of a stamp as [`Display`](fmt::Display) writes it, up to the year 9999.
    pub const LENGTH: usize = 24;

    /// Parses RFC 3339, with any offset.
    pub fn parse(text: &str) -> Option<Self> {
        Self::as_written(text).or_else(|| Self::parse_any(text))
    }

    /// A stamp exactly as [`Display`](fmt::Display) writes it. There are many in a journal, and this is the shorter way.
    pub fn as_written(text: &str) -> Option<Self> {
        let text: &[u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
        if marks.iter().any(|(at, mark)| text[*at] != *mark) {
            return None;
        }
        let number = |from: usize, to: usize| {
            text[from..to].iter().try_fold(0, |number: u32, byte| {
                byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
            })
        };
        let date = NaiveDate::from_ymd_opt(number(0, 4)?.cast_signed(), number(5, 7)?, number(8, 10)?)?;
        let time =
            date.and_hms_milli_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?)?;
        Some(Self(time.and_utc().timestamp_millis()))
    }

    fn parse_any(text: &str) -> Option<Self> {
        DateTime::parse_from_rfc3339(text).ok().map(|t| Self(t.timestamp_millis()))
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later (a clock was set back).
    pub fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 with milliseconds and `Z`: `2026-11-21T10:37:55.120Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written("Y-M-DTh:m:s.fZ"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.written("Y-M-DTh:m:s.fZ"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Stamp;
        impl Visitor<'_> for Stamp {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::custom("not an RFC 3339 time"))
            }
        }
        d.deserialize_str(Stamp)
    }
}

/// A span of time in milliseconds; also a moment of a run, counted from the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const ZERO: Self = Self(0);
    pub const fn secs(s: u64) -> Self {
        Self(s * 1000)
    }
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_millis(*self))
    }
}

/// For people: `340ms`, `4.2s`, `1m05s`, `2h03m`, `3d04h`.
pub fn format_millis(ms: Millis) -> String {
    let ms = ms.0;
    let s = ms / 1000;
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{s}.{}s", ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", s / 60, s % 60),
        3_600_000..86_400_000 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// Parses `500ms`, `30s`, `15m`, `1h30m`, `2d`. Units go from large to small, each at most once.
/// The error says what to write instead.
pub fn parse_duration(text: &str) -> Result<Millis, String> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    const EXAMPLES: &str = "write a number and a unit, such as 500ms, 30s, 15m, 1h30m or 2d";
    if text.is_empty() {
        return Err(EXAMPLES.into());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("a bare number has no unit: write {text}s for seconds or {text}m for minutes"));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() || unit.is_empty() {
            return Err(EXAMPLES.into());
        }
        let Some(at) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(match unit {
                "M" => format!("the unit M is not known: write {number}m for minutes"),
                _ => format!("the unit {unit:?} is not known: {EXAMPLES}"),
            });
        };
        if at < next_unit {
            return Err("write the larger unit first and each unit once, such as 1h30m".into());
        }
        next_unit = at + 1;
        let number: u64 = number.parse().map_err(|_| "the duration is too long".to_owned())?;
        total = number
            .checked_mul(UNITS[at].1)
            .and_then(|n| total.checked_add(n))
            .filter(|n| *n <= 100 * 365 * 86_400_000)
            .ok_or_else(|| "the duration is longer than 100 years".to_owned())?;
        rest = tail;
    }
    Ok(Millis(total))
}

/// Parses a size: `512`, `200KiB`, `200MiB`, `2GiB`, `1TiB` (powers of 1024), or `kB`, `MB`, `GB`, `TB` (of 1000).
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "TB" => 1000 * 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("write a size such as 512B, 200MiB or 2GiB".into()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "write a size such as 512B, 200MiB or 2GiB".into())
}

/// For people: `512 B`, `1.4 KiB`, `200.0 MiB`.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written(ms in -62_167_219_200_000_i64..253_402_300_800_000) {
            let text = Timestamp(ms).to_string();
            prop_assert_eq!(Timestamp::as_written(&text), Some(Timestamp(ms)));
            prop_assert_eq!(Timestamp::parse_any(&text), Some(Timestamp(ms)));
        }

        /// The short way knows nothing that the long one does not.
        #[test]
        fn what_looks_like_a_stamp_is_one(
            text in "(0000|[0-9]{4})-[0-3][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}[Zz]",
        ) {
            if let Some(stamp) = Timestamp::as_written(&text) {
                prop_assert_eq!(Timestamp::parse_any(&text), Some(stamp));
            }
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Millis(5_400_000)));
        assert_eq!(parse_duration("2d"), Ok(Millis(172_800_000)));
        for (bad, hint) in [
            ("30", "30s"),
            ("1M", "1m"),
            ("1month", "unit"),
            ("m", "number"),
            ("-1s", "number"),
            ("1.5h", "number"),
            ("5m1h", "larger"),
            ("5s5s", "larger"),
            ("99999999999999999999d", "too long"),
            ("40000d", "100 years"),
            ("", "number"),
            ("1s ", "number"),
        ] {
            let error = parse_duration(bad).expect_err(bad);
            assert!(error.contains(hint), "{bad}: {error}");
        }
    }

    #[test]
    fn spans_as_people_read_them() {
        for (ms, text) in
            [(0, "0ms"), (4_250, "4.2s"), (65_000, "1m05s"), (7_380_000, "2h03m"), (273_600_000, "3d04h")]
        {
            assert_eq!(format_millis(Millis(ms)), text);
        }
    }

    #[test]
    fn stamps_read_back() {
        let stamp = Timestamp::parse("2026-11-21T11:37:55.120+01:00").unwrap();
        assert_eq!(stamp.to_string(), "2026-11-21T10:37:55.120Z");
        assert_eq!(Timestamp::parse(&stamp.to_string()), Some(stamp));
        assert_eq!(stamp.compact(), "20261121T103755Z");
        assert_eq!(stamp.human(), "2026-11-21 10:37:55");
        assert_eq!((stamp.date(), stamp.clock()), ("2026-11-21".into(), "10:37:55".into()));
        // As chrono writes them, also where no clock has ever stood.
        for millis in
            [0, 1, -1, 951_782_400_000, -62_135_596_800_000, 253_402_300_799_999, 253_402_300_800_000]
        {
            let stamp = Timestamp(millis);
            assert_eq!(stamp.to_string(), stamp.utc().format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
            assert_eq!(stamp.compact(), stamp.utc().format("%Y%m%dT%H%M%SZ").to_string());
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("200MiB"), Ok(200 << 20));
        assert_eq!(parse_bytes("2 GB"), Ok(2_000_000_000));
        assert!(parse_bytes("2 gigs").is_err());
        assert!(parse_bytes("99999999999TiB").is_err());
        assert_eq!(format_bytes(1434), "1.4 KiB");
    }
}
