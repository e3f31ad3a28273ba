//! Data is never code: hostile values in every lexical place of a script, run by real shells. Each must arrive byte
//! for byte, and none may run anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use runbook::plan::template::{Ctx, Dialect, Place, RunView, Script, analyse, render_script};
use runbook::plan::{Shell, Template};
use serde_json::Value;

/// What tries to break out.
fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        "",
        " ",
        "plain",
        "a b",
        "'",
        "\"",
        "'; touch PWNED; '",
        "\"; touch PWNED; \"",
        "$(touch PWNED)",
        "`touch PWNED`",
        "${x:=$(touch PWNED)}",
        "$((a[$(touch PWNED)]))",
        "a[$(touch PWNED)]",
        "x; touch PWNED; $(touch PWNED)",
        "\n touch PWNED\n",
        "trailing newline\n",
        "\n",
        "\r\n",
        "EOF\ntouch PWNED\n",
        "\nEOF\ntouch PWNED\n",
        "E\n",
        "-n",
        "--help",
        "-rf",
        "*",
        "?[a-z]*",
        "/*",
        "~",
        "~root",
        "{a,b}",
        "{1..9}",
        "!",
        "!!",
        "\\",
        "\\\\",
        "\\n\\t\\x41",
        "a\\",
        "$",
        "$HOME",
        "${RB_V1}",
        "#",
        "# comment",
        ")",
        ";;",
        "esac",
        "&",
        "| touch PWNED",
        "> PWNED",
        "<(touch PWNED)",
        "$'\\x41'",
        "%s%n",
        "\u{e9}\u{4e2d}\u{1f600}\u{202e}",
        "\t\u{1b}[31m",
        "=(a)",
        "x=y",
    ]
    .map(str::to_owned)
    .into();
    values.push("'\"`$(touch PWNED)\\\n".repeat(2000));
    values
}

/// Where a value may stand. `@` is the value; each template prints it and nothing else, then `.`, so that trailing
/// newlines are seen.
const EVERY_SHELL: &[&str] = &[
    "printf %s. @",
    "printf %s. \"@\"",
    "printf %s. '@'",
    "printf '%s.' @ # @ '\" $( `",
    "x=@\nprintf %s. \"$x\"",
    "x=\"@\" ; printf %s. \"$x\"",
    "x='@'; printf %s. \"$x\"",
    "x=$(printf %s. @); printf %s \"$x\"",
    "x=\"$(printf %s. '@')\"; printf %s \"$x\"",
    "x=\"$(printf %s. \"@\")\"; printf %s \"$x\"",
    "x=$(printf %s. \"$(printf %s @; printf x)\"); x=${x%x.}; printf %s. \"$x\"",
    "x=`printf %s. @`; printf %s \"$x\"",
    "x=`printf %s. '@'`; printf %s \"$x\"",
    "x=`printf %s. \"@\"`; printf %s \"$x\"",
    "cat <<EOF | { IFS= read -r _; sed '$!b;s/\\.$//' >/dev/null; }; printf %s. @\nfirst\n@.\nEOF",
    "x=$(cat <<EOF\n@.\nEOF\n); printf %s \"$x\"",
    "x=$(cat <<-EOF\n\t@.\n\tEOF\n); printf %s \"$x\"",
    "x=$(cat <<A; cat <<B\n@.\nA\nB's \"text\"\nB\n); printf %s \"${x%B\\'s*}\" >/dev/null; printf %s. @",
    "x=$(cat <<EOF\n$(printf %s. \"@\")\nEOF\n); printf %s \"$x\"",
    "case @ in @) printf %s. @;; *) printf WRONG;; esac",
    "case \"a@\" in a'@') printf %s. @;; *) printf WRONG;; esac",
    "x=$(case a in a) printf %s. @;; (b|c) :;; esac); printf %s \"$x\"",
    "if [ @ = \"@\" ]; then printf %s. @; fi",
    "for i in @; do printf %s. \"$i\"; done",
    "f() { printf %s. \"$1\"; }; f @",
    "{ printf %s. @; }",
    "( printf %s. @ )",
    "printf %s. @ | cat",
    "true && printf %s. @ || printf WRONG",
    "printf %s. @ 2>/dev/null >&1",
    "printf %s. \\\n  @",
    "set -- @; printf %s. \"$1\"; [ $# = 1 ]",
    "set -- a@b; x=${1#a}; printf %s. \"${x%b}\"",
    "set -- 'a'@\"b\"; x=${1#a}; printf %s. \"${x%b}\"",
    "y=${z:-\"}'\"}; printf %s. @",
    "y=$((1 + (2 * 3))); printf %s. @",
    "y='it'\\''s' # don't\nprintf %s. @",
    "printf %s. @ & wait",
    "while :; do printf %s. @; break; done",
    "x=@ sh -c 'printf %s. \"$x\"'",
    "sh -c 'printf %s. \"$1\"' _ @",
];

