//! The workloads, written to a folder, and the program carrying them out there.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::floor;
use crate::process;
use crate::samples::Samples;
use crate::waiting;
use crate::{Failure, Options};

/// Steps of the chain and of the wide run.
pub const STEPS: usize = 1_000;
/// How many of the wide run's steps run at once.
pub const WIDTH: usize = 8;
/// Steps of the long playbook.
pub const MANY: usize = 10_000;

const SECRETS: [(&str, &str); 3] = [
    ("BENCH_TOKEN", "tok-3f9a7c51d2e84b60"),
    ("BENCH_PASSWORD", "correct horse battery staple"),
    ("BENCH_KEY", "AKIAX7Q2M9ZP4LC8"),
];
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Work {
    pub folder: PathBuf,
    program: PathBuf,
    /// What one command of the playbook `output` writes.
    pub text: PathBuf,
    pub text_mib: usize,
}

impl Work {
    pub fn prepare(folder: &Path, options: &Options) -> Result<Self, Failure> {
        let (text, text_mib) = (folder.join("text"), options.output_mib);
        write_text(&text, text_mib)?;
        let work = Self { folder: folder.to_owned(), program: options.program.clone(), text, text_mib };
        let step = |n: usize, exec: &str, more: &str| format!("  - id: s{n}\n    exec: [{exec}]\n{more}");
        let many = |count: usize, exec: &str, more: &str| -> String {
            (0..count).map(|n| step(n, exec, more)).collect()
        };
        let (shell, bare, free) = ("sh, -c, \"true\"", "\"true\"", "    needs: []\n");
        work.playbook("one", "", &step(0, shell, ""))?;
        work.playbook("chain", "", &many(STEPS, shell, ""))?;
        work.playbook("bare", "", &many(STEPS, bare, ""))?;
        work.playbook("wide", &format!("max_parallel: {WIDTH}\n"), &many(STEPS, shell, free))?;
        work.playbook("sleeps", &format!("max_parallel: {STEPS}\n"), &many(STEPS, "sleep, \"1\"", free))?;
        // It fails the first time. The second time it leaves a sign: that is the first thing a resume does.
        let last = "  - id: last\n    exec: [sh, -c, \"test -e go && : > first\"]\n";
        work.playbook("long", "", &(many(MANY - 1, shell, "") + last))?;
        work.playbook("waiting", "", waiting::STEPS)?;
        let mut secrets = String::from("secrets:\n");
        for (n, (variable, _)) in SECRETS.iter().enumerate() {
            writeln!(secrets, "  s{n}: {{ env: {variable} }}")?;
        }
        work.playbook("output", &secrets, "  - id: write\n    exec: [cat, text]\n")?;
        Ok(work)
    }

    pub fn playbook(&self, name: &str, head: &str, steps: &str) -> Result<(), Failure> {
        let text = format!("apiVersion: runbook/v1\nname: {name}\ntitle: A workload\n{head}steps:\n{steps}");
        Ok(fs::write(self.path(name), text)?)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("RUNBOOK_STATE", self.folder.join("state")).envs(SECRETS);
        command
    }

    /// The whole process, in seconds.
    pub fn run(&self, name: &str) -> Result<f64, Failure> {
        Ok(process::run(self.command().arg("run").arg(self.path(name)), 0)?.seconds)
    }

