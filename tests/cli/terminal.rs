//! Keys on a terminal: a real pty, on it a real interactive bash with job control, and in that the real binary.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

use crate::support::{BIN, World, kill_hard, wait_until};

/// A terminal with a shell that waits for somebody to type.
pub struct Terminal {
    keys: File,
    /// All that was ever written to it.
    shown: Arc<Mutex<Vec<u8>>>,
    shell: Child,
}

impl Terminal {
    pub fn open(world: &World) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let mut command = world.command("bash");
        command
            .args(["--norc", "--noprofile", "--noediting", "-i"])
            .env("TERM", "xterm")
            .env("PS1", "ready> ");
        command.stdin(Stdio::from(pty.slave.try_clone().unwrap()));
        command.stdout(Stdio::from(pty.slave.try_clone().unwrap())).stderr(Stdio::from(pty.slave));
        // SAFETY: both calls are async-signal-safe and touch no memory. The terminal is the child's stdin.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::errno::Errno::result(nix::libc::ioctl(0, nix::libc::TIOCSCTTY, 0))?;
                Ok(())
            });
        }
        let shell = command.spawn().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let keys = File::from(pty.master);
        let (mut screen, all) = (keys.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with the last process that has the terminal open.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                all.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        let terminal = Self { keys, shown, shell };
        terminal.wait_for("ready> ", 0);
        terminal
    }

    pub fn type_in(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the size outlives the call, which only reads it.
        nix::errno::Errno::result(unsafe {
            nix::libc::ioctl(self.keys.as_raw_fd(), nix::libc::TIOCSWINSZ, &raw const size)
        })
        .unwrap();
    }

    /// Bytes that stand on it now.
    pub fn length(&self) -> usize {
        self.shown.lock().unwrap().len()
    }

    /// What was written to it from then on, without colours and movements.
    pub fn text_from(&self, from: usize) -> String {
        let text = String::from_utf8_lossy(&self.shown.lock().unwrap()[from..]).into_owned();
        console::strip_ansi_codes(&text).into_owned()
    }

    /// Waits until `text` stands on it after the byte `from`.
    #[track_caller]
    pub fn wait_for(&self, text: &str, from: usize) {
        let began = Instant::now();
        while !self.text_from(from).contains(text) {
            let all = self.text_from(0);
            assert!(began.elapsed() < Duration::from_secs(60), "{text:?} is not on the terminal:\n{all}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill_hard(i32::try_from(self.shell.id()).unwrap());
        let _ = self.shell.wait();
    }
}

/// As in /proc/PID/stat: `T` is stopped.
fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('X')
}

/// The step's timeout, and a rest that is longer.
const TIMEOUT: u64 = 10;

/// A run of two steps, started by typing, that is in its first.
fn typed(world: &World) -> (Terminal, i32) {
    world.playbook(
        "rest",
        &format!(
            "steps:\n  - id: hold\n    title: Hold on\n    timeout: {TIMEOUT}s\n    run: |\n      \
             touch begun; while ! test -e go; do sleep 0.05; done; echo held >> ledger\n  \
             - {{ id: next, title: The next one, run: echo next >> ledger }}\n"
        ),
    );
    let mut terminal = Terminal::open(world);
    terminal.type_in(&format!("{BIN} run rest\n"));
    wait_until("the step", || world.path("begun").exists());
    let runner = world.processes_like("run rest");
    assert_eq!(runner.len(), 1, "{runner:?}");
    terminal.wait_for("0 of 2 steps", 0);
    (terminal, runner[0])
}

/// The shell of the step and whatever it has started.
fn commands(world: &World) -> Vec<i32> {
    let mark = b"RUNBOOK_STEP=hold\0";
    let marked = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.windows(mark.len()).any(|window| window == mark)
    };
    world.processes().into_iter().filter(marked).collect()
}

fn rests(world: &World, runner: i32) -> bool {
    let commands = commands(world);
    state(runner) == 'T' && !commands.is_empty() && commands.iter().all(|pid| state(*pid) == 'T')
}