const BASH_ONLY: &[&str] = &[
    "printf %s. $'@'",
    "x=$'\\t@\\t'; x=${x#?}; printf %s. \"${x%?}\"",
    "printf %s. $\"@\"",
    "IFS= read -r -d '' x < <(printf '%s\\0' @); printf %s. \"$x\"",
    "IFS= read -r -d '' x <<<@ || :; printf %s. \"${x%?}\"",
    "a=(x @ '@'); printf %s. \"${a[2]}\"; [ \"${a[1]}\" = @ ]",
    "[[ @ == @ ]] && printf %s. @",
    "[[ \"a@\" == a'@' && ! ( @ != @ ) ]] && printf %s. @",
    "[[ @ =~ ^@$ ]] && printf %s. @",
    "declare x=@; printf %s. \"$x\"",
    "export x=@; printf %s. \"$x\"",
    "f() { local x=@; printf %s. \"$x\"; }; f",
    "for ((i=0; i<1; i++)); do printf %s. @; done",
    "((1 + 1)) && printf %s. @",
    "shopt -s extglob\ncase ab in @(ab|cd)) printf %s. @;; esac",
];

fn shells() -> Vec<(Shell, PathBuf)> {
    let find = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
    };
    let mut shells = Vec::new();
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Sh, "dash"), (Shell::Sh, "bash")] {
        match find(name) {
            Some(path) => shells.push((shell, path)),
            None => eprintln!("SKIPPED: there is no {name} on this machine, so its quoting is not tested"),
        }
    }
    shells
}

fn render(src: &str, shell: Shell, params: &BTreeMap<String, Value>) -> Result<Script, String> {
    let analysis = analyse(src, Place::Script(shell))
        .map_err(|e| e.iter().map(ToString::to_string).collect::<String>())?;
    let run = RunView {
        id: "r",
        dir: "/r",
        started_at: "2026-01-01T00:00:00.000Z",
        operator: "o",
        environment: None,
        verdict: None,
    };
    let ctx = Ctx {
        params,
        steps: &[],
        run: &run,
        item: None,
        result: None,
        groups: &runbook::plan::template::NO_GROUPS,
        drill: None,
    };
    let template = Template { src: analysis.normalised, uses: Vec::new() };
    render_script(&template, shell, &ctx).map_err(|e| e.to_string())
}

struct Ran {
    stdout: Vec<u8>,
    ok: bool,
    stderr: String,
}

