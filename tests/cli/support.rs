//! A hermetic place for the real binary: its own home, state, time zone and working folder, and no variable of the
//! machine but PATH. Whatever a test leaves running is found by its environment and ended with the place.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub const BIN: &str = env!("CARGO_BIN_EXE_runbook");

/// Longer than anything here takes, also on a machine with too much to do. With a planted bug much may never end.
fn patience() -> Duration {
    let planted = cfg!(feature = "planted-bugs") && std::env::var_os("RUNBOOK_PLANTED_BUG").is_some();
    Duration::from_secs(if planted { 30 } else { 90 })
}

pub struct World {
    root: tempfile::TempDir,
}

/// What a command showed, and how it ended.
#[derive(Debug)]
pub struct Shown {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A command under way, its output in files.
pub struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("runbook-cli-").tempdir().unwrap();
        for folder in ["home", "tmp", "desk/playbooks"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        Self { root }
    }

    /// The working folder.
    pub fn dir(&self) -> PathBuf {
        self.root.path().join("desk")
    }

    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The lines of a file that the steps wrote to, their witness outside of the journal.
    pub fn ledger(&self) -> Vec<String> {
        self.read("ledger").lines().map(str::to_owned).collect()
    }

    /// Writes `playbooks/NAME.yaml`; relative paths in it count from the working folder.
    pub fn playbook(&self, name: &str, body: &str) {
        let head = format!("apiVersion: runbook/v1\nname: {name}\ntitle: Test of {name}\nworkdir: ..\n");
        self.write(&format!("playbooks/{name}.yaml"), format!("{head}{body}"));
    }

    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let home = self.root.path().join("home");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("RUNBOOK_STATE", self.state())
            .env("TMPDIR", self.tmp())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.dir())
            .stdin(Stdio::null());
        #[cfg(feature = "planted-bugs")]
        command.envs(std::env::var_os("RUNBOOK_PLANTED_BUG").map(|bug| ("RUNBOOK_PLANTED_BUG", bug)));
        command
    }

    pub fn cmd(&self, args: &[&str]) -> Command {
        let mut command = self.command(BIN);
        command.args(args);
        command
    }

    /// Runs the command to its end, which has to come.
    pub fn run(&self, args: &[&str]) -> Shown {
        self.start(args).wait()
    }

    /// Starts the command and comes back at once.
    pub fn start(&self, args: &[&str]) -> Running {
        self.start_command(self.cmd(args))
    }

    pub fn start_command(&self, mut command: Command) -> Running {
        let file = |end| {
            let path = tempfile::Builder::new().prefix("shown-").suffix(end).tempfile_in(self.root.path());
            path.unwrap().keep().unwrap()
        };
        let ((out, out_path), (err, err_path)) = (file(".out"), file(".err"));
        let child = command.stdout(out).stderr(err).spawn().unwrap();
        Running { child, out: out_path, err: err_path }
    }

    /// The only run's, or the newest run's, id.
    pub fn last_run(&self) -> String {
        let shown = self.run(&["status", "last", "--json"]);
        let status: Value = serde_json::from_str(&shown.out).unwrap_or_else(|e| panic!("{e}: {shown:?}"));
        status["run"].as_str().unwrap().to_owned()
    }

    pub fn run_dir(&self, run: &str) -> PathBuf {
        self.state().join("runs").join(run)
    }

    pub fn runs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state().join("runs")).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|e| e.file_name().into_string().unwrap()).filter(|n| !n.starts_with('.')).collect();
        names.sort();
        names
    }

    /// The newest run's events, each as its name and body.
    pub fn events(&self) -> Vec<(String, Value)> {
        let shown = self.run(&["log", "last", "--json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.out.lines().map(event_of).collect()
    }

    /// The events of one name.
    pub fn events_named(&self, name: &str) -> Vec<Value> {
        self.events().into_iter().filter(|(n, _)| n == name).map(|(_, body)| body).collect()
    }

    /// The last outcome that is recorded for each step, in the order of the records.
    pub fn outcome(&self, step: &str) -> String {
        let mut ended = self.events().into_iter().filter_map(|(name, body)| {
            if body["step"] != step {
                return None;
            }
            match name.as_str() {
                "step_ended" => Some(body["outcome"].as_str().unwrap().to_owned()),
                "step_skipped" => Some("skipped".to_owned()),
                _ => None,
            }
        });
        ended.next_back().unwrap_or_else(|| "none".to_owned())
    }

    /// Every live process that was started from here: the runners, the keepers and what they started.
    pub fn processes(&self) -> Vec<i32> {
        let mark = [b"RUNBOOK_STATE=", self.state().as_os_str().as_bytes(), b"\0"].concat();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.windows(mark.len()).any(|window| window == mark)
        })
        .collect()
    }

    /// Those whose command line contains `text`.
    pub fn processes_like(&self, text: &str) -> Vec<i32> {
        let all = self.processes().into_iter();
        all.filter(|pid| command_line(*pid).contains(text)).collect()
    }

    /// Asserts that nothing runs any more; a keeper that has just been let go is given the time to leave.
    pub fn assert_nothing_runs(&self) {
        let began = Instant::now();
        while !self.processes().is_empty() {
            let left: Vec<_> = self.processes().into_iter().map(|p| (p, command_line(p))).collect();
            assert!(began.elapsed() < patience(), "left running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every regular file below the place, with its bytes: to see that nothing was written.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        walk(self.root.path(), &mut |path| found.push((path.to_owned(), fs::read(path).unwrap_or_default())));
        found.retain(|(path, _)| !path.file_name().unwrap().as_bytes().starts_with(b"shown-"));
        found.sort();
        found
    }
}

/// The files that are not the same, for a message.
pub fn differing(before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) -> Vec<PathBuf> {
    let one_sided = |a: &[(PathBuf, Vec<u8>)], b: &[(PathBuf, Vec<u8>)]| {
        a.iter().filter(|file| !b.contains(file)).map(|(path, _)| path.clone()).collect::<Vec<_>>()
    };
    let mut paths = [one_sided(before, after), one_sided(after, before)].concat();
    paths.sort();
    paths.dedup();
    paths
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended in between.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// What it has written to stdout so far.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).unwrap()).into_owned()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn wait(mut self) -> Shown {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if began.elapsed() > patience() => {
                    let _ = self.child.kill();
                    panic!("it does not end; it showed\n{}", self.out());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let text = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Shown { code: code_of(status), out: text(&self.out), err: text(&self.err) }
    }
}

impl Shown {
    /// Asserts the exit code and shows everything if it differs.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Asserts that stdout or stderr contains each text.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            let there = self.out.contains(text) || self.err.contains(text);
            assert!(there, "{text:?} is not said\nstdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }
}

pub fn shown(command: &mut Command) -> Shown {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Shown { code: code_of(output.status), out: text(output.stdout), err: text(output.stderr) }
}

/// The exit code, or the negated signal.
fn code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}

/// The name and the body of a record's event.
pub fn event_of(line: &str) -> (String, Value) {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let event = record["event"].as_object().unwrap();
    assert_eq!(event.len(), 1, "{line}");
    let (name, body) = event.iter().next().unwrap();
    (name.clone(), body.clone())
}

pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < patience(), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills and waits until it is gone, so that what follows does not meet it any more.
pub fn kill_hard(pid: i32) {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        // It ended by itself since it was found.
        Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
        Err(error) => panic!("killing {pid}: {error}"),
    }
    wait_until("its end", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
    });
}

fn walk(dir: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(&entry.path(), found);
        } else if kind.is_file() {
            found(&entry.path());
        }
    }
}
