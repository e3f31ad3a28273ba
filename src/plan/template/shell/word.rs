//! Words: quotes, expansions, substitutions, arithmetic, and the values in them.

use super::lexer::{Ended, Lexer, Stop, Until, stop};
use crate::plan::Shell;
use crate::plan::template::environment::placeholder_index;

/// A word as read.
#[derive(Debug, Default)]
pub(super) struct Word {
    /// Without quotes; values stand as placeholders, expansions as typed, substitutions are left out.
    pub text: String,
    /// Some of it was quoted or expanded, so it is no reserved word.
    pub quoted: bool,
    /// The values directly in it.
    pub values: Vec<usize>,
}

impl Word {
    pub fn literal(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    /// `NAME` of `NAME=...` or `NAME+=...`, also with a subscript.
    pub fn assigned_name(&self) -> Option<&str> {
        let name_end = self.text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        let (name, mut rest) = self.text.split_at(name_end);
        if rest.starts_with('[') {
            rest = rest.split_once(']')?.1;
        }
        let rest = rest.strip_prefix('+').unwrap_or(rest);
        (is_name(name) && rest.starts_with('=')).then_some(name)
    }
}

pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const AFTER_BACKSLASH: (&str, &str) =
    ("a value cannot stand right after a backslash", "remove the backslash: the value is quoted already");
const AFTER_DOLLAR: (&str, &str) = (
    "a value cannot stand right after `$`",
    "a value is no variable's name; to write a dollar sign: \\$ and a space",
);

impl Lexer {
    /// Reads a word; `names` says that it may be an assignment.
    pub fn word(&mut self, names: bool) -> Result<Word, Stop> {
        let mut word = Word::default();
        let mut subscript = false;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | ')' => break,
                '<' | '>' if self.peek_at(1) == Some('(') => {
                    if self.shell == Shell::Sh {
                        return stop("sh has no `<( )`", "use a pipe or a file");
                    }
                    word.quoted = true;
                    self.copy(2);
                    self.nest_list()?;
                }
                '<' | '>' => break,
                '(' if !word.quoted && word.text.ends_with('=') && word.assigned_name().is_some() => {
                    self.group(true)?;
                }
                '(' if self.is_extended_pattern(&word) => self.group(false)?,
                '(' => break,
                '\\' => self.backslash(&mut word),
                '\'' => self.single_quotes(&mut word)?,
                '"' => self.double_quotes(&mut word)?,
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backticks(&mut word, false)?,
                '[' => {
                    subscript |= names && (is_name(&word.text) || word.text.is_empty());
                    self.plain(&mut word);
                }
                ']' => {
                    subscript = false;
                    self.plain(&mut word);
                }
                _ => match placeholder_index(c) {
                    Some(index) => self.bare_value(&mut word, index, names, subscript),
                    None => self.plain(&mut word),
                },
            }
        }
        Ok(word)
    }

    fn plain(&mut self, word: &mut Word) {
        word.text.extend(self.peek());
        self.copy(1);
    }

    fn bare_value(&mut self, word: &mut Word, index: usize, names: bool, subscript: bool) {
        if subscript {
            self.woven.integers.insert(index);
        }
        let name_so_far = word
            .text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || placeholder_index(c).is_some());
        self.keep(word, index);
        self.write_value(index, "\"${", "}\"");
        let assigns = matches!((self.peek(), self.peek_at(1)), (Some('='), _) | (Some('+'), Some('=')));
        if names && name_so_far && assigns && !subscript {
            self.refuse(index, "a value cannot be the name of a variable", "write the name itself");
        }
    }

    fn keep(&self, word: &mut Word, index: usize) {
        word.text.extend(self.peek());
        word.values.push(index);
        word.quoted = true;
    }

    fn is_extended_pattern(&self, word: &Word) -> bool {
        self.shell == Shell::Bash && word.text != "!" && word.text.ends_with(['?', '*', '+', '@', '!'])
    }

    /// The words of an array, or of a pattern such as `@(a|b)`.
    fn group(&mut self, array: bool) -> Result<(), Stop> {
        if self.shell == Shell::Sh {
            return stop("sh has no arrays", "use `shell: bash`");
        }
        self.copy(1);
        self.deeper(|lexer| {
            loop {
                lexer.gap(array)?;
                match lexer.peek() {
                    Some(')') => {
                        lexer.copy(1);
                        return Ok(());
                    }
                    Some('|') if !array => lexer.copy(1),
                    Some('(') if !array => lexer.group(false)?,
                    _ => {
                        let start = lexer.pos;
                        // Elements may have subscripts: `[3]=x`.
                        lexer.word(array)?;
                        if lexer.pos == start {
                            return stop("a list in parentheses cannot be followed", "quote what is inside");
                        }
                    }
                }
            }
        })
    }

    fn backslash(&mut self, word: &mut Word) {
        match self.peek_at(1) {
            Some('\n') => self.copy(2),
            Some(c) => {
                word.quoted = true;
                self.copy(1);
                match placeholder_index(c) {
                    Some(index) => {
                        self.refuse(index, AFTER_BACKSLASH.0, AFTER_BACKSLASH.1);
                        self.keep(word, index);
                        self.copy(1);
                    }
                    None => self.plain(word),
                }
            }
            None => self.copy(1),
        }
    }

    fn single_quotes(&mut self, word: &mut Word) -> Result<(), Stop> {
        word.quoted = true;
        self.copy(1);
        while let Some(c) = self.peek() {
            match placeholder_index(c) {
                Some(index) => {
                    self.keep(word, index);
                    self.write_value(index, "'\"${", "}\"'");
                }
                None if c == '\'' => {
                    self.copy(1);
                    return Ok(());
                }
                None => self.plain(word),
            }
        }
        stop("a single quote is not closed", "close it, or quote it: \"'\"")
    }

    fn double_quotes(&mut self, word: &mut Word) -> Result<(), Stop> {
        word.quoted = true;
        self.copy(1);
        self.deeper(|lexer| {
            while let Some(c) = lexer.peek() {
                if c == '"' {
                    lexer.copy(1);
                    return Ok(());
                }
                lexer.double_quoted(word)?;
            }
            stop("a double quote is not closed", "close it, or quote it: '\"'")
        })
    }

    /// One thing inside double quotes or a here-document.
    pub fn double_quoted(&mut self, word: &mut Word) -> Result<(), Stop> {
        match self.peek() {
            Some('\\') => self.backslash(word),
            Some('$') => self.dollar(word, true)?,
            Some('`') => self.backticks(word, true)?,
            Some(c) => match placeholder_index(c) {
                Some(index) => {
                    self.keep(word, index);
                    self.write_value(index, "${", "}");
                }
                None => self.plain(word),
            },
            None => {}
        }
        Ok(())
    }

    fn dollar(&mut self, word: &mut Word, in_double: bool) -> Result<(), Stop> {
        word.quoted = true;
        match self.peek_at(1) {
            Some('(') if self.peek_at(2) == Some('(') => {
                self.copy(3);
                self.arithmetic()
            }
            Some('(') => {
                self.copy(2);
                self.nest_list()
            }
            Some('{') => self.braces(word, in_double),
            Some('[') if self.shell == Shell::Bash => {
                stop("`$[ ]` cannot be followed", "write $(( )); for a dollar sign: \\$")
            }
            Some('\'') if !in_double && self.shell == Shell::Sh => {
                stop("`$'` means different things to different shells", "use `shell: bash`, or printf")
            }
            Some('\'') if !in_double => self.ansi_quotes(word),
            Some(c) => {
                self.plain(word);
                if let Some(index) = placeholder_index(c) {
                    self.refuse(index, AFTER_DOLLAR.0, AFTER_DOLLAR.1);
                    self.keep(word, index);
                    self.copy(1);
                }
                Ok(())
            }
            None => {
                self.plain(word);
                Ok(())
            }
        }
    }

    fn ansi_quotes(&mut self, word: &mut Word) -> Result<(), Stop> {
        self.copy(2);
        while let Some(c) = self.peek() {
            match (c, placeholder_index(c)) {
                (_, Some(index)) => {
                    self.keep(word, index);
                    self.write_value(index, "'\"${", "}\"$'");
                }
                ('\\', None) => self.backslash(word),
                ('\'', None) => {
                    self.copy(1);
                    return Ok(());
                }
                _ => self.plain(word),
            }
        }
        stop("a `$'` is not closed", "close it")
    }

    /// `${ }`. Values directly inside are refused: what they would be quoted for depends on the operator.
    fn braces(&mut self, word: &mut Word, in_double: bool) -> Result<(), Stop> {
        if matches!(self.peek_at(2), Some(' ' | '\t' | '\n' | '|')) {
            return stop("`${ ` cannot be followed", "write $( )");
        }
        self.copy(2);
        let outer = std::mem::replace(&mut self.in_braces, true);
        let result = self.deeper(|lexer| {
            while let Some(c) = lexer.peek() {
                match c {
                    '}' => {
                        lexer.copy(1);
                        return Ok(());
                    }
                    '\'' if in_double => {
                        return stop(
                            "a single quote inside `${ }` inside double quotes cannot be followed",
                            "give the default a name of its own first",
                        );
                    }
                    '\'' => lexer.single_quotes(word)?,
                    '"' => lexer.double_quotes(word)?,
                    _ => lexer.double_quoted(word)?,
                }
            }
            stop("a `${` is not closed", "close it with }")
        });
        self.in_braces = outer;
        result
    }

    /// Arithmetic after its opening parentheses, up to and with `))`.
    pub fn arithmetic(&mut self) -> Result<(), Stop> {
        let start = self.pos;
        let mut depth = 0_usize;
        let mut inside = Word::default();
        self.deeper(|lexer| {
            while let Some(c) = lexer.peek() {
                match c {
                    '(' => depth += 1,
                    ')' if depth > 0 => depth -= 1,
                    ')' if lexer.peek_at(1) == Some(')') => {
                        lexer.read_by_arithmetic(start, lexer.pos);
                        lexer.copy(2);
                        return Ok(());
                    }
                    ')' => break,
                    '\'' | '"' | '\\' => {
                        return stop("quotes in arithmetic cannot be followed", "remove them");
                    }
                    '$' => {
                        lexer.dollar(&mut inside, true)?;
                        continue;
                    }
                    '`' => {
                        lexer.backticks(&mut inside, true)?;
                        continue;
                    }
                    _ => {
                        if let Some(index) = placeholder_index(c) {
                            lexer.woven.integers.insert(index);
                            lexer.write_value(index, "(${", "})");
                            continue;
                        }
                    }
                }
                lexer.copy(1);
            }
            stop("`((` has no `))`", "for a subshell, write a space between the parentheses: $( (")
        })
    }

    /// Notes the names that arithmetic between `start` and `end` reads.
    fn read_by_arithmetic(&mut self, start: usize, end: usize) {
        let text: String = self.chars_between(start, end).iter().collect();
        self.note_names(&text);
    }

    pub fn note_names(&mut self, text: &str) {
        let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|n| is_name(n));
        self.arithmetic.extend(names.map(str::to_owned));
    }

    /// Old command substitution. With backslashes, or inside double quotes, shells read it differently.
    fn backticks(&mut self, word: &mut Word, in_double: bool) -> Result<(), Stop> {
        word.quoted = true;
        let start = self.pos + 1;
        let mut close = start;
        loop {
            match self.peek_at(close - self.pos) {
                Some('\\') => close += 2,
                Some('`') => break,
                Some(_) => close += 1,
                None => return stop("a backtick is not closed", "close it, or quote it: '`'"),
            }
        }
        let content = self.chars_between(start, close);
        let values: Vec<usize> = content.iter().filter_map(|c| placeholder_index(*c)).collect();
        if values.is_empty() || in_double || self.in_backticks || content.contains(&'\\') {
            for index in values {
                self.refuse(
                    index,
                    "a value inside these backticks cannot be made safe",
                    "write $( ) instead",
                );
            }
            self.copy(close + 1 - self.pos);
            return Ok(());
        }
        self.copy(1);
        let end = std::mem::replace(&mut self.end, close);
        let outer = std::mem::replace(&mut self.in_backticks, true);
        let ended = self.nested(|lexer| lexer.list(Until::End));
        self.in_backticks = outer;
        self.end = end;
        if ended? != Ended::End {
            return stop("these backticks cannot be followed", "write $( ) instead");
        }
        self.copy(1);
        Ok(())
    }
}