fn run(binary: &Path, shell: Shell, script: &Script, dir: &Path) -> Ran {
    let mut command = Command::new(binary);
    match shell {
        Shell::Bash => command.args(["-euo", "pipefail", "-c"]),
        Shell::Sh => command.args(["-eu", "-c"]),
    };
    let output = command
        .arg(&script.script)
        .arg("runbook")
        .envs(script.env.iter().map(|(k, v)| (k, v)))
        .env("HOME", dir)
        .env_remove("RB_V1")
        .envs(script.env.iter().map(|(k, v)| (k, v)))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        stdout: output.stdout,
        ok: output.status.success(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn pwned(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_some()
}

/// Runs `template` with every value in both shells' manner and compares bytes.
fn arrives(templates: &[&str], only: Option<Shell>) {
    let dir = tempfile::tempdir().unwrap();
    for (shell, binary) in shells() {
        if only.is_some_and(|only| only != shell) {
            continue;
        }
        for template in templates {
            let src = template.replace('@', "{{ params.v }}");
            let src = src.replace("{{ params.v }}(", "@(");
            for value in hostile() {
                let params = BTreeMap::from([("v".to_owned(), Value::from(value.as_str()))]);
                let script = render(&src, shell, &params).unwrap_or_else(|e| panic!("{template}: {e}"));
                let ran = run(&binary, shell, &script, dir.path());
                let what = || {
                    format!("{}: {}\nvalue {value:?}\nstderr {}", binary.display(), script.script, ran.stderr)
                };
                assert!(!pwned(dir.path()), "something ran: {}", what());
                let expected = format!("{value}.");
                let got = String::from_utf8_lossy(&ran.stdout).into_owned();
                assert!(got == expected && ran.ok, "got {got:?}: {}", what());
            }
        }
    }
}

#[test]
fn values_arrive_in_every_place_of_every_shell() {
    arrives(EVERY_SHELL, None);
}

#[test]
fn values_arrive_in_every_place_of_bash() {
    arrives(BASH_ONLY, Some(Shell::Bash));
}

/// Places where bash would evaluate a value as arithmetic and run what it holds.
const ARITHMETIC: &[&str] = &[
    "printf %s. $((@))",
    "printf %s. $(( (@) - 0 ))",
    "x=\"$((@))\"; printf %s. \"$x\"",
    "n=@; printf %s. $((n))",
];

const BASH_ARITHMETIC: &[&str] = &[
    "((x = @)) || :; printf %s. $x",
    "let x=@ || :; printf %s. $x",
    "declare -i x=@; printf %s. $x",
    "declare -i x; x=@; printf %s. $x",
    "[[ @ -eq @ ]]; printf %s. $((@))",
    "n=@; [[ n -ge n ]]; printf %s. $n",
    "a=(1 2 3); i=0; : ${a[i]}; printf %s. $((@))",
    "a[@*@]=1 || :; printf %s. $((@))",
    "for n in @; do printf %s. $((n)); done",
    "i=@; a=(1); : ${a[i - i]} ${a[$i * 0]}; printf %s. $((i))",
    "declare -ia a=(@); printf %s. ${a[0]}",
];

#[test]
fn arithmetic_takes_integers_only() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, binary) in shells() {
        let more = if shell == Shell::Bash { BASH_ARITHMETIC } else { &[] };
        for template in ARITHMETIC.iter().chain(more) {
            let src = template.replace('@', "{{ params.v }}");
            for (value, printed) in [("42", "42."), ("0", "0."), ("010", "10."), (" 7 ", "7.")] {
                let params = BTreeMap::from([("v".to_owned(), Value::from(value))]);
                let script = render(&src, shell, &params).unwrap();
                let ran = run(&binary, shell, &script, dir.path());
                assert_eq!(
                    String::from_utf8_lossy(&ran.stdout),
                    printed,
                    "{template} {value} {}",
                    ran.stderr
                );
            }
            let minus = BTreeMap::from([("v".to_owned(), Value::from(-5))]);
            render(&src, shell, &minus).unwrap();
            for value in hostile().into_iter().filter(|v| v.trim().parse::<i64>().is_err()) {
                let params = BTreeMap::from([("v".to_owned(), Value::from(value.as_str()))]);
                let error = render(&src, shell, &params).unwrap_err();
                assert!(error.ends_with("is not an integer, and it stands in shell arithmetic"), "{error}");
            }
        }
    }
}

#[test]
fn nul_and_lists_are_refused() {
    for (value, message) in [
        (Value::from("a\0b"), "\"a\\0b\" holds a NUL character, which no variable can hold"),
        (Value::from(vec![1]), "a list or map cannot enter a script"),
        (Value::Null, "a value is null and cannot be written as text"),
    ] {
        let params = BTreeMap::from([("v".to_owned(), value)]);
        assert_eq!(render("echo {{ params.v }}", Shell::Bash, &params).unwrap_err(), message);
    }
}