    /// The average of `count` times `--version`. In seconds.
    pub fn version(&self, count: u32) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for _ in 0..count {
            sum += process::run(self.command().arg("--version"), 0)?.seconds;
        }
        Ok(sum / f64::from(count))
    }

    /// `lint` and `plan` of the long playbook: time and memory.
    pub fn look(&self, samples: &mut Samples) -> Result<(), Failure> {
        for what in ["lint", "plan"] {
            if samples.wants(what) {
                let spent = process::run(self.command().arg(what).arg(self.path("long")), 0)?;
                samples.add(&format!("{what}.seconds"), spent.seconds);
                samples.add(&format!("{what}.mib"), spent.peak_mib);
            }
        }
        Ok(())
    }

    /// Much output: the time beside that of a bare copy. What was written is removed, for it is large.
    pub fn output(&self, samples: &mut Samples) -> Result<(), Failure> {
        let copy = self.folder.join("copy");
        if samples.wants("output") {
            samples.take("output.floor", || floor::copy(&self.text, &copy))?;
            fs::remove_file(copy)?;
            samples.take("output.runbook", || self.run("output"))?;
            fs::remove_dir_all(self.runs().join(self.newest_run("output")?))?;
        }
        Ok(())
    }

    /// Everything that needs the long run, which is made once; then the memory of much output and of many commands at once.
    pub fn long_run(&self, samples: &mut Samples, rounds: usize) -> Result<(), Failure> {
        if samples.wants("long") {
            eprintln!("the run of {MANY} steps");
            let spent = process::run(self.command().arg("run").arg(self.path("long")), 1)?;
            samples.add("long.seconds", spent.seconds);
            samples.add("long.mib", spent.peak_mib);
            let run = self.newest_run("long")?;
            let journal = fs::metadata(self.runs().join(&run).join("journal.jsonl"))?.len() as f64;
            samples.add("long.journal", journal / MANY as f64);
            fs::write(self.folder.join("go"), "")?;
            for _ in 0..rounds {
                let spent = process::run(self.command().arg("verify").arg(&run), 0)?;
                samples.add("long.verify", journal / 1e6 / spent.seconds);
                samples.add("long.resume", self.resume(&run)?);
            }
        }
        for name in ["output", "sleeps"] {
            if samples.wants(name) {
                self.memory(name, samples)?;
            }
        }
        samples.add("binary.mb", fs::metadata(&self.program)?.len() as f64 / 1e6);
        Ok(())
    }

    fn runs(&self) -> PathBuf {
        self.folder.join("state/runs")
    }

    fn newest_run(&self, playbook: &str) -> Result<String, Failure> {
        let mut names: Vec<String> = fs::read_dir(self.runs())?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with(&format!("{playbook}-")))
            .collect();
        names.sort();
        names.pop().ok_or_else(|| format!("there is no run of {playbook}").into())
    }

    /// From the start of `resume` to the first thing that it does, on a copy of the run. In seconds.
    fn resume(&self, run: &str) -> Result<f64, Failure> {
        let copy = self.folder.join("resumed");
        process::run(Command::new("cp").arg("-a").arg(self.folder.join("state")).arg(&copy), 0)?;
        let sign = self.folder.join("first");
        let began = SystemTime::now();
        process::run(self.command().env("RUNBOOK_STATE", &copy).arg("resume").arg(run), 0)?;
        // The kernel's clock for files moves in steps of a few milliseconds.
        let seconds = fs::metadata(&sign)?.modified()?.duration_since(began).unwrap_or_default();
        fs::remove_file(&sign)?;
        fs::remove_dir_all(&copy)?;
        Ok(seconds.as_secs_f64())
    }

    /// The most memory of the program's processes, not of the commands, while it carries out a playbook.
    fn memory(&self, name: &str, samples: &mut Samples) -> Result<(), Failure> {
        eprintln!("the memory of {name}");
        let mut command = self.command();
        command.arg("run").arg(self.path(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut most: f64 = 0.0;
        let status = process::until(PATIENCE, || {
            most = most.max(process::peak_mib(&process::family(child.id())));
            child.try_wait().ok().flatten()
        })?;
        if !status.success() {
            return Err(format!("{name} ended with {status}").into());
        }
        samples.add(&format!("{name}.mib"), most);
        fs::remove_dir_all(self.runs().join(self.newest_run(name)?)).map_err(Failure::from)
    }
}

/// Lines as a log has them, and now and then one of the secrets.
fn write_text(path: &Path, mib: usize) -> Result<(), Failure> {
    let mut block = String::new();
    let mut line = 0;
    while block.len() < 1 << 20 {
        line += 1;
        let secret = if line % 97 == 0 { SECRETS[line % SECRETS.len()].1 } else { "-" };
        writeln!(block, "2026-11-21T10:37:{:02}Z restored page {line} of 73412 auth={secret} ok", line % 60)?;
    }
    let mut file = fs::File::create(path)?;
    for _ in 0..mib {
        file.write_all(&block.as_bytes()[..1 << 20])?;
    }
    Ok(())
}