#[test]
fn ctrl_z_rests_the_run_with_its_commands_and_timeouts_and_fg_goes_on() {
    let world = World::new();
    let (mut terminal, runner) = typed(&world);
    let before = terminal.length();
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped", before);
    wait_until("the rest", || rests(&world, runner));
    // Longer than the step may take. What would end the rest could go ahead now.
    world.write("go", "");
    std::thread::sleep(Duration::from_secs(TIMEOUT + 1));
    assert!(rests(&world, runner), "somebody went on");
    assert!(world.ledger().is_empty());
    let rested = terminal.length();
    terminal.type_in("fg\n");
    terminal.wait_for("recovered", rested);
    let again = terminal.text_from(rested);
    assert!(again.contains("of 2 steps") || again.contains("Hold on"), "nothing was drawn again: {again:?}");
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=0", rested);
    assert_eq!(world.ledger(), ["held", "next"]);
    assert_eq!(world.outcome("hold"), "succeeded");
    let gaps = world.events_named("gap");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0]["why"], "paused from the terminal");
    assert!(gaps[0]["length"].as_u64().unwrap() >= 1000 * (TIMEOUT + 1), "{gaps:?}");
    world.run(&["verify", "last"]).exits(0);
}

/// The frame that moves is drawn anew after `fg`, while the step still runs.
#[test]
fn the_view_is_drawn_again_after_fg_and_a_second_rest_works_as_well() {
    let world = World::new();
    let (mut terminal, runner) = typed(&world);
    for _ in 0..2 {
        let before = terminal.length();
        terminal.type_in("\x1a");
        terminal.wait_for("Stopped", before);
        wait_until("the rest", || rests(&world, runner));
        let rested = terminal.length();
        terminal.type_in("fg\n");
        terminal.wait_for("0 of 2 steps", rested);
        wait_until("the command", || commands(&world).iter().all(|pid| state(*pid) != 'T'));
    }
    world.write("go", "");
    terminal.wait_for("recovered", 0);
    assert_eq!(world.ledger(), ["held", "next"]);
    assert_eq!(world.events_named("gap").len(), 2);
}

/// In the background it goes on, and may write to the terminal.
#[test]
fn bg_lets_it_go_on_too() {
    let world = World::new();
    let (mut terminal, runner) = typed(&world);
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped", 0);
    wait_until("the rest", || rests(&world, runner));
    world.write("go", "");
    terminal.type_in("bg\n");
    terminal.wait_for("recovered", 0);
    assert_eq!(world.ledger(), ["held", "next"]);
    terminal.type_in("wait $!; echo code=$?\n");
    terminal.wait_for("code=0", 0);
}

#[test]
fn ctrl_c_ends_the_run_and_the_shell_sees_130() {
    let world = World::new();
    let (mut terminal, _) = typed(&world);
    let before = terminal.length();
    terminal.type_in("\x03");
    terminal.wait_for("runbook resume ", before);
    terminal.type_in("echo code=$?\n");
    terminal.wait_for("code=130", before);
    assert_eq!(world.outcome("hold"), "cancelled");
    assert!(commands(&world).is_empty() && world.ledger().is_empty());
    world.write("go", "");
    terminal.type_in(&format!("{BIN} resume last\n"));
    terminal.wait_for("recovered", before);
    assert_eq!(world.ledger(), ["held", "next"]);
}

/// The terminal is closed under a run that rests: the kernel continues what it leaves without one, and the run goes on.
#[test]
fn a_terminal_that_closes_under_a_rest_leaves_nothing_stopped() {
    let world = World::new();
    let (mut terminal, runner) = typed(&world);
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped", 0);
    wait_until("the rest", || rests(&world, runner));
    world.write("go", "");
    drop(terminal);
    wait_until("the run's end", || world.ledger() == ["held", "next"]);
    world.assert_nothing_runs();
    assert_eq!(world.outcome("next"), "succeeded");
}

