//! Which characters cannot be shown to people as they are: one definition for reports and for diagnostics.

/// True if a terminal or a browser would not show the character as itself: controls, and format characters that are
/// invisible or reorder the text around them.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{115f}' | '\u{1160}'
            | '\u{3164}' | '\u{ffa0}' | '\u{e0000}'..='\u{e007f}')
}
