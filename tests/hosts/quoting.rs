//! Any value is one exact argument over there, in every shell that may be the other side's `sh`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::World;

/// What breaks quoting, each by itself and joined.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "",
        " ",
        "'",
        "\"",
        "\\",
        "$x",
        "$(touch pwned)",
        "`touch pwned`",
        "a\nb",
        "\n",
        "-n",
        "--",
        "*",
        "~",
        "!!",
        "!x",
        "#",
        ";touch pwned",
        "&& touch pwned",
        "| tee pwned",
        "> pwned",
        "{a,b}",
        "%s%n\\n",
        "\t",
        "\r",
        "é\u{0301}",
        "\u{202e}",
        "''",
        "'\\''",
        "\u{1}\u{1b}[31m",
        "EOF\nEOF",
        "\u{1e}runbook-",
    ]
    .map(str::to_owned)
    .into();
    values.push(values.concat());
    values.push("x'\"".repeat(20_000));
    values
}

#[test]
fn one_exact_argument_in_every_shell() {
    let values = values();
    for shell in ["dash", "bash", "busybox"] {
        let found =
            std::process::Command::new("sh").args(["-c", &format!("command -v {shell}")]).output().unwrap();
        if !found.status.success() {
            println!("SKIPPED: quoting for {shell}, which is not here");
            continue;
        }
        let world = World::new();
        // The other side's `sh` is this one.
        fs::create_dir_all(world.path("bin")).unwrap();
        symlink(String::from_utf8_lossy(&found.stdout).trim(), world.path("bin/sh")).unwrap();
        let path = format!("{}:{}", world.path("bin").display(), std::env::var("PATH").unwrap());
        let mut body = format!("hosts: {{ there: {{ via: [env, \"PATH={path}\"] }} }}\nparams:\n");
        let mut script = String::new();
        for (n, value) in values.iter().enumerate() {
            let text = serde_json::to_string(value).unwrap();
            body += &format!("  v{n}: {{ type: string, default: {text} }}\n");
            script += &format!("      printf '%s' {{{{ params.v{n} }}}} \"$E{n}\" > out{n}\n");
        }
        body += "steps:\n  - id: all\n    on: there\n    workdir: WORK\n    stdin: \"{{ params.v32 }}\"\n    env:\n";
        for n in 0..values.len() {
            body += &format!("      E{n}: \"{{{{ params.v{n} }}}}\"\n");
        }
        body += &format!("    run: |\n{script}      cat > in\n");
        body += "  - { id: argv, on: there, workdir: WORK, exec: [sh, -c, \"printf '%s' \\\"$1\\\" > argv\", x, \"{{ params.v32 }}\"] }\n";
        world.playbook("quoting", &body.replace("WORK", &world.dir().to_string_lossy()));
        world.run(&["run", "quoting"]).exits(0);
        for (n, value) in values.iter().enumerate() {
            assert_eq!(world.read(&format!("out{n}")), value.repeat(2), "{shell}: value {n}");
        }
        assert_eq!(
            (world.read("in"), world.read("argv")),
            (values[32].clone(), values[32].clone()),
            "{shell}"
        );
        assert!(!world.path("pwned").exists());
        world.assert_nothing_runs();
    }
}
