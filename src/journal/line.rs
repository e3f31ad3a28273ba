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
    /// Boxed until it is in its place: it is large, and much is moved about here.
    event: Box<Event>,
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
    pub fn link(&mut self, line: Line) -> Result<Record, LineFault> {
        if line.prev != self.head && !planted::is(Bug::AnyPrev) {
            return Err(LineFault::Bad("prev is not the hash of the line before".to_owned()));
        }
        self.check_place(line.seq, line.epoch).map_err(LineFault::Bad)?;
        let Line { seq, epoch, t, at, event, head, .. } = line;
        *self = Self { seq, epoch, head };
        Ok(Record { seq, epoch, t, at, event: *event })
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

/// A line that is whole in itself. Whether it fits to the line before is for the [`Chain`] to say.
#[derive(Debug)]
pub(super) struct Line {
    seq: u64,
    epoch: u32,
    t: Millis,
    at: Timestamp,
    event: Box<Event>,
    prev: [u8; 64],
    head: [u8; 64],
}

impl Line {
    /// Checks the sum and the form of a line (without its newline).
    pub fn read(line: &[u8]) -> Result<Self, LineFault> {
        match parse(line) {
            Ok((parsed, head)) if parsed.v == FORMAT => {
                // A text of another length is no hash and fits to no line.
                let prev = parsed.prev.as_bytes().try_into().unwrap_or([0; 64]);
                let LineIn { seq, epoch, t, at, event, .. } = parsed;
                Ok(Self { seq, epoch, t, at, event, prev, head })
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
    if tail[SUM_OPEN.len()..][..SUM_HEX] != sum_of(&hasher) && !planted::is(Bug::AnySum) {
        return Err("its sum does not match its content".to_owned());
    }
    hasher.update(tail);
    let head = hex(&hasher.finalize());
    let parsed = serde_json::from_slice(line).map_err(|error| format!("it is not a record: {error}"))?;
    Ok((parsed, head))
}

fn sum_of(hasher: &Sha256) -> [u8; SUM_HEX] {
    digits(&hasher.clone().finalize())
}

/// Lower-case hex of a SHA-256.
pub(super) fn hex(bytes: &[u8]) -> [u8; 64] {
    digits(bytes)
}

/// The first `N` hex digits of the bytes. A plain loop: this is done thrice for each line of a journal.
fn digits<const N: usize>(bytes: &[u8]) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; N];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)).iter().map(|b| char::from(*b)).collect()
}
