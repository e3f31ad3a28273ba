//! What the program itself says: on a terminal (a real pty) and in a log.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};

/// The program with nothing of this machine's around it, in `folder`, which also holds its state.
fn runbook(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("RUNBOOK_STATE", folder.join("state"))
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn write(folder: &Path, name: &str, steps: &str) {
    let text = format!("apiVersion: runbook/v1\nname: {name}\ntitle: A test\n{steps}");
    std::fs::write(folder.join(format!("{name}.yaml")), text).expect("the playbook is written");
}

/// What the program writes to a terminal of 24 rows and 80 columns, and its exit code.
fn on_a_terminal(command: &mut Command) -> (String, Option<i32>) {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).expect("there is a pty");
    let mut child = command.stdout(Stdio::from(pty.slave)).stderr(Stdio::null()).spawn().expect("it starts");
    // The command holds its own copy of the terminal's end, which must close for the reader to see the end.
    command.stdout(Stdio::null());
    let mut bytes = Vec::new();
    // The kernel ends a pty whose other end is closed with an error, not with an end of file.
    let _ = File::from(pty.master).read_to_end(&mut bytes);
    let code = child.wait().expect("it ends").code();
    (String::from_utf8_lossy(&bytes).into_owned(), code)
}

#[test]
fn a_step_that_never_stops_printing_does_not_freeze_the_view() {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        "chatty",
        "steps:\n  - { id: talk, title: Talk, run: 'for i in $(seq 1 60); do echo $i; sleep 0.02; done' }\n",
    );
    let (text, code) =
        on_a_terminal(runbook(folder.path()).env("TERM", "xterm").args(["run", "chatty.yaml"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 of 1 steps"), "no frame was drawn: {text}");
    assert!(
        !text.contains("\x1b[J") && !text.contains("\x1b[2J"),
        "a wiped screen becomes history: {text:?}"
    );
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "plain", "steps:\n  - { id: one, title: One, run: 'true' }\n");
    let (text, code) = on_a_terminal(runbook(folder.path()).env("TERM", "dumb").args(["run", "plain.yaml"]));
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains('\x1b') && text.contains("run plain-"), "{text:?}");
}

#[test]
fn a_log_shows_progress_as_it_ended_and_failures_that_mattered() {
    let folder = tempfile::tempdir().expect("a folder");
    write(
        folder.path(),
        "ways",
        "steps:\n  - id: any\n    title: Any way\n    any_of:\n\
         \x20     - { id: first, title: First, run: echo not this way >&2; exit 7 }\n\
         \x20     - { id: second, title: Second, run: \"printf '10%%\\\\r90%%\\\\r100%%\\\\n'\" }\n\
         \x20 - { id: boom, title: Boom, run: exit 9 }\n",
    );
    let out = runbook(folder.path()).args(["run", "ways.yaml"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("any/second | 100%\n") && !text.contains("10%\\r"), "{text}");
    let (_, closing) = text.split_once("✘ failed").expect("a closing block");
    assert!(closing.contains("boom") && !closing.contains("any/first"), "{closing}");
    let report = runbook(folder.path()).args(["report", "last"]).output().expect("it runs");
    let report = String::from_utf8_lossy(&report.stdout);
    assert!(report.contains("alternative: any/first: exit 7; second served"), "{report}");
}

#[test]
fn only_what_needs_a_state_folder_asks_for_one() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "plain", "steps:\n  - { id: one, title: One, run: 'true' }\n");
    let homeless = |arguments: &[&str]| {
        let mut command = runbook(folder.path());
        command.env_remove("HOME").env("RUNBOOK_STATE", "").args(arguments);
        command.output().expect("it runs")
    };
    assert_eq!(homeless(&["plan", "plain.yaml"]).status.code(), Some(0));
    let refused = homeless(&["run", "plain.yaml"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--state FOLDER"));
}

#[test]
fn a_folder_of_a_run_that_never_started_is_not_the_last_run() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "plain", "steps:\n  - { id: one, title: One, run: 'true' }\n");
    assert!(runbook(folder.path()).args(["run", "plain.yaml"]).output().expect("it runs").status.success());
    let later = folder.path().join("state/runs/plain-29991231T235959Z-aaaa");
    std::fs::create_dir(&later).expect("the folder is made");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&later, mode).expect("it is private");
    let status = runbook(folder.path()).args(["status"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && text.contains("recovered"), "{text}");
}
