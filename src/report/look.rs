//! How text looks: colour or none, real symbols or ASCII, and the width there is.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What the reader's terminal, or file, can show. Decided once by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// False for a file, a pipe, and where `NO_COLOR` is set.
    pub color: bool,
    /// False where the locale is not UTF-8.
    pub unicode: bool,
    /// Columns; None: do not wrap or cut.
    pub width: Option<usize>,
}

impl Look {
    /// For files and pipes.
    pub const PLAIN: Self = Self { color: false, unicode: true, width: None };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
    Warn,
    Accent,
}

/// Symbols, each with its form for terminals that know only ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Good,
    Bad,
    Warn,
    Unknown,
    Skipped,
    Undone,
    Dot,
    Arrow,
    Dash,
    Ellipsis,
}

impl Look {
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Warn => "33",
            Tone::Accent => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    pub fn sign(self, sign: Sign) -> &'static str {
        let (pretty, ascii) = match sign {
            Sign::Good => ("✔", "ok"),
            Sign::Bad => ("✘", "FAIL"),
            Sign::Warn => ("!", "!"),
            Sign::Unknown => ("?", "?"),
            Sign::Skipped => ("–", "-"),
            Sign::Undone => ("↶", "undone"),
            Sign::Dot => ("·", "-"),
            Sign::Arrow => ("→", "->"),
            Sign::Dash => ("—", "-"),
            Sign::Ellipsis => ("…", "..."),
        };
        if self.unicode { pretty } else { ascii }
    }

    /// The text in ASCII where that is all there is: a character that cannot be shown becomes `?`.
    pub fn fit(self, text: String) -> String {
        if self.unicode || text.is_ascii() {
            return text;
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                c if c.is_ascii() => out.push(c),
                '·' | '–' | '—' | '─' => out.push('-'),
                '→' => out.push_str("->"),
                '…' => out.push_str("..."),
                '‹' => out.push('<'),
                '›' => out.push('>'),
                '✔' => out.push_str("ok"),
                '✘' => out.push_str("FAIL"),
                _ => out.push('?'),
            }
        }
        out
    }

    /// The text cut to `columns`, with an ellipsis if something is missing. The text must be neutral and uncoloured.
    pub fn cut(self, text: &str, columns: usize) -> String {
        let text = self.fit(text.to_owned());
        if text.width() <= columns {
            return text;
        }
        let mut out = String::new();
        let mut used = 0;
        for c in text.chars() {
            let w = c.width().unwrap_or(0);
            if used + w + 1 > columns {
                break;
            }
            used += w;
            out.push(c);
        }
        if columns > 0 {
            out.push(if self.unicode { '…' } else { '>' });
        }
        out
    }
}

/// Columns that a text without escapes takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text padded with blanks to `columns`; longer text stays as it is.
pub fn pad(text: &str, columns: usize) -> String {
    let mut padded = String::with_capacity(text.len().max(columns));
    push_padded(text, columns, &mut padded);
    padded
}

/// The same, appended to `out`.
pub fn push_padded(text: &str, columns: usize, out: &mut String) {
    out.push_str(text);
    let missing = columns.saturating_sub(text.width());
    out.extend(std::iter::repeat_n(' ', missing));
}

/// The text in pieces of at most `columns`, broken at blanks where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    if text.width() <= columns {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut used = 0;
    let mut last_blank = None;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > columns {
            let rest = match last_blank.take() {
                Some(at) => {
                    let rest: String = current.split_off(at);
                    rest.trim_start().to_owned()
                }
                None => String::new(),
            };
            lines.push(std::mem::replace(&mut current, rest));
            used = current.width();
        }
        if c == ' ' {
            last_blank = Some(current.len());
        }
        current.push(c);
        used += w;
    }
    lines.push(current);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_counts_columns_not_characters() {
        assert_eq!(Look::PLAIN.cut("hello world", 8), "hello w…");
        assert_eq!(Look::PLAIN.cut("日本語テキスト", 7), "日本語…");
        assert_eq!(Look::PLAIN.cut("short", 8), "short");
        assert_eq!(Look::PLAIN.cut("abc", 0), "");
    }

    #[test]
    fn wrapping_loses_no_word() {
        assert_eq!(wrap("install -m 600 -- /a/b /c/d", 12), ["install -m", "600 -- /a/b", "/c/d"]);
        assert_eq!(wrap("xxxxxxxxxxxxxxxxxxxx", 8), ["xxxxxxxx", "xxxxxxxx", "xxxx"]);
    }

    #[test]
    fn no_colour_means_no_escape() {
        assert_eq!(Look::PLAIN.paint(Tone::Bad, "x"), "x");
        let ascii = Look { unicode: false, ..Look::PLAIN };
        assert_eq!(ascii.fit("a → b … ü".into()), "a -> b ... ?");
    }
}
