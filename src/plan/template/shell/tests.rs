//! Unit tests of the weaving: what is written where, what is refused, what is parsed twice. That it holds against real
//! shells is shown in `tests/quoting.rs`.

use super::super::{Place, analyse};
use super::*;

fn woven(src: &str, shell: Shell) -> String {
    let marks: Vec<char> = (0..9).filter_map(environment::placeholder).collect();
    let text: String = src.chars().map(|c| if c == '@' { marks[0] } else { c }).collect();
    let woven = weave(&text, shell);
    assert_eq!(woven.refusals, [], "{src}");
    let mark = if woven.integers.is_empty() { "V" } else { "I" };
    woven.text.replace(marks[0], mark)
}

fn bash(src: &str) -> String {
    woven(src, Shell::Bash)
}

#[test]
fn each_place_has_its_quoting() {
    for (src, expected) in [
        ("cp @ b", "cp \"${V}\" b"),
        ("a@b", "a\"${V}\"b"),
        ("x=@", "x=\"${V}\""),
        ("echo \"a @\"", "echo \"a ${V}\""),
        ("echo 'a @'", "echo 'a '\"${V}\"''"),
        ("echo $'\\t@'", "echo $'\\t'\"${V}\"$''"),
        ("echo \"$(cat '@')\"", "echo \"$(cat ''\"${V}\"'')\""),
        ("echo `cat @`", "echo `cat \"${V}\"`"),
        ("cat <<E\n@ \"@\"\nE\n", "cat <<E\n${V} \"${V}\"\nE\n"),
        ("echo # it's @\necho @", "echo # it's ${V}\necho \"${V}\""),
        ("echo $((@ + 1))", "echo $(((${I}) + 1))"),
        ("((x = @))", "((x = (${I})))"),
        ("a[@]=1", "a[\"${I}\"]=1"),
        ("let x=@", "let x=\"${I}\""),
        ("[[ x -eq @ ]]", "[[ x -eq \"${I}\" ]]"),
        ("[[ x == @ && (y =~ ^@$) ]]", "[[ x == \"${V}\" && (y =~ ^\"${V}\"$) ]]"),
        ("n=@; echo $((n + 1))", "n=\"${I}\"; echo $((n + 1))"),
        ("declare -i n; n=@", "declare -i n; n=\"${I}\""),
        (
            "case @ in @) echo \"@\";; (b|c) :;; esac",
            "case \"${V}\" in \"${V}\") echo \"${V}\";; (b|c) :;; esac",
        ),
        ("echo $(case a in a) echo @;; esac)", "echo $(case a in a) echo \"${V}\";; esac)"),
        ("a=(x @\n# )\n)", "a=(x \"${V}\"\n# )\n)"),
        ("diff <(cat @) b", "diff <(cat \"${V}\") b"),
        ("f() { echo @; }; f", "f() { echo \"${V}\"; }; f"),
        ("cat <<<@", "cat <<<\"${V}\""),
        ("echo \"$$( \" @ \")\"", "echo \"$$( \" \"${V}\" \")\""),
        ("a=(1 2); i=@; echo ${a[$i]}", "a=(1 2); i=\"${I}\"; echo ${a[$i]}"),
        ("s=abc; i=@; echo ${s:i:1}", "s=abc; i=\"${I}\"; echo ${s:i:1}"),
        ("declare -A a; k=@; echo \"${a[$k]}\"", "declare -A a; k=\"${V}\"; echo \"${a[$k]}\""),
        ("declare -ia a=(@)", "declare -ia a=(\"${I}\")"),
        ("echo ${x:-\"}\"} @", "echo ${x:-\"}\"} \"${V}\""),
        ("for ((i=0; i<@; i++)); do :; done", "for ((i=0; i<(${I}); i++)); do :; done"),
        ("echo x >@ 2>&1", "echo x >\"${V}\" 2>&1"),
    ] {
        assert_eq!(bash(src), expected, "{src}");
    }
}

