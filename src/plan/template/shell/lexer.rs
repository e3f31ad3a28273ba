//! Commands: lists, groups, `case`, `for`, `[[ ]]`, redirections. See `word.rs` for what is inside a word.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use super::command::Command;
use super::heredoc::HereDoc;
use super::word::Word;
use super::{Refusal, Woven};
use crate::plan::Shell;
use crate::plan::template::environment::placeholder_index;

/// The nesting that is followed; deeper scripts are refused, or a hostile one would overflow the stack.
const MAX_DEPTH: usize = 60;

/// The script cannot be followed any further.
pub(super) struct Stop {
    pub message: String,
    pub help: String,
}

pub(super) fn stop<T>(message: &str, help: &str) -> Result<T, Stop> {
    Err(Stop { message: message.to_owned(), help: help.to_owned() })
}

/// What a list of commands goes on to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    End,
    Paren,
    /// `;;` or `esac`.
    CaseItem,
}

#[derive(PartialEq, Eq)]
pub(super) enum Ended {
    End,
    Paren,
    CaseItem,
    Esac,
}

pub(super) struct Lexer {
    chars: Vec<char>,
    pub pos: usize,
    /// Reading ends here: the end of the script, of a here-document's text or of backticks.
    pub end: usize,
    pub shell: Shell,
    pub woven: Woven,
    /// Here-documents whose text begins after the next newline.
    pub pending: Vec<HereDoc>,
    depth: usize,
    /// Inside `${ }`, where a value is refused.
    pub in_braces: bool,
    pub in_backticks: bool,
    /// A newline stood where a pending here-document makes its meaning unclear.
    torn: bool,
    /// Variables and the values that were assigned to them.
    pub assigned: BTreeMap<String, BTreeSet<usize>>,
    /// Names that arithmetic reads.
    pub arithmetic: BTreeSet<String>,
    /// Names declared with `-i`.
    pub integer_names: BTreeSet<String>,
}

