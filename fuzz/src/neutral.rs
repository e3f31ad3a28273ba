//! The terminal's neutraliser: nothing comes out that a terminal would obey or that hides or reorders text, however the
//! bytes arrive; what was harmless comes out as it went in.
//!
//! Input: a byte that chooses how the rest is cut, then the bytes.

use runbook::report::neutral::{Neutral, block, last_segment, line};

use super::input::Input;

/// Written down here once more, on purpose: what must never reach a terminal. Newline and tab are judged apart.
fn is_dangerous(c: char) -> bool {
    match u32::from(c) {
        // C0 with ESC, DEL, C1 with CSI.
        0x00..=0x1f | 0x7f | 0x80..=0x9f => true,
        // ALM, LRM, RLM; LRE, RLE, PDF, LRO, RLO; LRI, RLI, FSI, PDI.
        0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x2069 => true,
        // Line and paragraph separators; zero width; soft hyphen; byte order mark; tags.
        0x2028 | 0x2029 | 0x200b..=0x200d | 0x2060 | 0x00ad | 0xfeff | 0xe0000..=0xe007f => true,
        _ => false,
    }
}

pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cut = usize::from(input.byte());
    let bytes = input.rest();
    let whole = block(bytes);
    assert!(whole.chars().all(|c| c == '\n' || c == '\t' || !is_dangerous(c)), "{whole:?}");
    assert_eq!(block(&whole), whole, "what is neutral stays");

    let (mut neutral, mut pieces) = (Neutral::new(), String::new());
    for (n, piece) in bytes.chunks(cut % 7 + 1).enumerate() {
        // Pieces of different lengths, empty ones among them.
        let (a, b) = piece.split_at((n * cut) % (piece.len() + 1));
        neutral.push(a, &mut pieces);
        neutral.push(b, &mut pieces);
    }
    neutral.finish(&mut pieces);
    assert_eq!(pieces, whole, "borders between pieces do not matter");

    if let Ok(text) = std::str::from_utf8(bytes) {
        let harmless =
            |c: char| matches!(c, '\n' | '\t' | ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}');
        if text.chars().all(harmless) {
            assert_eq!(whole, text, "plain text is left alone");
        }
        // Nothing gets lost: each character stands there, as itself or as its escape.
        let seen = text.chars().filter(|c| !is_dangerous(*c)).count();
        assert!(whole.chars().count() >= seen, "{text:?} became {whole:?}");
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(whole.matches('\n').count(), lines, "lines stay lines");

    let one = line(bytes);
    assert!(!one.chars().any(is_dangerous), "{one:?}");
    let segment = last_segment(bytes);
    assert!(
        !segment.contains(&b'\r') && bytes.windows(segment.len().max(1)).any(|w| w == segment)
            || segment.is_empty()
    );
}
