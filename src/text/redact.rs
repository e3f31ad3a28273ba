//! Takes secrets out of output before it reaches a file, the screen or the journal.
//!
//! Every secret is looked for as it is and in the forms in which commands tend to print it (base64, hex, escaped for
//! a URL, JSON or a shell). This is best effort: a command that encrypts or splits a secret by itself gets past it.
//!
//! The masked text is defined on the whole stream: the union of all matches, overlapping ones merged, each run
//! replaced by `***`. A [`RedactStream`] gives the same for any chunking, holds back only bytes that may be the
//! beginning of a match, and so never more than the longest pattern.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind, packed};
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::model::Secret;
use crate::planted::{self, Bug};

/// What stands where a secret stood.
const MASK: &[u8] = crate::model::MASK.as_bytes();
/// Shorter values would mask half of every text.
const SHORTEST: usize = 4;

/// RFC 3986: what need not be escaped in a URL.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// JavaScript's `encodeURIComponent`.
const URI_COMPONENT: &AsciiSet = &URL.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');

/// Knows the secrets of a run. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Patterns>>);

struct Patterns {
    patterns: Vec<Vec<u8>>,
    /// Pattern numbers by first byte.
    by_first: Vec<Vec<usize>>,
    longest: usize,
    /// Vectorised; finds where to look closely, which is nowhere in nearly all output.
    quick: Option<packed::Searcher>,
    all: AhoCorasick,
}

impl Redactor {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self::from_values(secrets.into_iter().map(Secret::expose))
    }

    pub(crate) fn from_values<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut patterns = BTreeSet::new();
        for value in values {
            let trimmed = value.trim_ascii();
            for form in
                [value, trimmed].into_iter().chain(value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii))
            {
                if form.len() >= SHORTEST {
                    add_forms(form, &mut patterns);
                }
            }
        }
        if patterns.is_empty() {
            return Self(None);
        }
        let patterns: Vec<Vec<u8>> = patterns.into_iter().collect();
        let all = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns);
        // It fails only beyond two thousand million states. Then masking everything is the safe answer.
        let Ok(all) = all else { return Self::mask_everything() };
        Self(Some(Arc::new(Patterns::new(patterns, all))))
    }

    fn mask_everything() -> Self {
        let patterns: Vec<Vec<u8>> = (0..=u8::MAX).map(|b| vec![b]).collect();
        match AhoCorasick::new(&patterns) {
            Ok(all) => Self(Some(Arc::new(Patterns::new(patterns, all)))),
            Err(_) => Self(None),
        }
    }

    /// True: there is nothing to look for, the bytes may be passed on as they are.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn redact_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        let mut stream = self.stream();
        stream.push(bytes, &mut out);
        stream.finish(&mut out);
        out
    }

    /// The text without secrets.
    pub fn redact_text(&self, text: &str) -> String {
        if self.is_idle() {
            return text.to_owned();
        }
        String::from_utf8_lossy(&self.redact_bytes(text.as_bytes())).into_owned()
    }

    /// For an output that arrives in pieces.
    pub fn stream(&self) -> RedactStream {
        RedactStream { patterns: self.0.clone(), held: Vec::new(), covered: 0 }
    }
}

impl Patterns {
    fn new(patterns: Vec<Vec<u8>>, all: AhoCorasick) -> Self {
        let mut by_first = vec![Vec::new(); 256];
        for (number, pattern) in patterns.iter().enumerate() {
            by_first[usize::from(pattern[0])].push(number);
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        let quick = packed::Searcher::new(&patterns);
        Self { patterns, by_first, longest, quick, all }
    }

    /// Every match that starts before `safe`, in order.
    fn matches(&self, bytes: &[u8], safe: usize) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut look = |from: usize, to: usize, starts_before: usize| {
            let matches = self.all.find_overlapping_iter(&bytes[from..to]);
            let placed = matches.map(|m| (from + m.start(), from + m.end()));
            found.extend(placed.filter(|(start, _)| *start < starts_before));
        };
        let Some(quick) = &self.quick else {
            look(0, bytes.len(), safe);
            found.sort_unstable();
            return found;
        };
        let mut at = 0;
        // The first match from `at` on; what starts within the length of the longest pattern from there lies wholly
        // within twice that length.
        while let Some(first) = quick.find_in(bytes, aho_corasick::Span { start: at, end: bytes.len() })
            && first.start() < safe
        {
            at = (first.start() + self.longest).min(bytes.len());
            look(first.start(), (at + self.longest).min(bytes.len()), at.min(safe));
        }
        found.sort_unstable();
        found
    }

