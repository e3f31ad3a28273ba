//! One record as one line, and the chain of lines.
//!
//! A line is a JSON object with its keys in this order, without blanks, ended by a newline:
//!
//! ```json
//! {"v":1,"seq":7,"epoch":1,"t":4210,"at":"2026-11-21T10:37:55.120Z","prev":"<64 hex>","event":{...},"sum":"<16 hex>"}
//! ```
//!
//! `prev` is the SHA-256 of the exact bytes of the line before without its newline, 64 zeros in the first line. `sum` is
//! the first 8 bytes of the SHA-256 of this line up to, not including, `,"sum"`. The hash of a line, which is the head of
//! the chain when it is the last, is over all of it, `sum` included: `tail -n 1 journal.jsonl | tr -d '\n' | sha256sum`.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plain::{self, number};
use crate::model::{Event, FORMAT, Millis, Record, Timestamp};
use crate::planted::{self, Bug};

/// The longest line, without its newline.
pub const MAX_LINE: usize = 16 << 20;

/// The hash "before" the first line.
const GENESIS: [u8; 64] = [b'0'; 64];

const SUM_HEX: usize = 16;
const SUM_OPEN: &[u8] = b",\"sum\":\"";
const SUM_CLOSE: &[u8] = b"\"}";

#[derive(Serialize)]
struct LineOut<'a> {
    v: u32,
    seq: u64,
    epoch: u32,
    t: Millis,
    at: Timestamp,
    prev: &'a str,
    event: &'a Event,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineIn<'a> {
    v: u32,
    seq: u64,
    epoch: u32,
    t: Millis,
    at: Timestamp,
    #[serde(borrow)]
    prev: &'a str,
    event: Event,
    #[serde(borrow, rename = "sum")]
    _sum: &'a str,
}

/// The version alone, of a line that may have anything else in it.
#[derive(Deserialize)]
struct Version {
    v: u64,
}

/// Why a line cannot be the next of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LineFault {
    Newer { found: u64 },
    Bad(String),
}

/// The end of a chain of lines: what the next one must fit to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    seq: u64,
    epoch: u32,
    head: [u8; 64],
}

impl Chain {
    pub fn new() -> Self {
        Self { seq: 0, epoch: 1, head: GENESIS }
    }

    /// The number of lines so far.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The hash of the last line, in hex.
    pub fn head(&self) -> &str {
        // Only hex digits are ever put in.
        std::str::from_utf8(&self.head).unwrap_or_default()
    }

    /// Appends the record's line and its newline to `out`.
    pub fn push(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), String> {
        self.check_place(record.seq, record.epoch)?;
        let start = out.len();
        let line = LineOut {
            v: FORMAT,
            seq: record.seq,
            epoch: record.epoch,
            t: record.t,
            at: record.at,
            prev: self.head(),
            event: &record.event,
        };
        serde_json::to_writer(&mut *out, &line).map_err(|error| error.to_string())?;
        // The closing brace comes after the sum.
        out.pop();
        let mut hasher = Sha256::new_with_prefix(&out[start..]);
        let body_end = out.len();
        out.extend_from_slice(SUM_OPEN);
        out.extend_from_slice(&sum_of(&hasher));
        out.extend_from_slice(SUM_CLOSE);
        let length = out.len() - start;
        if length > MAX_LINE {
            out.truncate(start);
            return Err(format!("it is {length} bytes long, at most {MAX_LINE} are allowed"));
        }
        hasher.update(&out[body_end..]);
        out.push(b'\n');
        *self = Self { seq: record.seq, epoch: record.epoch, head: hex(&hasher.finalize()) };
        Ok(())
    }

    /// Takes a line that was read as the next of the chain.
    pub fn link<T>(&mut self, line: &Line<T>) -> Result<(), LineFault> {
        if line.prev != self.head && !planted::is(Bug::AnyPrev) {
            return Err(LineFault::Bad("prev is not the hash of the line before".to_owned()));
        }
        self.check_place(line.seq, line.epoch).map_err(LineFault::Bad)?;
        *self = Self { seq: line.seq, epoch: line.epoch, head: line.head };
        Ok(())
    }

