//! The redactor: no secret of four bytes or more, in none of the forms that are promised, is in what comes out; the
//! chunks in which bytes arrive do not matter; everything else passes unchanged.
//!
//! Input: a byte that chooses the chunks; secrets, each ended by 0xff, up to an empty one; then the output of a command,
//! in which 0xfe, n stands for one of the forms of one of the secrets.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use runbook::exec::Redactor;
use runbook::model::Secret;

use super::input::Input;

const MOST_SECRETS: usize = 4;

pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let pace = usize::from(input.byte());
    let mut values: Vec<&[u8]> = Vec::new();
    while values.len() < MOST_SECRETS && !input.is_empty() {
        match input.until(0xff) {
            [] => break,
            value => values.push(value),
        }
    }
    let forms: Vec<Vec<u8>> =
        values.iter().flat_map(|v| parts(v)).flat_map(forms).collect::<BTreeSet<_>>().into_iter().collect();
    let output = spell(input, &forms);

    let secrets: Vec<Secret> = values.iter().map(|value| Secret::new(value.to_vec())).collect();
    let redactor = Redactor::new(&secrets);
    let masked = in_chunks(&redactor, &[&output]);
    let chunks: Vec<&[u8]> = output.chunks(pace % 11 + 1).collect();
    assert_eq!(in_chunks(&redactor, &chunks), masked, "chunks of {} bytes", pace % 11 + 1);
    let uneven: Vec<&[u8]> = uneven(&output, pace);
    assert_eq!(in_chunks(&redactor, &uneven), masked, "uneven chunks");

    assert_eq!(show(&masked), show(&naive(&output, &forms)), "as if looked for one by one");
    for form in &forms {
        // A form with a star could be made of a mask and what stands beside it.
        if !form.contains(&b'*') {
            assert!(!holds(&masked, form), "{} is in {}", show(form), show(&masked));
        }
    }
    if !forms.iter().any(|form| holds(&output, form)) {
        assert_eq!(show(&masked), show(&output), "nothing to hide, nothing changed");
    }
    if let Ok(text) = std::str::from_utf8(&output) {
        assert_eq!(redactor.redact_text(text), String::from_utf8_lossy(&masked), "a text as its bytes");
    }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn holds(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// The command's output with the secrets' forms put in.
fn spell(mut input: Input<'_>, forms: &[Vec<u8>]) -> Vec<u8> {
    let mut output = Vec::new();
    while !input.is_empty() {
        match input.byte() {
            0xfe if !forms.is_empty() => {
                output.extend_from_slice(&forms[usize::from(input.byte()) % forms.len()])
            }
            byte => output.push(byte),
        }
    }
    output
}

fn in_chunks(redactor: &Redactor, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut stream, mut out) = (redactor.stream(), Vec::new());
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    out
}

fn uneven(mut bytes: &[u8], pace: usize) -> Vec<&[u8]> {
    let (mut chunks, mut state) = (Vec::new(), pace);
    while !bytes.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345) % (1 << 31);
        let (chunk, rest) = bytes.split_at((state >> 16) % 40 % (bytes.len() + 1));
        chunks.push(chunk);
        bytes = rest;
    }
    chunks
}

/// What of a secret's value is looked for: all of it, without the blanks around it, and each line.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    [value, value.trim_ascii()].into_iter().chain(lines).filter(|part| part.len() >= 4)
}

/// The forms that are promised to be found, made in another way than the product makes them.
fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([value.to_vec()]);
    for before in 0..3 {
        for engine in [&STANDARD, &URL_SAFE] {
            forms.insert(alike(|b| engine.encode(b).into_bytes(), value, before));
        }
    }
    for hex in [|b: &u8| format!("{b:02x}"), |b: &u8| format!("{b:02X}")] {
        forms.insert(value.iter().map(hex).collect::<String>().into_bytes());
    }
    for plain in ["-._~", "-._~!'()*"] {
        let escape = |upper: bool, blank: &str| -> Vec<u8> {
            let each = value.iter().map(|b| match b {
                b if b.is_ascii_alphanumeric() || plain.as_bytes().contains(b) => char::from(*b).to_string(),
                b' ' => blank.to_owned(),
                b if upper => format!("%{b:02X}"),
                b => format!("%{b:02x}"),
            });
            each.collect::<String>().into_bytes()
        };
        forms.extend([escape(true, "%20"), escape(true, "+"), escape(false, "%20")]);
    }
    forms.insert(value.iter().flat_map(|b| if *b == b'\'' { b"'\\''".to_vec() } else { vec![*b] }).collect());
    let unquoted = |b: &u8| !b.is_ascii() || b.is_ascii_alphanumeric() || b"-_./:=@%+".contains(b);
    forms.insert(value.iter().flat_map(|b| if unquoted(b) { vec![*b] } else { vec![b'\\', *b] }).collect());
    if let Ok(text) = std::str::from_utf8(value) {
        let json: String = text.chars().map(json_char).collect();
        let ascii = |c: char| -> String {
            let mut units = [0; 2];
            let escape = |unit: &mut u16| format!("\\u{unit:04x}");
            if c.is_ascii() {
                c.to_string()
            } else {
                c.encode_utf16(&mut units).iter_mut().map(escape).collect()
            }
        };
        forms.insert(json.chars().map(ascii).collect::<String>().into_bytes());
        forms.insert(json.replace('/', "\\/").into_bytes());
        forms.insert(json.into_bytes());
    }
    forms
}

fn json_char(c: char) -> String {
    match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    }
}

/// What the encodings of the value have in common, whatever stands around it: found by trying both extremes.
fn alike(encode: impl Fn(&[u8]) -> Vec<u8>, value: &[u8], before: usize) -> Vec<u8> {
    let around = |filler: u8| encode(&[&vec![filler; before][..], value, &[filler; 3]].concat());
    let (low, high) = (around(0x00), around(0xff));
    let bits = (before * 8, (before + value.len()) * 8);
    let whole = |at: &usize| at * 6 >= bits.0 && (at + 1) * 6 <= bits.1;
    let common: Vec<usize> = (0..low.len()).filter(whole).collect();
    assert!(common.iter().all(|at| low[*at] == high[*at]));
    common.into_iter().map(|at| low[at]).collect()
}

/// The definition: every match of every form, overlapping ones merged, each replaced by the mask.
fn naive(output: &[u8], forms: &[Vec<u8>]) -> Vec<u8> {
    let mut matches: Vec<(usize, usize)> = Vec::new();
    for form in forms {
        let found = output.windows(form.len()).enumerate().filter(|(_, window)| window == form);
        matches.extend(found.map(|(at, _)| (at, at + form.len())));
    }
    matches.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (start, end) in matches {
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    let (mut masked, mut at) = (Vec::new(), 0);
    for (start, end) in merged {
        masked.extend_from_slice(&output[at..start]);
        masked.extend_from_slice(b"***");
        at = end;
    }
    masked.extend_from_slice(&output[at..]);
    masked
}
