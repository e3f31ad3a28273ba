//! The binary under `strace`, which kills it, or answers in the kernel's place, at a system call of our choice.
//!
//! Only the runner's own thread is traced, never the keeper nor a command: `-f` is not given.

use std::path::{Path, PathBuf};

use crate::support::{BIN, Running, World, wait_until};

pub struct Strace {
    program: PathBuf,
}

/// A system call of the traced process.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// Counted among the calls of the same name, from 1: what `when=` means.
    pub number: u32,
    /// As strace shows it, descriptors with their paths.
    pub text: String,
}

impl Strace {
    /// None, and said aloud, if it is not there or may not trace.
    pub fn found() -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path).map(|dir| dir.join("strace")).find(|p| p.is_file());
        let works = |program: &Path| {
            std::process::Command::new(program)
                .args(["-o", "/dev/null", "true"])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        match program.filter(|p| works(p)) {
            Some(program) => Some(Self { program }),
            None => {
                eprintln!("SKIPPED: strace is missing or may not trace here; nothing was shown");
                None
            }
        }
    }

    /// Starts the binary with these `-e` expressions.
    pub fn start(&self, world: &World, expressions: &[&str], args: &[&str]) -> Running {
        let mut command = world.command(&self.program);
        command.args(["-qq", "-o", "/dev/null"]);
        for expression in expressions {
            command.args(["-e", expression]);
        }
        command.arg("--").arg(BIN).args(args);
        world.start_command(command)
    }

    /// Starts the binary with a fault in calls of this name; those that had it can be read from the file afterwards.
    pub fn start_faulty(&self, world: &World, name: &str, fault: &str, args: &[&str]) -> (Running, PathBuf) {
        let log = world.tmp().join("faults");
        let mut command = world.command(&self.program);
        command.args(["-qq", "-y", "-o"]).arg(&log);
        command.args(["-e", &format!("trace={name}"), "-e", &format!("inject={name}:{fault}")]);
        command.arg("--").arg(BIN).args(args);
        (world.start_command(command), log)
    }

    /// Holds on to a process that is there already, with a fault in calls on `path` alone if one is given; gone when that has ended. Returns once it is held.
    pub fn attach(&self, world: &World, pid: i32, expression: &str, path: Option<&Path>) -> Running {
        let mut command = world.command(&self.program);
        // It would else be taken for a process that the run left behind.
        command.env_remove("RUNBOOK_STATE");
        command.args(["-qq", "-o", "/dev/null", "-e", expression, "-p", &pid.to_string()]);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        let tracer = world.start_command(command);
        wait_until("the tracer", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|l| l.strip_prefix("TracerPid:").is_some_and(|t| t.trim() != "0"))
        });
        tracer
    }

    /// Runs it undisturbed and gives its calls of these names, in order.
    pub fn calls(&self, world: &World, names: &[&str], args: &[&str]) -> Vec<Call> {
        self.calls_with(world, names, 60, args)
    }

    /// The same with up to `bytes` bytes of each text in them.
    pub fn calls_with(&self, world: &World, names: &[&str], bytes: u32, args: &[&str]) -> Vec<Call> {
        let log = world.tmp().join("calls");
        let mut command = world.command(&self.program);
        command.args(["-qq", "-y", "-s", &bytes.to_string(), "-e"]);
        command.arg(format!("trace={}", names.join(",")));
        command.arg("-o").arg(&log).arg("--").arg(BIN).args(args);
        let shown = world.start_command(command).wait();
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        let mut calls: Vec<Call> = Vec::new();
        for line in text.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            let number = 1 + calls.iter().filter(|c| c.name == name).count();
            let number = u32::try_from(number).unwrap();
            calls.push(Call { name: name.to_owned(), number, text: line.to_owned() });
        }
        assert!(!calls.is_empty(), "{shown:?}");
        calls
    }
}