    /// From where on the bytes may be the unfinished beginning of a match; their length if nowhere.
    fn unfinished_from(&self, bytes: &[u8]) -> usize {
        if planted::is(Bug::MaskEachChunk) {
            return bytes.len();
        }
        let first = bytes.len().saturating_sub(self.longest.saturating_sub(1));
        (first..bytes.len())
            .find(|&at| {
                let rest = &bytes[at..];
                self.by_first[usize::from(rest[0])].iter().any(|&number| {
                    let pattern = &self.patterns[number];
                    pattern.len() > rest.len() && pattern.starts_with(rest)
                })
            })
            .unwrap_or(bytes.len())
    }

    /// Writes `bytes[..safe]`, masked. The first `covered` bytes lie under a mask that is already written. Returns how
    /// many bytes after `safe` lie under the last mask.
    fn mask(&self, bytes: &[u8], covered: usize, safe: usize, out: &mut Vec<u8>) -> usize {
        let mut end = covered;
        for (start, stop) in self.matches(bytes, safe) {
            if start >= end {
                out.extend_from_slice(&bytes[end..start]);
                out.extend_from_slice(MASK);
            }
            end = end.max(stop);
        }
        if end < safe {
            out.extend_from_slice(&bytes[end..safe]);
        }
        end.saturating_sub(safe)
    }
}

/// One output on its way.
pub struct RedactStream {
    patterns: Option<Arc<Patterns>>,
    /// Bytes that may be the beginning of a match.
    held: Vec<u8>,
    /// So many bytes of `held` lie under a mask that is already written.
    covered: usize,
}

impl RedactStream {
    /// True: bytes may bypass the stream.
    pub(crate) fn is_idle(&self) -> bool {
        self.patterns.is_none()
    }

    /// Appends to `out` what of the output is known to be harmless by now, masked.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Some(patterns) = &self.patterns else { return out.extend_from_slice(chunk) };
        if self.held.is_empty() {
            let safe = patterns.unfinished_from(chunk);
            self.covered = patterns.mask(chunk, 0, safe, out);
            self.held.extend_from_slice(&chunk[safe..]);
        } else {
            self.held.extend_from_slice(chunk);
            let safe = patterns.unfinished_from(&self.held);
            self.covered = patterns.mask(&self.held, self.covered, safe, out);
            self.held.drain(..safe);
        }
    }

    /// No more bytes will come: what was held back was no beginning of a match.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(patterns) = &self.patterns {
            patterns.mask(&self.held, self.covered, self.held.len(), out);
            self.held = Vec::new();
            self.covered = 0;
        }
    }
}

fn add_forms(value: &[u8], out: &mut BTreeSet<Vec<u8>>) {
    out.insert(value.to_vec());
    for shift in 0..3 {
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            out.insert(base64_inside(engine, value, shift));
        }
    }
    let lower: String = value.iter().map(|b| format!("{b:02x}")).collect();
    out.insert(lower.to_uppercase().into_bytes());
    out.insert(lower.into_bytes());
    for set in [URL, URI_COMPONENT] {
        let escaped = percent_encode(value, set).to_string();
        out.insert(escaped.replace("%20", "+").into_bytes());
        out.insert(lower_escapes(&escaped));
        out.insert(escaped.into_bytes());
    }
    out.insert(replace_quote(value));
    out.insert(backslashed(value));
    if let Ok(text) = std::str::from_utf8(value)
        && let Ok(json) = serde_json::to_string(text)
    {
        let inner = &json[1..json.len() - 1];
        out.insert(ascii_only(inner).into_bytes());
        out.insert(inner.replace('/', r"\/").into_bytes());
        out.insert(inner.as_bytes().to_vec());
    }
}

/// The characters of the base64 text that depend on the value alone, when `shift` bytes (mod 3) stand before it.
fn base64_inside(engine: &impl base64::Engine, value: &[u8], shift: usize) -> Vec<u8> {
    let mut bytes = vec![0; shift];
    bytes.extend_from_slice(value);
    let text = engine.encode(&bytes);
    let whole = bytes.len() * 8 / 6;
    let skip = (shift * 8).div_ceil(6);
    text.as_bytes()[skip..whole].to_vec()
}

/// `%2F` as `%2f`.
fn lower_escapes(escaped: &str) -> Vec<u8> {
    let mut out = escaped.as_bytes().to_vec();
    let mut at = 0;
    while at + 2 < out.len() {
        if out[at] == b'%' {
            out[at + 1..at + 3].make_ascii_lowercase();
            at += 2;
        }
        at += 1;
    }
    out
}

/// As a shell needs it between single quotes.
fn replace_quote(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            _ => out.push(*byte),
        }
    }
    out
}