    /// Sequence numbers have no gaps; an epoch follows the one before; the first is 1.
    fn check_place(&self, seq: u64, epoch: u32) -> Result<(), String> {
        let next = self.seq.checked_add(1);
        if next != Some(seq) {
            return Err(format!("seq is {seq} after {}", self.seq));
        }
        let follows = epoch == self.epoch || (self.seq > 0 && self.epoch.checked_add(1) == Some(epoch));
        if !follows && !planted::is(Bug::AnyEpoch) {
            return Err(format!("epoch is {epoch} where {} was expected", self.epoch));
        }
        Ok(())
    }
}

/// A line that is whole in itself, and what is kept of its event. Whether it fits to the line before is for the [`Chain`]
/// to say.
#[derive(Debug)]
pub(super) struct Line<T> {
    pub seq: u64,
    epoch: u32,
    t: Millis,
    at: Timestamp,
    pub event: T,
    prev: [u8; 64],
    head: [u8; 64],
}

/// An event in a box until it is in its place: it is large, and lines are moved about.
impl From<Line<Box<Event>>> for Record {
    fn from(line: Line<Box<Event>>) -> Self {
        let Line { seq, epoch, t, at, event, .. } = line;
        Self { seq, epoch, t, at, event: *event }
    }
}

impl<T> Line<T> {
    /// Checks the sum and the form of a line (without its newline). The event is read whole, whatever is kept of it.
    pub fn read(line: &[u8], keep: impl FnOnce(Event) -> T) -> Result<Self, LineFault> {
        match parse(line) {
            Ok((parsed, head)) if parsed.v == FORMAT => {
                // A text of another length is no hash and fits to no line.
                let prev = parsed.prev.as_bytes().try_into().unwrap_or([0; 64]);
                let LineIn { seq, epoch, t, at, event, .. } = parsed;
                Ok(Self { seq, epoch, t, at, event: keep(event), prev, head })
            }
            // A newer version may look different in every other way.
            other => Err(match (serde_json::from_slice(line), other) {
                (Ok(Version { v }), _) if v > u64::from(FORMAT) => LineFault::Newer { found: v },
                (_, Err(why)) => LineFault::Bad(why),
                (_, Ok((parsed, _))) => LineFault::Bad(format!("there is no format {}", parsed.v)),
            }),
        }
    }
}

/// Checks the line's own sum and its form; gives its content and its hash.
fn parse(line: &[u8]) -> Result<(LineIn<'_>, [u8; 64]), String> {
    const TAIL: usize = SUM_OPEN.len() + SUM_HEX + SUM_CLOSE.len();
    let (body, tail) = line
        .len()
        .checked_sub(TAIL)
        .map(|at| line.split_at(at))
        .filter(|(_, tail)| tail.starts_with(SUM_OPEN) && tail.ends_with(SUM_CLOSE))
        .ok_or("it does not end in a sum")?;
    let mut hasher = Sha256::new_with_prefix(body);
    let sum = &tail[SUM_OPEN.len()..][..SUM_HEX];
    if sum != sum_of(&hasher) && !planted::is(Bug::AnySum) {
        return Err("its sum does not match its content".to_owned());
    }
    hasher.update(tail);
    let head = hex(&hasher.finalize());
    let text = std::str::from_utf8(line).map_err(|error| format!("it is not a record: {error}"))?;
    if are_digits(sum)
        && let Some(parsed) = text.get(..body.len()).and_then(as_written)
    {
        return Ok((parsed, head));
    }
    let parsed = serde_json::from_str(text).map_err(|error| format!("it is not a record: {error}"))?;
    Ok((parsed, head))
}

