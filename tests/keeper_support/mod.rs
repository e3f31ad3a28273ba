//! A run's folder with a keeper, for tests. What it started is gone when it is dropped.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runbook::exec::{Exec, ExecConfig, ExecEvent, Finding, InFlight, TaskSpec};
use runbook::model::{
    Millis, Op, ProcessOp, Secret, SecretName, TaskEnd, TaskEndKind, TaskId, TaskOutput, Want,
};

pub struct World {
    root: tempfile::TempDir,
    config: ExecConfig,
    exec: Option<Exec>,
    /// Everything that came for the screen.
    pub shown: Vec<u8>,
}

pub fn task(text: &str) -> TaskId {
    TaskId::parse(text).unwrap()
}

pub fn exited(code: i32) -> TaskEndKind {
    TaskEndKind::Exited { code }
}

pub fn secrets(pairs: &[(&str, &str)]) -> Arc<BTreeMap<SecretName, Secret>> {
    let pair = |(name, value): &(&str, &str)| {
        (SecretName((*name).to_owned()), Secret::new(value.as_bytes().to_vec()))
    };
    Arc::new(pairs.iter().map(pair).collect())
}

pub fn op(id: &str, commands: &[&[&str]]) -> TaskSpec {
    spec(
        id,
        Op::Process(ProcessOp {
            commands: commands.iter().map(|c| c.iter().map(|a| (*a).to_owned()).collect()).collect(),
            script: None,
            env: Vec::new(),
            host: None,
            // Replaced by the run's folder.
            workdir: PathBuf::new(),
            stdin: None,
        }),
    )
}

pub fn spec(id: &str, op: Op) -> TaskSpec {
    TaskSpec {
        task: task(id),
        op,
        timeout: Some(Millis::secs(60)),
        grace: Millis::secs(30),
        want: Want { stdout: true, stderr: true },
        sensitive: false,
        env: vec![("RUNBOOK_STEP".into(), id.into())],
        root: PathBuf::from("/"),
    }
}

pub fn bash(id: &str, script: &str) -> TaskSpec {
    op(id, &[&["bash", "-euo", "pipefail", "-c", script, "runbook"]])
}

pub trait SpecExt: Sized {
    fn process(&mut self) -> &mut ProcessOp;
    fn in_dir(self, dir: &Path) -> Self;
    fn sensitive(self) -> Self;
}

impl SpecExt for TaskSpec {
    fn process(&mut self) -> &mut ProcessOp {
        match &mut self.op {
            Op::Process(p) => p,
            _ => panic!("not a process"),
        }
    }
    fn in_dir(mut self, dir: &Path) -> Self {
        self.process().workdir = dir.to_owned();
        self
    }
    fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }
}

/// Waits, blocking this thread, for something that surely comes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("its end", || !alive(pid));
}

fn fields(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text[text.rfind(')')? + 2..].split(' ').map(str::to_owned).collect())
}

pub fn alive(pid: i32) -> bool {
    fields(pid).is_some_and(|f| f[0] != "Z" && f[0] != "X")
}

/// As in /proc/PID/stat: `T` is stopped.
pub fn state(pid: i32) -> char {
    fields(pid).and_then(|f| f[0].chars().next()).unwrap_or('X')
}

fn pids() -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect()
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ExecConfig)) -> Self {
        Self::build("test-20260101T000000Z-ab1d", change)
    }

    pub fn named(name: &str) -> Self {
        Self::build(name, |_| {})
    }

    fn build(name: &str, change: impl FnOnce(&mut ExecConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let run_dir = root.path().canonicalize().unwrap().join(name);
        std::fs::create_dir(&run_dir).unwrap();
        let mut config = ExecConfig {
            run_dir,
            secrets: secrets(&[]),
            output_cap: 1 << 30,
            keeper_binary: env!("CARGO_BIN_EXE_runbook").into(),
        };
        change(&mut config);
        Self { root, exec: Some(Exec::new(config.clone())), config, shown: Vec::new() }
    }

    pub fn dir(&self) -> PathBuf {
        self.config.run_dir.clone()
    }

    pub fn exec(&mut self) -> &mut Exec {
        self.exec.as_mut().unwrap()
    }

    pub fn drop_exec(&mut self) {
        self.exec = None;
    }

    pub async fn attach(&mut self, tasks: &[&str]) -> Vec<Finding> {
        self.exec = None;
        let want = Want { stdout: true, stderr: true };
        let in_flight = tasks.iter().map(|t| InFlight { task: task(t), want, abroad: None }).collect();
        let (exec, findings) = Exec::attach(self.config.clone(), in_flight).await.unwrap();
        self.exec = Some(exec);
        assert_eq!(findings.iter().map(|(t, _)| t.to_string()).collect::<Vec<_>>(), tasks);
        findings.into_iter().map(|(_, f)| f).collect()
    }

    /// Starts a task and waits for its end.
    pub async fn run(&mut self, mut spec: TaskSpec) -> (TaskEnd, TaskOutput) {
        if let Op::Process(p) = &mut spec.op
            && p.workdir.as_os_str().is_empty()
        {
            p.workdir = self.config.run_dir.clone();
        }
        let task = spec.task.clone();
        self.exec().begin(spec);
        self.end(&task).await
    }

    pub async fn end(&mut self, want: &TaskId) -> (TaskEnd, TaskOutput) {
        loop {
            let event = tokio::time::timeout(Duration::from_secs(90), self.exec.as_mut().unwrap().next());
            match event.await.expect("no event in time") {
                ExecEvent::Output { bytes, .. } => self.shown.extend_from_slice(&bytes),
                ExecEvent::Ended { task, end, output } if task == *want => return (end, output),
                other => panic!("{other:?}"),
            }
        }
    }

    /// A file of the output folder, if it is there.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.config.run_dir.join("output").join(name)).ok()
    }

    pub fn notes(&self) -> String {
        std::fs::read_to_string(self.config.run_dir.join("keeper/notes.jsonl")).unwrap_or_default()
    }

    /// The pid that the notes name for a task.
    pub fn started_pid(&self, task: &str) -> i32 {
        let notes = self.notes();
        let (_, rest) = notes.split_once(&format!(r#"{{"started":{{"task":"{task}","pid":"#)).unwrap();
        rest[..rest.find(',').unwrap()].parse().unwrap()
    }

    /// The pid of the living keeper.
    pub fn keeper(&self) -> i32 {
        let dir = self.config.run_dir.display().to_string();
        let found: Vec<i32> = pids()
            .into_iter()
            .filter(|pid| {
                alive(*pid)
                    && std::fs::read(format!("/proc/{pid}/cmdline"))
                        .is_ok_and(|c| String::from_utf8_lossy(&c).ends_with(&format!("\0__keeper\0{dir}\0")))
            })
            .collect();
        assert_eq!(found.len(), 1, "one keeper");
        found[0]
    }

    pub fn children_of(&self, pid: i32) -> Vec<i32> {
        pids().into_iter().filter(|p| fields(*p).is_some_and(|f| f[1] == pid.to_string())).collect()
    }

    /// Living processes of this name that stand in the run's folder.
    pub fn processes(&self, name: &str) -> Vec<i32> {
        pids()
            .into_iter()
            .filter(|pid| {
                alive(*pid)
                    && std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == name)
                    && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|d| d == self.config.run_dir)
            })
            .collect()
    }

    pub fn all_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.config.run_dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        files
    }
}

impl Drop for World {
    /// Whatever stands in the run's folder was started by this test.
    fn drop(&mut self) {
        self.exec = None;
        for pid in pids() {
            if std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|d| d == self.config.run_dir) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}
