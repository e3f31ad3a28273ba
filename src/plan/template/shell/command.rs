//! Whole commands: those that take names or arithmetic as arguments, and those that parse a value a second time.

use super::lexer::Lexer;
use super::word::{Word, is_name, names_in};
use crate::plan::template::environment::placeholder_index;

/// The simple command being read.
#[derive(Default)]
pub(super) struct Command {
    /// Something of it was read, so that no reserved word can follow.
    pub started: bool,
    pub words: Vec<Word>,
}

impl Command {
    /// Only assignments so far: another may follow.
    pub fn expects_name(&self) -> bool {
        self.words.iter().all(|w| w.assigned_name().is_some())
    }
}

/// Their arguments are names of variables, and bash evaluates a subscript in a name.
const TAKE_NAMES: &[&str] = &["unset", "read", "mapfile", "readarray", "getopts"];
const DECLARE: &[&str] = &["declare", "typeset", "local", "export", "readonly", "integer"];
const SHELLS: &[&str] = &["sh", "bash", "dash", "zsh", "ksh", "ash"];
/// They carry out the command that is given to them.
const WRAPPERS: &[&str] = &[
    "builtin",
    "chroot",
    "chrt",
    "command",
    "doas",
    "env",
    "exec",
    "flock",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "runuser",
    "setsid",
    "ssh",
    "stdbuf",
    "sudo",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "unshare",
    "xargs",
];
/// `[[ a -eq b ]]` evaluates both sides as arithmetic.
const COMPARE_NUMBERS: &[&str] = &["-eq", "-ne", "-lt", "-le", "-gt", "-ge"];
/// Programs that read a program of their own from the argument after the option.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("psql", &["-c", "--command"]),
    ("mysql", &["-e", "--execute"]),
    ("mariadb", &["-e", "--execute"]),
    ("python", &["-c"]),
    ("python3", &["-c"]),
    ("perl", &["-e", "-ne", "-pe"]),
    ("ruby", &["-e"]),
    ("node", &["-e"]),
    ("su", &["-c", "--command"]),
    ("runuser", &["-c", "--command"]),
    ("env", &["-S", "--split-string"]),
];

/// Shells expand or run what these hold.
const EXPANDED_LATER: &[&str] = &["BASH_ENV", "ENV", "PROMPT_COMMAND", "PS0", "PS1", "PS4"];
/// Programs that run what they read from their input.
const RUN_THEIR_INPUT: &[&str] =
    &["python", "python3", "perl", "ruby", "node", "psql", "mysql", "mariadb", "sqlite3"];
/// Their first argument that is no option is a program.
const SCRIPTED: &[&str] = &["awk", "gawk", "mawk", "sed"];

const NAME: &str = "a value cannot be the name of a variable";

impl Lexer {
    /// Checks the command that just ended, and begins the next.
    pub fn finish(&mut self, command: &mut Command) {
        let Command { words, .. } = std::mem::take(command);
        let assignments = words.iter().take_while(|w| w.assigned_name().is_some()).count();
        for word in &words[..assignments] {
            self.note_assignment(word);
        }
        let words = &words[assignments..];
        let Some(first) = words.iter().position(|w| !matches!(w.text.as_str(), "command" | "builtin")) else {
            return;
        };
        let (name, args) = (words[first].text.as_str(), &words[first + 1..]);
        match name {
            "for" => self.check_for(args),
            "let" => {
                for word in args {
                    self.note_names(&word.text);
                    self.woven.integers.extend(&word.values);
                }
            }
            "printf" => self.check_printf(args),
            "[" | "test" => self.check_test(args),
            _ if TAKE_NAMES.contains(&name) => args.iter().for_each(|word| self.no_values(word, NAME)),
            _ if DECLARE.contains(&name) => self.check_declare(name, args),
            _ => {}
        }
        self.check_reparsed(words);
    }

    fn note_assignment(&mut self, word: &Word) {
        let Some(name) = word.assigned_name() else { return };
        if self.integer_names.contains(name) {
            self.woven.integers.extend(word.values.iter().chain(&word.elements));
            self.note_names(&word.text);
        }
        if EXPANDED_LATER.contains(&name) {
            self.reparse(std::slice::from_ref(word), &format!("the variable `{name}`"));
        }
        if let Some((_, subscript)) =
            word.text.split_once('[').filter(|(before, _)| before.len() == name.len())
        {
            self.subscripts.extend(names_in(subscript.split(']').next().unwrap_or_default()));
        }
        self.assigned.entry(name.to_owned()).or_default().extend(word.values.iter().chain(&word.elements));
    }

