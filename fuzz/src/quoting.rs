//! Values in commands, carried out by real shells: whatever a value is and whatever quotes, substitutions and
//! here-documents stand around it, it arrives as exactly one argument, byte for byte, and nothing of it is run.
//!
//! Input: a byte that chooses the command, bytes up to 0xff that choose what stands around the values, then the values,
//! each ended by 0xff. The command is put together from the pieces below and never from the input itself: what a fuzzer
//! invents is never carried out, unless quoting is broken. To be safe even then, the shells find no program but `cat`.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use runbook::plan::template::{Ctx, Place, RunView, Script, analyse, render_script};
use runbook::plan::{Shell, Template};
use serde_json::Value;

use super::input::Input;

/// How deep, and how many pieces in all.
const DEEPEST: u8 = 4;
const MOST_PIECES: usize = 24;
/// The kernel takes 128 KiB for one variable.
const LONGEST: usize = 100 << 10;

/// What a whole command makes of `WORD`: it prints its arguments, each ended by NUL. With `VALUE` in its place it is the
/// first value and a dot: inside backticks nothing further can stand.
const COMMANDS: &[&str] = &[
    "printf '%s\\0' WORD",
    "printf '%s\\0' WORD # it's {{ params.v0 }} '\" $( `",
    "printf '%s\\0' \\\n  WORD",
    "x=WORD; printf '%s\\0' \"$x\"",
    "x=WORD y=2; printf '%s\\0' \"$x\"",
    "for i in WORD; do printf '%s\\0' \"$i\"; done",
    "set -- WORD; printf '%s\\0' \"$@\"",
    "f() { printf '%s\\0' \"$@\"; }; f WORD",
    "{ printf '%s\\0' WORD; }",
    "( printf '%s\\0' WORD )",
    "if true; then printf '%s\\0' WORD; fi",
    "while :; do printf '%s\\0' WORD; break; done",
    "case WORD in WORD) printf '%s\\0' WORD;; *) printf WRONG;; esac",
    "case a in a) printf '%s\\0' WORD;; (b|c) :;; esac",
    "if [ WORD = WORD ]; then printf '%s\\0' WORD; fi",
    "printf '%s\\0' WORD | cat",
    "true && printf '%s\\0' WORD || printf WRONG",
    "printf '%s\\0' WORD 2>/dev/null >&1",
    "printf '%s\\0' WORD & wait",
    "export x=WORD; printf '%s\\0' \"$x\"",
    "x=`printf %s. VALUE`; printf '%s\\0' \"$x\"",
    "x=`printf %s. 'VALUE'`; printf '%s\\0' \"$x\"",
    "x=`printf %s. \"VALUE\"`; printf '%s\\0' \"$x\"",
    "cat <<LAST >/dev/null\nit's $(printf %s WORD) \"\nLAST\nprintf '%s\\0' WORD",
];
const BASH_COMMANDS: &[&str] = &[
    "a=(WORD); printf '%s\\0' \"${a[@]}\"",
    "[[ WORD == WORD ]] && printf '%s\\0' WORD",
    "[[ ! ( WORD != WORD ) ]] && printf '%s\\0' WORD",
    "[[ WORD =~ ^WORD$ ]] && printf '%s\\0' WORD",
    "declare x=WORD; printf '%s\\0' \"$x\"",
    "f() { local x=WORD; printf '%s\\0' \"$x\"; }; f",
    "for ((n=0; n<1; n++)); do printf '%s\\0' WORD; done",
    "x=$(cat <<<WORD); printf '%s\\0' WORD",
    "IFS= read -r -d '' x < <(printf '%s\\0' WORD); printf '%s\\0' \"$x\"",
];

/// A word, and what it must become.
#[derive(Clone)]
struct Word {
    text: String,
    means: String,
}

struct Maker<'i, 'v> {
    shape: Input<'i>,
    shell: Shell,
    values: &'v [String],
    next: usize,
    pieces: usize,
}