#[test]
fn what_cannot_be_made_safe_is_refused() {
    let refused = |src: &str, shell: Shell| {
        let source = src.replace('@', "{{ params.x }}");
        let errors = analyse(&source, Place::Script(shell)).expect_err(src);
        errors.into_iter().map(|e| e.message).collect::<Vec<_>>()
    };
    for (src, message) in [
        ("cat <<'E'\n@\nE\n", "a value inside a quoted here-document would not be replaced"),
        ("cat <<\\E\n@\nE\n", "a value inside a quoted here-document would not be replaced"),
        ("cat <<\"E\"\n@\nE\n", "a value inside a quoted here-document would not be replaced"),
        ("cat <<E\n@", "a here-document has no end: there is no line `E`"),
        ("cat <<@\nx\n@\n", "a value cannot be the end of a here-document"),
        ("echo \\@", "a value cannot stand right after a backslash"),
        ("echo \"\\@\"", "a value cannot stand right after a backslash"),
        ("echo $@", "a value cannot stand right after `$`"),
        ("echo ${x:-@}", "a value inside `${ }` cannot be made safe"),
        ("echo \"`cat @`\"", "a value inside these backticks cannot be made safe"),
        ("echo `echo \\`cat @\\``", "a value inside these backticks cannot be made safe"),
        ("@=1", "a value cannot be the name of a variable"),
        ("export @", "a value cannot be the name of a variable"),
        ("read @", "a value cannot be the name of a variable"),
        ("unset \"a[@]\"", "a value cannot be the name of a variable"),
        ("printf -v @ x", "a value cannot be the name of a variable"),
        ("[[ -v @ ]]", "a value cannot be the name of a variable"),
        ("test -v @", "a value cannot be the name of a variable"),
        ("for @ in a; do :; done", "a value cannot be the name of a variable"),
        ("@() { :; }", "a value cannot be the name of a function"),
        ("printf @", "a value cannot be the format of printf"),
        ("[ @ @ ]", "a value cannot be the operator of a test"),
        ("echo 'a @", "a single quote is not closed"),
        ("echo $(echo @", "the script ends inside a parenthesis or a `case`"),
        ("case x in a|#b) @;; esac", "a comment stands where a word is expected"),
        ("echo $[@]", "`$[ ]` cannot be followed"),
        ("echo $((echo @) )", "`((` has no `))`"),
    ] {
        let got = refused(src, Shell::Bash);
        assert!(got.iter().any(|m| m == message), "{src}: {got:?}");
    }
    for (src, message) in [
        ("echo $'@'", "`$'` means different things to different shells"),
        ("cat <<<@", "sh has no `<<<`"),
        ("((x=@))", "sh has no `(( ))`"),
        ("a=(@)", "sh has no arrays"),
        ("[[ @ -eq 1 ]]", "sh has no `[[ ]]`"),
        ("cat <(echo @)", "sh has no `<( )`"),
    ] {
        assert_eq!(refused(src, Shell::Sh), [message], "{src}");
    }
    assert_eq!(analyse(&"$(".repeat(100_000), Place::Script(Shell::Bash)).map(drop), Ok(()));
    let deep = format!("{}{{{{ params.x }}}}", "$(".repeat(100_000));
    assert_eq!(
        analyse(&deep, Place::Script(Shell::Bash)).unwrap_err()[0].message,
        "the script is nested too deeply"
    );
}

#[test]
fn a_second_parse_is_reported() {
    for (src, by) in [
        ("bash -c \"echo {{ params.x }}\"", vec!["`bash -c`"]),
        ("docker exec db sh -ec 'echo {{ params.x }}' {{ params.y }}", vec!["`sh -c`"]),
        ("sudo bash -euo pipefail -c \"{{ params.x }}\"", vec!["`bash -c`"]),
        ("find . -exec sh -c 'rm {{ params.x }}' \\;", vec!["`sh -c`"]),
        ("eval \"echo {{ params.x }}\"", vec!["`eval`"]),
        ("watch ls {{ params.x }}", vec!["`watch`"]),
        ("A=1 watch ls {{ params.x }}", vec!["`watch`"]),
        ("sudo -u bob timeout 5 /usr/bin/watch ls {{ params.x }}", vec!["`watch`"]),
        ("./ledger.sh watch {{ params.x }}", vec![]),
        ("grep -r watch {{ params.x }}", vec![]),
        ("ssh -p 22 {{ params.h }} \"rm {{ params.x }}\"", vec!["the remote shell of `ssh`"]),
        ("trap 'rm {{ params.x }}' EXIT", vec!["`trap`"]),
        ("psql -c \"select '{{ params.x }}'\"", vec!["`psql -c`"]),
        ("sqlite3 {{ params.d }} \"select {{ params.x }}\"", vec!["`sqlite3`"]),
        ("ssh -T host <<EOF\nrm {{ params.x }}\nEOF\n", vec!["the remote shell of `ssh`"]),
        ("bash -s <<EOF\nrm {{ params.x }}\nEOF\n", vec!["`bash`, which runs its input"]),
        ("psql <<< \"select {{ params.x }}\"", vec!["`psql`, which runs its input"]),
        ("ssh host cat <<EOF\n{{ params.x }}\nEOF\n", vec![]),
        ("sed -i \"s/{{ params.x }}/y/\" f", vec!["`sed`"]),
        ("bash script.sh {{ params.x }}", vec![]),
        ("ssh host < {{ params.x }}", vec![]),
        ("bash -c 'echo \"$1\"' _ {{ params.x }}", vec![]),
    ] {
        let analysis = analyse(src, Place::Script(Shell::Bash)).expect(src);
        let found: Vec<(&str, &str)> =
            analysis.reparsed.iter().map(|(r, by)| (&src[r.clone()], by.as_str())).collect();
        let expected: Vec<(&str, &str)> = by.into_iter().map(|by| ("params.x", by)).collect();
        assert_eq!(found, expected, "{src}");
    }
}