impl Lexer {
    pub fn new(text: &str, shell: Shell) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self {
            end: chars.len(),
            chars,
            pos: 0,
            shell,
            woven: Woven::default(),
            pending: Vec::new(),
            depth: 0,
            in_braces: false,
            in_backticks: false,
            torn: false,
            assigned: BTreeMap::new(),
            arithmetic: BTreeSet::new(),
            integer_names: BTreeSet::new(),
        }
    }

    pub fn run(mut self) -> Woven {
        let mut ended = self.list(Until::End).map(drop);
        if ended.is_ok() && (self.torn || !self.pending.is_empty()) {
            ended = stop(
                "a here-document does not begin on a line of its own",
                "begin its text right after the line that holds `<<`",
            );
        }
        if let Err(Stop { message, help }) = ended {
            self.woven.refusals.push(Refusal { value: self.next_value(), message, help });
        }
        for name in &self.arithmetic {
            self.woven.integers.extend(self.assigned.get(name).into_iter().flatten());
        }
        self.woven
    }

    /// The value nearest to where reading stopped.
    fn next_value(&self) -> Option<usize> {
        let at = self.pos.min(self.chars.len());
        self.chars[at..].iter().chain(&self.chars).find_map(|c| placeholder_index(*c))
    }

    pub fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub fn peek_at(&self, ahead: usize) -> Option<char> {
        let at = self.pos + ahead;
        if at < self.end { self.chars.get(at).copied() } else { None }
    }

    pub fn looking_at(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c))
    }

    /// Copies the next `n` characters to the script as they are.
    pub fn copy(&mut self, n: usize) {
        for _ in 0..n {
            let Some(c) = self.peek() else { return };
            if c == '\n' && !self.pending.is_empty() {
                self.torn = true;
            }
            self.woven.text.push(c);
            self.pos += 1;
        }
    }

    pub fn chars_between(&self, start: usize, end: usize) -> &[char] {
        &self.chars[start.min(self.chars.len())..end.min(self.chars.len())]
    }

    /// Writes a value with `before` and `after` around its variable's name.
    pub fn write_value(&mut self, index: usize, before: &str, after: &str) {
        self.woven.text.push_str(before);
        if let Some(&mark) = self.chars.get(self.pos) {
            self.woven.text.push(mark);
        }
        self.woven.text.push_str(after);
        self.pos += 1;
        if self.in_braces {
            self.refuse(
                index,
                "a value inside `${ }` cannot be made safe",
                "give it a name first: name={{ ... }}, then use the name",
            );
        }
    }

    pub fn refuse(&mut self, index: usize, message: &str, help: &str) {
        self.woven.refusals.push(Refusal {
            value: Some(index),
            message: message.to_owned(),
            help: help.to_owned(),
        });
    }

    pub fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth == MAX_DEPTH {
            return stop("the script is nested too deeply", "split it into several steps");
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads `read` as the inside of `$( )` or the like: here-documents begun inside end inside.
    pub fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        let outer = mem::take(&mut self.pending);
        let braces = mem::replace(&mut self.in_braces, false);
        let start = self.pos;
        let result = self.deeper(read)?;
        if !self.pending.is_empty() {
            return stop(
                "a here-document inside `$( )` does not end inside it",
                "put its text and its end before the closing parenthesis",
            );
        }
        if !outer.is_empty() && self.chars_between(start, self.pos).contains(&'\n') {
            self.torn = true;
        }
        self.pending = outer;
        self.in_braces = braces;
        Ok(result)
    }

    /// Reads commands up to what `until` says, which is consumed.
    pub fn list(&mut self, until: Until) -> Result<Ended, Stop> {
        self.deeper(|lexer| {
            let mut command = Command::default();
            loop {
                if let Some(ended) = lexer.list_item(until, &mut command)? {
                    lexer.finish(&mut command);
                    return Ok(ended);
                }
            }
        })
    }

    fn list_item(&mut self, until: Until, command: &mut Command) -> Result<Option<Ended>, Stop> {
        let Some(c) = self.peek() else {
            if until == Until::End {
                return Ok(Some(Ended::End));
            }
            return stop("the script ends inside a parenthesis or a `case`", "close it");
        };
        match c {
            ' ' | '\t' => self.copy(1),
            '\\' if self.peek_at(1) == Some('\n') => self.copy(2),
            '\n' => {
                self.finish(command);
                self.newline()?;
            }
            '#' => self.comment(),
            ';' => {
                if until == Until::CaseItem && matches!(self.peek_at(1), Some(';' | '&')) {
                    self.copy(2);
                    if self.peek() == Some('&') {
                        self.copy(1);
                    }
                    return Ok(Some(Ended::CaseItem));
                }
                self.finish(command);
                self.copy(1);
            }
            '&' if self.peek_at(1) == Some('>') => {
                self.copy(1);
                self.redirection(command)?;
            }
            '&' | '|' => {
                self.finish(command);
                self.copy(1);
            }
            '<' | '>' if self.peek_at(1) != Some('(') => self.redirection(command)?,
            '(' => self.parenthesis(command)?,
            ')' if until == Until::Paren => {
                self.copy(1);
                return Ok(Some(Ended::Paren));
            }
            ')' => return stop("a closing parenthesis has no opening one", "quote it: ')'"),
            _ => return self.command_word(until, command),
        }
        Ok(None)
    }

    fn command_word(&mut self, until: Until, command: &mut Command) -> Result<Option<Ended>, Stop> {
        let word = self.word(command.expects_name())?;
        if command.started || word.quoted {
            self.push(command, word);
            return Ok(None);
        }
        match word.text.as_str() {
            "if" | "then" | "elif" | "else" | "while" | "until" | "do" | "!" | "{" | "time" | "coproc"
            | "fi" | "done" | "}" => {}
            "esac" if until == Until::CaseItem => return Ok(Some(Ended::Esac)),
            "esac" => return stop("`esac` has no `case`", "quote it: 'esac'"),
            "case" => self.deeper(Self::case)?,
            "for" | "select" => self.for_loop(command)?,
            "function" => {
                self.gap(false)?;
                let name = self.word(false)?;
                self.no_values(&name, "a value cannot be the name of a function");
                self.gap(false)?;
                if self.looking_at("()") {
                    self.copy(2);
                }
            }
            "[[" if self.shell == Shell::Bash => self.condition()?,
            _ => self.push(command, word),
        }
        Ok(None)
    }

    fn push(&mut self, command: &mut Command, word: Word) {
        let number = !word.quoted && !word.text.is_empty() && word.text.bytes().all(|b| b.is_ascii_digit());
        command.started = true;
        // The 2 of `2>file` is no argument.
        if !(number && matches!(self.peek(), Some('<' | '>'))) {
            command.words.push(word);
        }
    }

    pub fn no_values(&mut self, word: &Word, message: &str) {
        for index in word.values.clone() {
            self.refuse(index, message, "write the name itself");
        }
    }

    /// A newline between commands; the texts of here-documents follow it.
    pub fn newline(&mut self) -> Result<(), Stop> {
        let documents = mem::take(&mut self.pending);
        self.copy(1);
        for document in documents {
            self.here_document(&document)?;
        }
        Ok(())
    }

    /// Blanks, continued lines, comments; and newlines if asked.
    pub fn gap(&mut self, newlines: bool) -> Result<(), Stop> {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.copy(1),
                Some('\\') if self.peek_at(1) == Some('\n') => self.copy(2),
                Some('\n') if newlines => self.newline()?,
                Some('#') if newlines => self.comment(),
                _ => return Ok(()),
            }
        }
    }

    /// A value in a comment is harmless: the shell never reads the variable.
    fn comment(&mut self) {
        while let Some(c) = self.peek().filter(|c| *c != '\n') {
            match placeholder_index(c) {
                Some(index) => self.write_value(index, "${", "}"),
                None => self.copy(1),
            }
        }
    }

    /// `(`: a subshell, `(( ))`, or a function's `()`.
    fn parenthesis(&mut self, command: &mut Command) -> Result<(), Stop> {
        if !command.started {
            if self.peek_at(1) != Some('(') {
                self.copy(1);
                return self.list(Until::Paren).map(drop);
            }
            if self.shell == Shell::Bash {
                self.copy(2);
                return self.arithmetic();
            }
            return stop("sh has no `(( ))`", "use $(( )), or write a space between the parentheses: ( (");
        }
        let is_function = command.words.len() == 1;
        self.copy(1);
        self.gap(false)?;
        if !is_function || self.peek() != Some(')') {
            return stop("a parenthesis stands where a word is expected", "quote it: '('");
        }
        self.copy(1);
        if let Some(name) = command.words.pop() {
            self.no_values(&name, "a value cannot be the name of a function");
        }
        *command = Command::default();
        Ok(())
    }

    fn boundary(&self, ahead: usize) -> bool {
        self.peek_at(ahead).is_none_or(|c| " \t\n;&|()<>".contains(c))
    }

    fn for_loop(&mut self, command: &mut Command) -> Result<(), Stop> {
        self.gap(false)?;
        if self.looking_at("((") {
            self.copy(2);
            return self.arithmetic();
        }
        let name = self.word(false)?;
        self.no_values(&name, "a value cannot be the name of a variable");
        self.gap(true)?;
        if self.looking_at("in") && self.boundary(2) {
            self.copy(2);
            command.started = true;
            command.words.push(Word::literal("for"));
            command.words.push(name);
        }
        Ok(())
    }

    fn case(&mut self) -> Result<(), Stop> {
        self.gap(false)?;
        self.word(false)?;
        self.gap(true)?;
        if !(self.looking_at("in") && self.boundary(2)) {
            return stop("a `case` has no `in`", "write: case WORD in");
        }
        self.copy(2);
        loop {
            self.gap(true)?;
            if self.looking_at("esac") && self.boundary(4) {
                self.copy(4);
                return Ok(());
            }
            if self.peek() == Some('(') {
                self.copy(1);
            }
            self.pattern()?;
            if self.list(Until::CaseItem)? == Ended::Esac {
                return Ok(());
            }
        }
    }

    fn pattern(&mut self) -> Result<(), Stop> {
        loop {
            self.gap(false)?;
            match self.peek() {
                Some(')') => {
                    self.copy(1);
                    return Ok(());
                }
                Some('|') => self.copy(1),
                _ => {
                    let start = self.pos;
                    self.word(false)?;
                    if self.pos == start {
                        return stop("a pattern of a `case` cannot be read", "quote it");
                    }
                }
            }
        }
    }

    /// `[[ ]]`, after its first word.
    fn condition(&mut self) -> Result<(), Stop> {
        let mut words = Vec::new();
        loop {
            self.gap(false)?;
            match self.peek() {
                Some('\n') => self.newline()?,
                Some('&' | '|' | '(' | ')' | '<' | '>')
                    if !self.looking_at("<(") && !self.looking_at(">(") =>
                {
                    self.copy(1);
                }
                None | Some(';' | '#') => {
                    return stop("a `[[` cannot be followed to its `]]`", "put the text in quotes");
                }
                Some(_) => {
                    let word = self.word(false)?;
                    if !word.quoted && word.text == "]]" {
                        self.check_condition(&words);
                        return Ok(());
                    }
                    words.push(word);
                }
            }
        }
    }

    fn redirection(&mut self, command: &mut Command) -> Result<(), Stop> {
        command.started = true;
        if self.looking_at("<<<") {
            if self.shell == Shell::Sh {
                return stop("sh has no `<<<`", "use a here-document or `printf '%s\\n' ... |`");
            }
            self.copy(3);
        } else if self.looking_at("<<") {
            return self.here_document_start();
        } else {
            self.copy(1);
            if matches!(self.peek(), Some('>' | '&' | '|')) {
                self.copy(1);
            }
        }
        self.gap(false)?;
        self.word(false).map(drop)
    }

    pub fn nest_list(&mut self) -> Result<(), Stop> {
        self.nested(|lexer| lexer.list(Until::Paren)).map(drop)
    }
}