impl Maker<'_, '_> {
    fn leaf(&mut self) -> Word {
        let number = self.next % self.values.len();
        self.next += 1;
        let value = self.values[number].clone();
        let plain = Word { text: format!("{{{{ params.v{number} }}}}"), means: value };
        let text = &plain.text;
        // What ends in newlines keeps them behind the dot.
        let dotted = || format!("{}.", plain.means);
        let (text, means) = match self.shape.byte() % 8 {
            1 => (format!("\"{text}\""), plain.means),
            2 => (format!("'{text}'"), plain.means),
            3 => (format!("a\"-{text}\"'='"), format!("a-{}=", plain.means)),
            4 => (format!("\"$(cat <<EOF\n{text}.\nEOF\n)\""), dotted()),
            5 => (format!("\"$(cat <<-EOF\n\t{text}.\n\tEOF\n)\""), dotted()),
            6 if self.shell == Shell::Bash => (format!("$'\\t{text}\\''"), format!("\t{}'", plain.means)),
            7 if self.shell == Shell::Bash => (format!("$\"{text}\""), plain.means),
            _ => (text.clone(), plain.means),
        };
        Word { text, means }
    }

    fn word(&mut self, depth: u8) -> Word {
        self.pieces += 1;
        if depth == 0 || self.pieces > MOST_PIECES || self.shape.is_empty() {
            return self.leaf();
        }
        let choice = self.shape.byte() % 14;
        if choice == 0 {
            return self.leaf();
        }
        let w = self.word(depth - 1);
        let dotted = |text: String| Word { text, means: format!("{}.", w.means) };
        let text = &w.text;
        // A here-document ends at the first line that is its delimiter, also inside a nested one.
        let end = format!("END{}", text.matches("<<").count());
        match choice {
            1 => {
                let other = self.word(depth - 1);
                Word { text: w.text + &other.text, means: w.means + &other.means }
            }
            2 => Word { text: w.text + "'-\"(`#'", means: w.means + "-\"(`#" },
            3 => dotted(format!("\"$(printf %s. {text})\"")),
            4 => dotted(format!("\"$( # it's a ) comment\nprintf '%s.' \\\n {text} )\"")),
            5 => dotted(format!("\"$(case x in x) printf %s. {text};; esac)\"")),
            6 => dotted(format!("\"$(f() {{ printf %s. \"$1\"; }}; f {text})\"")),
            7 => dotted(format!("\"$(if true; then printf %s. {text}; fi)\"")),
            8 => dotted(format!("\"$(x={text}; printf %s. \"$x\")\"")),
            9 => dotted(format!("\"$( (printf %s. {text}) )\"")),
            10 => dotted(format!("\"$(cat <<{end}\n$(printf %s. {text})\n{end}\n)\"")),
            11 => dotted(format!(
                "\"$(cat <<-'{end}' >/dev/null\n\tit's $( \" `\n\t{end}\nprintf %s. {text})\""
            )),
            12 => dotted(format!("\"$(printf %s. {text}; : \"${{z:-\\}}\\\"}}\" $((1+(2))))\"")),
            _ => dotted(format!("\"$(for each in {text}; do printf %s. \"$each\"; done)\"")),
        }
    }
}

pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let command = usize::from(input.byte());
    let shape = input.until(0xff);
    let mut values: Vec<String> = Vec::new();
    while values.len() < 4 && !input.is_empty() {
        let value = input.until(0xff);
        values.push(String::from_utf8_lossy(&value[..value.len().min(LONGEST)]).into_owned());
    }
    if values.is_empty() {
        values.push(String::new());
    }
    WORLD.with(|world| {
        for (shell, binary) in &world.shells {
            let maker =
                Maker { shape: Input::new(shape), shell: *shell, values: &values, next: 0, pieces: 0 };
            world.arrives(binary, maker, command, &values);
        }
    });
}

thread_local! {
    static WORLD: LazyCell<World> = LazyCell::new(World::new);
}