    fn check_for(&mut self, args: &[Word]) {
        if let Some((name, items)) = args.split_first() {
            let values = items.iter().flat_map(|w| &w.values);
            self.assigned.entry(name.text.clone()).or_default().extend(values);
        }
    }

    /// `printf "${V}"` would take `-va[$(command)]` for an option.
    fn check_printf(&mut self, args: &[Word]) {
        let mut args = args.iter();
        while let Some(word) = args.next() {
            match word.text.as_str() {
                "--" => {}
                "-v" => {
                    if let Some(name) = args.next() {
                        self.no_values(name, NAME);
                    }
                }
                text if text.starts_with("-v") => self.no_values(word, NAME),
                text => {
                    if let Some(index) = text.chars().next().and_then(placeholder_index) {
                        self.refuse(
                            index,
                            "a value cannot be the format of printf",
                            "write printf '%s' and then the value",
                        );
                    }
                    return;
                }
            }
        }
    }

    fn check_test(&mut self, args: &[Word]) {
        for pair in args.windows(2) {
            if matches!(pair[0].text.as_str(), "-v" | "-R") {
                self.no_values(&pair[1], NAME);
            }
            let starts = |w: &Word| w.text.chars().next().and_then(placeholder_index);
            if let (Some(index), Some(_)) = (starts(&pair[0]), starts(&pair[1])) {
                self.refuse(
                    index,
                    "a value cannot be the operator of a test",
                    "write the operator between the two values",
                );
            }
        }
    }

    /// `[[ ]]`: what is compared as numbers is evaluated, and so is a name after `-v`.
    pub fn check_condition(&mut self, words: &[Word]) {
        for (i, word) in words.iter().enumerate() {
            let operator = word.text.as_str();
            let (before, after) = (i.checked_sub(1).and_then(|j| words.get(j)), words.get(i + 1));
            if COMPARE_NUMBERS.contains(&operator) {
                for side in [before, after].into_iter().flatten() {
                    self.note_names(&side.text);
                    self.woven.integers.extend(&side.values);
                }
            } else if matches!(operator, "-v" | "-R")
                && let Some(name) = after
            {
                self.no_values(name, NAME);
            }
        }
    }

    fn check_declare(&mut self, command: &str, args: &[Word]) {
        let flags: String =
            args.iter().map(|w| w.text.as_str()).filter(|t| t.starts_with(['-', '+'])).collect();
        let integer = command == "integer" || flags.contains('i');
        self.associative |= flags.contains('A');
        for word in args.iter().filter(|w| !w.text.starts_with(['-', '+'])) {
            let name = word.text.split(['=', '[', '+']).next().unwrap_or_default().to_owned();
            if !is_name(&name) {
                self.no_values(word, NAME);
                continue;
            }
            if integer {
                self.integer_names.insert(name.clone());
                self.note_names(&word.text);
                self.woven.integers.extend(&word.elements);
            }
            // The text of a list given to `-a` or `-A` is evaluated, as is a name given to `-n`.
            if integer || flags.contains(['a', 'A', 'n']) || word.text[name.len()..].starts_with('[') {
                self.woven.integers.extend(&word.values);
            }
            self.assigned.entry(name).or_default().extend(word.values.iter().chain(&word.elements));
        }
    }

    /// Values in a command's input, when the command runs its input: `bash <<EOF`, `ssh host <<EOF`, `psql <<<`.
    pub fn check_fed(&mut self, reader: &[Word], values: &[usize]) {
        let names: Vec<&str> = reader.iter().map(|w| w.text.rsplit('/').next().unwrap_or_default()).collect();
        let ssh = names.iter().position(|n| *n == "ssh");
        let runs = |n: &&&str| SHELLS.contains(*n) || RUN_THEIR_INPUT.contains(*n);
        let by = match (names.iter().find(runs), ssh) {
            (Some(name), _) => format!("`{name}`, which runs its input"),
            (None, Some(at)) if ssh_command(&reader[at + 1..]).is_empty() => {
                "the remote shell of `ssh`".to_owned()
            }
            _ => return,
        };
        self.woven.reparsed.extend(values.iter().map(|index| (*index, by.clone())));
    }