#[test]
fn equal_values_share_a_variable_and_raw_is_text() {
    let params =
        BTreeMap::from([("v".to_owned(), Value::from("x")), ("cmd".to_owned(), Value::from("ls -l"))]);
    let src = "{{ params.cmd | raw }} {{ params.v }} \"{{ params.v }}\" {{ params.v }}2";
    let script = render(src, Shell::Bash, &params).unwrap();
    assert_eq!(script.script, "ls -l \"${RB_V1}\" \"${RB_V1}\" \"${RB_V1}\"2");
    assert_eq!(script.env, [("RB_V1".to_owned(), "x".to_owned())]);
    // Spliced text that opens a quote is seen when the script is rendered.
    let broken =
        BTreeMap::from([("v".to_owned(), Value::from("x")), ("cmd".to_owned(), Value::from("echo \""))]);
    assert_eq!(
        render(src, Shell::Bash, &broken).map(|s| s.script).unwrap_err(),
        "a double quote is not closed"
    );
}

/// A word that holds the value `{{ params.vN }}` in some nest of quotes and substitutions, for both shells. Whatever
/// surrounds it prints it unchanged.
fn word() -> impl Strategy<Value = String> {
    let leaf = (0..4_usize, 0..3_u8).prop_map(|(n, how)| match how {
        0 => format!("{{{{ params.v{n} }}}}"),
        1 => format!("\"{{{{ params.v{n} }}}}\""),
        _ => format!("'{{{{ params.v{n} }}}}'"),
    });
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            // Concatenation.
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}{b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}'-\"(`#'{b}")),
            // Substitution keeps everything but trailing newlines: `.` guards them, in front of the closing quote.
            inner.clone().prop_map(|w| format!("\"$(printf %s. {w})\"")),
            inner.clone().prop_map(|w| format!("\"$( # it's a ) comment\nprintf '%s.' \\\n {w} )\"")),
            inner.clone().prop_map(|w| format!("\"$(case x in x) printf %s. {w};; esac)\"")),
            inner.clone().prop_map(|w| format!("\"$(f() {{ printf %s. \"$1\"; }}; f {w})\"")),
            inner.clone().prop_map(|w| format!("\"$(if true; then printf %s. {w}; fi)\"")),
            inner.clone().prop_map(|w| format!("\"$(x={w}; printf %s. \"$x\")\"")),
            inner.clone().prop_map(|w| format!("\"$( (printf %s. {w}) )\"")),
            // A here-document ends at the first line that is its delimiter, also inside a nested one.
            inner.clone().prop_map(|w| {
                let end = format!("EOF{}", w.matches("<<").count());
                format!("\"$(cat <<{end}\n$(printf %s. {w})\n{end}\n)\"")
            }),
            inner.clone().prop_map(|w| {
                let end = format!("EOF{}", w.matches("<<").count());
                format!("\"$(cat <<-'{end}' >/dev/null\n\tit's $( \" `\n\t{end}\nprintf %s. {w})\"")
            }),
            inner.prop_map(|w| format!("\"$(printf %s. {w}; : \"${{z:-\\}}\\\"}}\" $((1+(2))))\"")),
        ]
    })
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(hostile().into_iter().filter(|v| v.len() < 100).collect::<Vec<_>>()),
        "[ -~\n\t]{0,12}",
        "[\\\\'\"`$(){}\n;&|<>#*]{0,8}",
        "[^\0]{0,6}",
    ]
}