/// The real shells, and a folder in which nothing must appear.
struct World {
    shells: Vec<(Shell, PathBuf)>,
    folder: tempfile::TempDir,
    programs: tempfile::TempDir,
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

impl World {
    fn new() -> Self {
        let mut shells = Vec::new();
        for (shell, name) in [(Shell::Bash, "bash"), (Shell::Sh, "dash")] {
            match find(name) {
                Some(path) => shells.push((shell, path)),
                None => {
                    eprintln!("SKIPPED: there is no {name} on this machine, so its quoting is not tested")
                }
            }
        }
        let programs = tempfile::tempdir().expect("a folder");
        let cat = find("cat").expect("cat is everywhere");
        std::os::unix::fs::symlink(cat, programs.path().join("cat")).expect("a link");
        Self { shells, folder: tempfile::tempdir().expect("a folder"), programs }
    }

    fn arrives(&self, binary: &Path, mut maker: Maker<'_, '_>, command: usize, values: &[String]) {
        let shell = maker.shell;
        let more = if shell == Shell::Bash { BASH_COMMANDS } else { &[] };
        let command = COMMANDS.iter().chain(more).cycle().nth(command % 256).copied().unwrap_or(COMMANDS[0]);
        let word = maker.word(DEEPEST);
        let (source, means) = if command.contains("VALUE") {
            maker.next = 1;
            (command.replace("VALUE", "{{ params.v0 }}"), format!("{}.", values[0]))
        } else {
            (command.replace("WORD", &word.text), word.means)
        };
        let used = maker.next.min(values.len());
        // A variable cannot hold it. Everything else must be taken.
        let nul = values[..used].iter().any(|value| value.contains('\0'));
        let script = match render(&source, shell, values) {
            Ok(script) => script,
            Err(why) => return assert!(nul && why.contains("NUL"), "{why}: {source}"),
        };
        assert!(!nul, "NUL was taken: {source}");
        let output = self.run(binary, shell, &script);
        let what = || {
            format!(
                "{}: {}\n{values:?}\nstderr {}",
                binary.display(),
                script.script,
                String::from_utf8_lossy(&output.stderr)
            )
        };
        let expected = format!("{means}\0");
        let got = String::from_utf8_lossy(&output.stdout);
        assert!(got == expected, "got {got:?}\nnot {expected:?}\n{}", what());
        assert!(output.status.success() && output.stderr.is_empty(), "{}", what());
        let made = std::fs::read_dir(self.folder.path()).expect("the folder").count();
        assert_eq!(made, 0, "something ran: {}", what());
    }

    fn run(&self, binary: &Path, shell: Shell, script: &Script) -> std::process::Output {
        let mut command = Command::new(binary);
        match shell {
            Shell::Bash => command.args(["-euo", "pipefail", "-c"]),
            Shell::Sh => command.args(["-eu", "-c"]),
        };
        command
            .arg(&script.script)
            .arg("runbook")
            .env_clear()
            .env("PATH", self.programs.path())
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .envs(script.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("the shell starts")
    }
}

fn render(source: &str, shell: Shell, values: &[String]) -> Result<Script, String> {
    let params: BTreeMap<String, Value> =
        values.iter().enumerate().map(|(n, value)| (format!("v{n}"), Value::from(value.as_str()))).collect();
    let analysis = analyse(source, Place::Script(shell))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let run = RunView {
        id: "r",
        dir: "/r",
        started_at: "2026-01-01T00:00:00.000Z",
        operator: "o",
        environment: None,
        verdict: None,
    };
    let ctx = Ctx {
        params: &params,
        steps: &[],
        run: &run,
        item: None,
        result: None,
        groups: &runbook::plan::template::NO_GROUPS,
        drill: None,
    };
    let template = Template { src: analysis.normalised, uses: Vec::new() };
    render_script(&template, shell, &ctx).map_err(|error| error.to_string())
}