/// A run whose first step asks, started by typing.
fn asking(world: &World, keys: &str) -> Terminal {
    world.playbook(
        "asks",
        &format!(
            "steps:\n  - id: restore\n    title: Replace the database\n    approval: {{ prompt: 'Replace it?'{keys} }}\n    \
             run: echo restore >> ledger\n"
        ),
    );
    let mut terminal = Terminal::open(world);
    terminal.type_in(&format!("{BIN} run asks\n"));
    terminal.wait_for("Replace it?", 0);
    terminal
}

/// Line by line and with echo, as a shell leaves it for a program.
#[track_caller]
pub fn is_as_before(terminal: &mut Terminal) {
    let before = terminal.length();
    terminal.type_in(
        "stty -a | tr ';' '\\n' | grep -ow -e '-icanon' -e '-echo' -e icanon -e echo; echo se''en\n",
    );
    // What is typed does not hold the word.
    terminal.wait_for("seen", before);
    let text = terminal.text_from(before);
    // After the shell's prompt, if that came first.
    let quiet = text.contains("-icanon\r") || text.contains("-echo\r");
    assert!(text.contains("icanon\r\necho\r") && !quiet, "the terminal is not as it was: {text:?}");
}

#[test]
fn a_question_is_answered_at_the_prompt() {
    let world = World::new();
    let mut terminal = asking(&world, "");
    terminal.wait_for("yes, or no with a reason", 0);
    let before = terminal.length();
    terminal.type_in("banana\n");
    terminal.wait_for("is no answer here", before);
    let before = terminal.length();
    terminal.type_in("no\n");
    terminal.wait_for("a reason is needed", before);
    assert!(world.ledger().is_empty());
    // Corrected while it is typed, and with more than ASCII.
    terminal.type_in("nope\x15yex\x7fs geprüft\n");
    terminal.wait_for("recovered", before);
    assert_eq!(world.ledger(), ["restore"]);
    let answered = &world.events_named("answered")[0];
    assert_eq!(answered["reply"]["comment"], "geprüft");
    assert_eq!(answered["by"]["via"], "terminal");
    is_as_before(&mut terminal);
}

#[test]
fn ctrl_c_at_the_prompt_gives_the_terminal_back() {
    let world = World::new();
    let mut terminal = asking(&world, "");
    terminal.wait_for("yes, or no with a reason", 0);
    let before = terminal.length();
    terminal.type_in("ye\x03");
    terminal.wait_for("runbook resume ", before);
    is_as_before(&mut terminal);
    assert!(world.ledger().is_empty());
    terminal.type_in(&format!("{BIN} resume last\n"));
    terminal.wait_for("yes, or no with a reason", before);
    terminal.type_in("yes\n");
    terminal.wait_for("recovered", before);
    assert_eq!(world.ledger(), ["restore"]);
}

#[test]
fn ctrl_z_at_the_prompt_gives_the_terminal_back_and_fg_asks_again() {
    let world = World::new();
    let mut terminal = asking(&world, "");
    terminal.wait_for("yes, or no with a reason", 0);
    let before = terminal.length();
    terminal.type_in("\x1a");
    terminal.wait_for("Stopped", before);
    is_as_before(&mut terminal);
    let rested = terminal.length();
    terminal.type_in("fg\n");
    terminal.wait_for("yes, or no with a reason", rested);
    terminal.type_in("yes\n");
    terminal.wait_for("recovered", rested);
    assert_eq!(world.ledger(), ["restore"]);
}

/// Whoever may not answer is told who may, and how; the terminal is not read.
#[test]
fn the_excluded_operator_is_told_who_answers() {
    let world = World::new();
    let operator = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    let mut terminal = asking(&world, &format!(", approvers: [{operator}, daemon], exclude_operator: true"));
    terminal.wait_for("may answer: daemon", 0);
    terminal.wait_for("answer with: runbook approve", 0);
    terminal.type_in("yes\n");
    std::thread::sleep(Duration::from_secs(1));
    assert!(world.events_named("answered").is_empty() && world.ledger().is_empty());
    terminal.type_in("\x03");
    terminal.wait_for("runbook resume ", 0);
}
