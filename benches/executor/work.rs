//! The workloads, written to a folder, and the program carrying them out there.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::Failure;
use crate::peers::Peer;
use crate::process;
use crate::samples::Samples;

/// Steps of the chain and of the wide run.
pub const STEPS: usize = 1_000;
/// How many of the wide run's steps run at once.
pub const WIDTH: usize = 8;
/// Steps of the long playbook.
pub const MANY: usize = 10_000;

const PROGRAM: &str = env!("CARGO_BIN_EXE_runbook");
const SECRETS: [(&str, &str); 3] = [
    ("BENCH_TOKEN", "tok-3f9a7c51d2e84b60"),
    ("BENCH_PASSWORD", "correct horse battery staple"),
    ("BENCH_KEY", "AKIAX7Q2M9ZP4LC8"),
];
/// How long the program's waiting is watched.
const WATCHED: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Work {
    pub folder: PathBuf,
    pub peers: Vec<Peer>,
    pub absent: Vec<&'static str>,
    /// What one command of the playbook `output` writes.
    pub text: PathBuf,
    pub text_mib: usize,
}

impl Work {
    pub fn prepare(folder: &Path, text_mib: usize) -> Result<Self, Failure> {
        let (peers, absent) = Peer::find(folder)?;
        let text = folder.join("text");
        write_text(&text, text_mib)?;
        let work = Self { folder: folder.to_owned(), peers, absent, text, text_mib };
        let step = |n: usize| format!("  - id: s{n}\n    exec: [\"true\"]\n");
        let free = |n: usize| format!("{}    needs: []\n", step(n));
        work.playbook("one", "", &step(0))?;
        work.playbook("chain", "", &(0..STEPS).map(step).collect::<String>())?;
        let limit = format!("max_parallel: {WIDTH}\n");
        work.playbook("wide", &limit, &(0..STEPS).map(free).collect::<String>())?;
        let mut long: String = (0..MANY - 1).map(step).collect();
        // It fails the first time. The second time it leaves a sign: that is the first thing a resume does.
        writeln!(long, "  - id: last\n    exec: [sh, -c, \"test -e go && : > first\"]")?;
        work.playbook("long", "", &long)?;
        work.playbook(
            "waiting",
            "",
            "  - id: a\n    exec: [sleep, \"60\"]\n  - id: b\n    wait: 60s\n    needs: []\n",
        )?;
        let mut secrets = String::from("secrets:\n");
        for (n, (variable, _)) in SECRETS.iter().enumerate() {
            writeln!(secrets, "  s{n}: {{ env: {variable} }}")?;
        }
        work.playbook("output", &secrets, "  - id: write\n    exec: [cat, text]\n")?;
        Ok(work)
    }

    fn playbook(&self, name: &str, head: &str, steps: &str) -> Result<(), Failure> {
        let text = format!("apiVersion: runbook/v1\nname: {name}\ntitle: A workload\n{head}steps:\n{steps}");
        Ok(fs::write(self.path(name), text)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
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

    /// `plan` or `lint` of the long playbook: time and memory.
    pub fn look(&self, what: &str, samples: &mut Samples) -> Result<(), Failure> {
        if samples.wants(what) {
            let spent = process::run(self.command().arg(what).arg(self.path("long")), 0)?;
            samples.add(&format!("{what}.seconds"), spent.seconds);
            samples.add(&format!("{what}.mib"), spent.peak_mib);
        }
        Ok(())
    }

    /// Everything that needs the long run, which is made once; then what waits, and the memory of much output.
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
        if samples.wants("waiting") {
            self.waiting(samples)?;
        }
        if samples.wants("output") {
            self.memory_of_output(samples)?;
        }
        samples.add("binary.mib", fs::metadata(PROGRAM)?.len() as f64 / (1 << 20) as f64);
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

    /// Memory, threads and wake-ups while a command and a `wait` are in hand.
    fn waiting(&self, samples: &mut Samples) -> Result<(), Failure> {
        eprintln!("waiting for {} s", WATCHED.as_secs());
        let mut command = self.command();
        command.arg("run").arg(self.path("waiting")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let family = process::until(PATIENCE, || Some(process::family(child.id())).filter(|f| f.len() > 1));
        let watched = family.map(|family| {
            // The start is over when the command runs.
            std::thread::sleep(Duration::from_secs(1));
            let before = process::switches(&family);
            std::thread::sleep(WATCHED);
            let woken = process::switches(&family) - before;
            samples.add("waiting.wakeups", woken as f64 / WATCHED.as_secs_f64());
            samples.add("waiting.mib", process::peak_mib(&family));
            samples.add("waiting.threads", family.iter().map(|p| process::threads(*p)).sum::<u64>() as f64);
        });
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(i32::try_from(child.id())?),
            nix::sys::signal::Signal::SIGINT,
        )?;
        child.wait()?;
        watched
    }

    /// The most memory of the program's processes while a command writes much.
    fn memory_of_output(&self, samples: &mut Samples) -> Result<(), Failure> {
        let mut command = self.command();
        command.arg("run").arg(self.path("output")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn()?;
        let mut most: f64 = 0.0;
        process::until(PATIENCE, || {
            most = most.max(process::peak_mib(&process::family(child.id())));
            child.try_wait().ok().flatten()
        })?;
        samples.add("output.mib", most);
        Ok(())
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