/// A line up to its sum, if it looks exactly as [`Chain::push`] writes it and means something. Any other line may still
/// be good JSON; that is decided, and what is wrong is said, by who reads it as JSON. This is the shorter way to the
/// same, and nearly every line takes it.
fn as_written(body: &str) -> Option<LineIn<'_>> {
    let rest = body.strip_prefix("{\"v\":")?;
    let (v, rest) = number(rest)?;
    let (seq, rest) = number(rest.strip_prefix(",\"seq\":")?)?;
    let (epoch, rest) = number(rest.strip_prefix(",\"epoch\":")?)?;
    let (t, rest) = number(rest.strip_prefix(",\"t\":")?)?;
    let (at, rest) = rest.strip_prefix(",\"at\":\"")?.split_at_checked(Timestamp::LENGTH)?;
    let (prev, rest) = rest.strip_prefix("\",\"prev\":\"")?.split_at_checked(GENESIS.len())?;
    let event = rest.strip_prefix("\",\"event\":")?;
    if !are_digits(prev.as_bytes()) {
        return None;
    }
    Some(LineIn {
        v: u32::try_from(v).ok()?,
        seq,
        epoch: u32::try_from(epoch).ok()?,
        t: Millis(t),
        at: Timestamp::as_written(at)?,
        prev,
        event: plain::event(event).or_else(|| serde_json::from_str(event).ok())?,
        _sum: "",
    })
}

/// Whether all of them are digits as [`digits`] makes them. All are looked at, for many are looked at in one go then.
fn are_digits(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |all, byte| all & matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn sum_of(hasher: &Sha256) -> [u8; SUM_HEX] {
    digits(&hasher.clone().finalize())
}

/// Lower-case hex of a SHA-256.
pub(super) fn hex(bytes: &[u8]) -> [u8; 64] {
    digits(bytes)
}

/// The first `N` hex digits of the bytes. Reckoned, not looked up: the compiler makes many at once, and this is done
/// twice for each line of a journal.
fn digits<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut out = [0; N];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = digit(byte >> 4);
        pair[1] = digit(byte & 15);
    }
    out
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)).iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(line: &str) -> &str {
        &line[..line.rfind(",\"sum\"").unwrap()]
    }

    fn as_json(line: &str) -> Option<(u64, u32, Millis, Timestamp, &str, Event)> {
        let line: LineIn<'_> = serde_json::from_str(line).ok()?;
        Some((line.seq, line.epoch, line.t, line.at, line.prev, line.event))
    }

    fn by_looks(line: &str) -> Option<(u64, u32, Millis, Timestamp, &str, Event)> {
        let line = as_written(body(line))?;
        Some((line.seq, line.epoch, line.t, line.at, line.prev, line.event))
    }

    const GOLDEN: &str = include_str!("../../tests/golden/journal-v1.jsonl");

    #[test]
    fn what_is_written_is_known_by_its_looks() {
        for line in GOLDEN.lines() {
            assert!(by_looks(line).is_some(), "{line}");
            assert_eq!(by_looks(line), as_json(line), "{line}");
        }
    }

    #[test]
    fn digits_are_those_of_everybody() {
        let bytes: Vec<u8> = (0..=255).collect();
        for bytes in bytes.chunks(32) {
            let formatted: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex(bytes).as_slice(), formatted.as_bytes());
            assert!(are_digits(formatted.as_bytes()));
        }
        // Each byte at each place, and in what is left over after eights.
        for (at, byte) in (0..11).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
            let mut text = *b"0123456789a";
            text[at] = byte;
            assert_eq!(
                are_digits(&text),
                byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                "{byte} at {at}"
            );
        }
    }

    proptest! {
        /// Whatever is known by its looks is what JSON says of the whole line.
        #[test]
        fn looks_never_deceive(
            line in any::<prop::sample::Index>(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4, "[\"{}:,0-9a-z\\\\ é]{0,3}"), 1..3),
        ) {
            let lines: Vec<&str> = GOLDEN.lines().collect();
            let mut line = lines[line.index(lines.len())].to_owned();
            for (index, cut, insert) in edits {
                let at = index.index(body(&line).len());
                let at = (0..=at).rev().find(|at| line.is_char_boundary(*at)).unwrap();
                let end = (at + cut).min(body(&line).len());
                let end = (end..).find(|end| line.is_char_boundary(*end)).unwrap();
                line.replace_range(at..end, &insert);
            }
            if let Some(found) = by_looks(&line) {
                prop_assert_eq!(Some(found), as_json(&line));
            }
        }
    }
}