/// What the shell must print for `word`: found by reading it with an own, simple reader of the templates above.
fn expected(word: &str, values: &[String]) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("{{ params.v") {
        if before.contains("'-\"(`#'") {
            out.push_str("-\"(`#");
        }
        let digit = after.as_bytes()[0];
        out.push_str(&values[usize::from(digit - b'0')]);
        rest = &after["0 }}".len()..];
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Random nests of quotes, substitutions and here-documents around random values. Every `.` that a substitution
    /// adds is removed again before comparing, so only values without a dot are compared by bytes.
    #[test]
    fn random_scripts_run_nothing_and_lose_nothing(
        word in word(),
        values in proptest::collection::vec(value(), 4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let values: Vec<String> = values.into_iter().map(|v| v.replace('.', "_")).collect();
        let params: BTreeMap<String, Value> =
            values.iter().enumerate().map(|(i, v)| (format!("v{i}"), Value::from(v.as_str()))).collect();
        let src = format!("printf %s. {word}");
        for (shell, binary) in shells() {
            let script = match render(&src, shell, &params) {
                Ok(script) => script,
                Err(e) => return Err(TestCaseError::fail(format!("{src}: {e}"))),
            };
            let ran = run(&binary, shell, &script, dir.path());
            prop_assert!(!pwned(dir.path()), "something ran: {}\n{values:?}", script.script);
            let got = String::from_utf8_lossy(&ran.stdout).replace('.', "");
            prop_assert_eq!(
                got, expected(&word, &values), "{} {}\n{:?}\n{}", binary.display(), script.script, values, ran.stderr
            );
        }
    }

    /// Any mixture of what means something to a shell: whatever is accepted runs nothing of the value.
    #[test]
    fn whatever_is_accepted_is_safe(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 1..12),
    ) {
        let src = pieces.concat();
        let payload = "'\"`;\n$(echo ran >PWNED)`echo ran >PWNED`\n(echo ran >PWNED)\n";
        for (shell, binary) in shells() {
            let dir = tempfile::tempdir().unwrap();
            for value in [payload, "$(echo ran >PWNED)", "a[$(echo ran >PWNED)]", "' ; echo ran >PWNED #"] {
                let params = BTreeMap::from([("v".to_owned(), Value::from(value))]);
                let Ok(script) = render(&src, shell, &params) else { continue };
                let ran = run(&binary, shell, &script, dir.path());
                prop_assert!(
                    !dir.path().join("PWNED").exists(),
                    "it ran: {} {:?} -> {:?}\n{}", binary.display(), src, script.script, ran.stderr
                );
            }
        }
    }

    #[test]
    fn no_source_panics(src in "\\PC{0,60}", at in 0..4_usize) {
        let _ = analyse(&src, PLACES[at]);
    }

    #[test]
    fn no_mixture_panics(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..20),
        at in 0..4_usize,
    ) {
        let src = pieces.concat();
        if let Err(errors) = analyse(&src, PLACES[at]) {
            for error in errors {
                prop_assert!(error.range.is_none_or(|r| src.get(r).is_some()), "{src:?}");
            }
        }
    }
}

const PLACES: [Place; 4] =
    [Place::Script(Shell::Bash), Place::Script(Shell::Sh), Place::Query(Dialect::Sqlite), Place::Expression];

const PIECES: &[&str] = &[
    "{{ params.v }}",
    "{{ params.v }}",
    "{{ params.v }}",
    "{{ params.v }}",
    "echo ",
    "x=",
    "n=1",
    "printf %s ",
    "test ",
    "[ ",
    "[[ ",
    " ]]",
    " ]",
    "declare -a ",
    "declare -i ",
    "declare -ia x=(",
    "$$",
    "$#",
    "x=@ ",
    "${x[n]}",
    "n={{ params.v }};",
    "$((n))",
    "[[ n -eq n ]]",
    "local ",
    "export ",
    "let ",
    "unset ",
    "a[",
    "]",
    "]=1",
    "=(",
    "case ",
    " in ",
    ";; ",
    " esac",
    "for i in ",
    "; do ",
    "; done",
    "if true; then ",
    "; fi",
    "f() { ",
    "; }",
    "$",
    "\\",
    "'",
    "'",
    "\"",
    "\"",
    "`",
    "`",
    "$(",
    "$(",
    ")",
    ")",
    "$((",
    "((",
    "))",
    "${x:-",
    "${",
    "}",
    "$'",
    "$\"",
    "<<E\n",
    "<<-E\n",
    "<<'E'\n",
    "\nE\n",
    "<<<",
    "<(",
    ">f",
    "2>&1",
    "# ",
    "\n",
    ";",
    " ",
    " ",
    "&& ",
    "| ",
    "& ",
    " -eq ",
    " == ",
    " =~ ",
    "-v ",
    "x",
    "n",
    "{a,",
    "!",
    "*",
    "~",
    "{% if true %}",
    "{% else %}",
    "{% endif %}",
];