/// As `printf %q` writes it.
fn backslashed(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"-_./:=@%+".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// JSON as many tools write it: all that is not ASCII as `\uXXXX`.
fn ascii_only(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for unit in json.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        Redactor::from_values(secrets.iter().map(|s| s.as_bytes()))
    }

    #[test]
    fn every_form_is_masked() {
        let secret = "p'ss/w ö\"rd&1";
        let r = redactor(&[secret]);
        let b64 = |prefix: &str| STANDARD_NO_PAD.encode(format!("{prefix}{secret}-and-more"));
        for text in [
            secret.to_owned(),
            secret.replace('\'', r"'\''"),
            percent_encode(secret.as_bytes(), URL).to_string(),
            percent_encode(secret.as_bytes(), URL).to_string().to_lowercase(),
            serde_json::to_string(secret).unwrap(),
            r#"p'ss/w \u00f6\"rd&1"#.to_owned(),
            secret.bytes().map(|b| format!("{b:02X}")).collect(),
        ] {
            let masked = r.redact_text(&format!("a {text} b"));
            assert!(masked == "a *** b" || masked == "a \"***\" b", "{text}: {masked}");
        }
        for prefix in ["", "x", "xy", "xyz"] {
            let masked = r.redact_text(&b64(prefix));
            assert!(masked.contains("***"), "{masked}");
            assert!(!masked.contains(&b64(prefix)[8..16]), "{masked}");
        }
    }

    #[test]
    fn short_values_are_left_and_lines_are_found() {
        assert_eq!(redactor(&["abc"]).redact_text("abc"), "abc");
        let r = redactor(&["-----BEGIN-----\nMIIEvQ\n"]);
        assert_eq!(r.redact_text("x MIIEvQ y"), "x *** y");
    }

    #[test]
    fn overlapping_matches_leave_no_tail() {
        let r = redactor(&["abcdef", "defghi"]);
        assert_eq!(r.redact_text("_abcdefghi_"), "_***_");
        assert_eq!(r.redact_text("abcdefabcdef"), "******");
    }

    #[test]
    fn what_cannot_be_a_secret_is_not_held_back() {
        let r = redactor(&["hunter2-hunter2"]);
        let mut stream = r.stream();
        let mut out = Vec::new();
        stream.push(b"Continue? ", &mut out);
        assert_eq!(out, b"Continue? ");
        stream.push(b"hunt", &mut out);
        assert_eq!(out, b"Continue? ");
        stream.finish(&mut out);
        assert_eq!(out, b"Continue? hunt");
    }

    /// Near and far from each other, touching and overlapping, at both ends: the same as looking everywhere.
    #[test]
    fn a_text_with_many_secrets_is_masked_everywhere() {
        let (one, two) = ("correct-horse", "horse-battery-staple");
        let r = redactor(&[one, two]);
        assert!(r.0.as_ref().unwrap().quick.is_some());
        let (mut text, mut expected) = (String::new(), String::new());
        for gap in (0..400).step_by(7) {
            let filler = "correct-hors ".repeat(gap / 13 + 1);
            for (secret, masked) in [(one, "***"), (two, "***"), ("correct-horse-battery-staple", "***")] {
                text += &format!("{secret}|{filler}{secret}{secret}");
                expected += &format!("{masked}|{filler}{masked}{masked}");
            }
        }
        assert_eq!(r.redact_text(&text), expected);
    }

    #[test]
    fn endless_repetition_is_bounded() {
        let r = redactor(&["aaaa"]);
        let mut stream = r.stream();
        let mut out = Vec::new();
        for _ in 0..1000 {
            stream.push(&[b'a'; 1000], &mut out);
            assert!(stream.held.len() < 64);
        }
        stream.finish(&mut out);
        assert_eq!(out, b"***");
    }

    proptest! {
        #[test]
        fn any_chunking_equals_the_whole(
            secrets in prop::collection::vec("[ab]{4,7}", 1..4),
            text in "[ab\n]{0,120}",
            cuts in prop::collection::vec(0usize..120, 0..12),
        ) {
            let r = Redactor::from_values(secrets.iter().map(|s| s.as_bytes()));
            let whole = r.redact_bytes(text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|c| *c <= text.len()).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let mut out = Vec::new();
            let mut stream = r.stream();
            let mut from = 0;
            for cut in cuts {
                stream.push(&text.as_bytes()[from..cut], &mut out);
                from = cut;
            }
            stream.finish(&mut out);
            prop_assert_eq!(&out, &whole);
            for secret in &secrets {
                prop_assert!(!String::from_utf8_lossy(&out).contains(secret.as_str()));
            }
        }
    }
}