    fn check_reparsed(&mut self, words: &[Word]) {
        for (i, word) in words.iter().enumerate() {
            let name = word.text.rsplit('/').next().unwrap_or_default();
            let args = &words[i + 1..];
            match name {
                "eval" if i == 0 || words[i - 1].text == "command" => self.reparse(args, "`eval`"),
                "trap" if i == 0 => self.reparse(&args[..args.len().min(1)], "`trap`"),
                "alias" if i == 0 => self.reparse(args, "`alias`"),
                // It is also an ordinary word: the name of a file, or what some program is to do.
                "watch" if begins_a_command(&words[..i]) => self.reparse(args, "`watch`"),
                "ssh" => self.reparse(ssh_command(args), "the remote shell of `ssh`"),
                _ if SCRIPTED.contains(&name) => self.check_scripted(name, args),
                _ if SHELLS.contains(&name) => self.check_shell(name, args),
                _ => self.check_program(name, args),
            }
        }
    }

    fn reparse(&mut self, words: &[Word], by: &str) {
        for index in words.iter().flat_map(|w| w.values.clone()) {
            self.woven.reparsed.push((index, by.to_owned()));
        }
    }

    /// `bash -c SCRIPT`, `sh -ec SCRIPT`; what follows the script are its arguments, which are not parsed.
    fn check_shell(&mut self, name: &str, args: &[Word]) {
        let Some(flag) = args
            .iter()
            .position(|w| w.text.strip_prefix('-').is_some_and(|f| !f.starts_with('-') && f.contains('c')))
        else {
            return;
        };
        if args[..flag].iter().any(|w| !w.text.starts_with('-') && !w.text.contains("pipefail")) {
            return;
        }
        let script =
            args[flag + 1..].iter().find(|w| !w.text.starts_with(['-', '+']) && w.text != "pipefail");
        if let Some(script) = script {
            self.reparse(std::slice::from_ref(script), &format!("`{name} -c`"));
        }
    }

    /// `awk "...{{ x }}..."`, `sed "s/{{ x }}/y/"`: part of a program.
    fn check_scripted(&mut self, name: &str, args: &[Word]) {
        let program = args.iter().find(|w| !w.text.starts_with('-'));
        if let Some(program) = program.filter(|w| w.text.chars().count() > 1) {
            self.reparse(std::slice::from_ref(program), &format!("`{name}`"));
        }
    }

    fn check_program(&mut self, name: &str, args: &[Word]) {
        if name == "sqlite3" && args.len() > 1 {
            let statements = args.iter().filter(|w| !w.text.starts_with('-')).skip(1);
            for word in statements.filter(|w| w.text.contains(' ')) {
                self.reparse(std::slice::from_ref(word), "`sqlite3`");
            }
        }
        let Some((_, options)) = PROGRAMS.iter().find(|(program, _)| *program == name) else { return };
        for pair in args.windows(2) {
            if options.contains(&pair[0].text.as_str()) {
                self.reparse(&pair[1..], &format!("`{name} {}`", pair[0].text));
            }
        }
    }
}

/// Whether what follows these words is a program: nothing but assignments stands before it, or what carries others out.
fn begins_a_command(before: &[Word]) -> bool {
    let is_assignment = |word: &&Word| {
        let name = word.text.split('=').next().unwrap_or_default();
        name.len() < word.text.len() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    let first = before.iter().find(|word| !is_assignment(word));
    first.is_none_or(|word| WRAPPERS.contains(&word.text.rsplit('/').next().unwrap_or_default()))
}

/// What follows the host: the remote shell parses all of it.
fn ssh_command(args: &[Word]) -> &[Word] {
    const WITH_VALUE: &str = "BbcDEeFIiJLlmOopQRSWw";
    let mut at = 0;
    while let Some(word) = args.get(at).filter(|w| w.text.starts_with('-')) {
        let takes = word.text.len() == 2 && word.text.ends_with(|c| WITH_VALUE.contains(c));
        at += if takes { 2 } else { 1 };
    }
    args.get(at + 1..).unwrap_or_default()
}
