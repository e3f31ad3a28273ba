//! The same chain for the tools that people use today, as far as they are installed (`scripts/peers`). Of all of them only
//! Dagu keeps a record of a step, which it does not sync.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::samples::Samples;
use crate::{Failure, work::STEPS};

/// A peer whose chains have taken so many seconds in sum has been measured often enough.
const ENOUGH: f64 = 20.0;

struct Kind {
    /// What it is called, and what is looked for.
    name: &'static str,
    program: &'static str,
    file: &'static str,
    text: fn(usize) -> String,
    arguments: fn(usize) -> Vec<String>,
}

/// The modules of ansible-core run in the Python that it runs in: looking for one takes time, and may find a wrapper.
pub const OWN_PYTHON: &str = "ansible_python_interpreter={{ ansible_playbook_python }}";

const KINDS: [Kind; 7] = [
    Kind {
        name: "make",
        program: "make",
        file: "Makefile",
        text: makefile,
        arguments: |count| vec!["-s".into(), last(count)],
    },
    Kind {
        name: "just",
        program: "just",
        file: "justfile",
        text: justfile,
        arguments: |count| vec!["-q".into(), last(count)],
    },
    Kind {
        name: "go-task",
        program: "task",
        file: "Taskfile.yml",
        text: taskfile,
        arguments: |count| vec!["-s".into(), last(count)],
    },
    Kind {
        name: "chaostoolkit",
        program: "chaos",
        file: "experiment.json",
        text: experiment,
        arguments: |_| words(&["--no-version-check", "run", "experiment.json"]),
    },
    Kind {
        name: "pyinfra",
        program: "pyinfra",
        file: "operations.py",
        text: operations,
        arguments: |_| words(&["-y", "@local", "operations.py"]),
    },
    Kind {
        name: "ansible-core",
        program: "ansible-playbook",
        file: "playbook.yml",
        text: playbook,
        arguments: |_| words(&["-i", "localhost,", "-c", "local", "-e", OWN_PYTHON, "playbook.yml"]),
    },
    Kind {
        name: "Dagu",
        program: "dagu",
        file: "chain.yaml",
        text: dag,
        arguments: |_| words(&["start", "-q", "chain.yaml"]),
    },
];

pub struct Peers {
    here: Vec<(&'static Kind, PathBuf)>,
    /// What became of those that give no figures.
    lost: BTreeMap<&'static str, String>,
    folder: PathBuf,
}

impl Peers {
    /// Looks for all of them, and writes the workloads of those that are there.
    pub fn find(folder: &Path) -> Result<Self, Failure> {
        let mut peers = Self { here: Vec::new(), lost: BTreeMap::new(), folder: folder.join("peers") };
        for kind in &KINDS {
            let Some(path) = find(kind.program) else {
                peers.lost.insert(kind.name, "not installed".into());
                continue;
            };
            peers.here.push((kind, path));
            for count in [1, STEPS] {
                let own = peers.own(kind, count);
                std::fs::create_dir_all(&own)?;
                std::fs::write(own.join(kind.file), (kind.text)(count))?;
            }
        }
        Ok(peers)
    }

    fn own(&self, kind: &Kind, count: usize) -> PathBuf {
        self.folder.join(format!("{}-{count}", kind.program))
    }

    /// Each of them once: a step, and a chain. One that fails is not asked again, and the others are.
    pub fn round(&mut self, samples: &mut Samples) {
        for (kind, path) in &self.here {
            for (case, count) in [("one", 1), ("chain", STEPS)] {
                let case = format!("{case}.{}", kind.name);
                let enough = samples.sum(&format!("chain.{}", kind.name)) > ENOUGH;
                if !samples.wants(&case) || enough || self.lost.contains_key(kind.name) {
                    continue;
                }
                let own = self.own(kind, count);
                let mut command = Command::new(path);
                command.args((kind.arguments)(count)).current_dir(&own);
                // What they keep of a run and of a user goes where all of it is removed.
                command.env("HOME", &self.folder).env("DAGU_HOME", self.folder.join("dagu"));
                command.env("ANSIBLE_PIPELINING", "true");
                match process::run(&mut command, 0) {
                    Ok(spent) => samples.add(&case, spent.seconds),
                    Err(error) => {
                        eprintln!("{case}: {error}");
                        self.lost.insert(kind.name, "failed".into());
                    }
                }
            }
        }
    }

    /// Their lines of the table, in the order of their chains; `row` writes one, none if there are no figures.
    pub fn lines(&self, samples: &Samples, row: impl Fn(&str) -> Option<String>) -> String {
        let mut here: Vec<&str> = self.here.iter().map(|(kind, _)| kind.name).collect();
        let seconds = |name: &str| samples.median(&format!("chain.{name}")).unwrap_or(f64::MAX);
        here.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        let measured = here.into_iter().filter(|name| !self.lost.contains_key(name)).filter_map(row);
        let lost = self.lost.iter().map(|(name, why)| format!("| {name} | {why} | | |\n"));
        measured.chain(lost).collect()
    }
}

/// In the folders of `RUNBOOK_PEERS`, then in those of `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let folders = ["RUNBOOK_PEERS", "PATH"].into_iter().filter_map(std::env::var_os);
    let mut folders = folders.flat_map(|all| std::env::split_paths(&all).collect::<Vec<_>>());
    let found = folders.find_map(|dir| Some(dir.join(program)).filter(|path| path.is_file()))?;
    // They are started in another folder.
    std::path::absolute(found).ok()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn last(count: usize) -> String {
    format!("s{}", count - 1)
}

/// One entry a step, each with the name of the one before.
fn chained(count: usize, first: impl Fn(usize) -> String, next: impl Fn(usize, usize) -> String) -> String {
    (0..count).map(|n| if n == 0 { first(n) } else { next(n, n - 1) }).collect()
}

fn makefile(count: usize) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, ".PHONY: {}", (0..count).map(|n| format!("s{n} ")).collect::<String>());
    text + &chained(count, |n| format!("s{n}:\n\ttrue\n"), |n, before| format!("s{n}: s{before}\n\ttrue\n"))
}

fn justfile(count: usize) -> String {
    chained(count, |n| format!("s{n}:\n  @true\n"), |n, before| format!("s{n}: s{before}\n  @true\n"))
}

/// The built-in `true` would start no process.
fn taskfile(count: usize) -> String {
    let step = |n: usize, deps: &str| format!("  s{n}:\n{deps}    cmds: [env true]\n");
    let tasks = chained(count, |n| step(n, ""), |n, before| step(n, &format!("    deps: [s{before}]\n")));
    format!("version: '3'\ntasks:\n{tasks}")
}

fn experiment(count: usize) -> String {
    let provider = serde_json::json!({ "type": "process", "path": "true" });
    let action =
        |n: usize| serde_json::json!({ "type": "action", "name": format!("s{n}"), "provider": provider });
    let method: Vec<_> = (0..count).map(action).collect();
    serde_json::json!({ "title": "A chain", "description": "A workload", "method": method }).to_string()
}

fn operations(count: usize) -> String {
    format!(
        "from pyinfra.operations import server\n\nfor n in range({count}):\n    \
         server.shell(name=f\"s{{n}}\", commands=[\"true\"])\n"
    )
}

fn playbook(count: usize) -> String {
    let tasks: String = (0..count).map(|n| format!("    - name: s{n}\n      command: \"true\"\n")).collect();
    format!("- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}")
}

fn dag(count: usize) -> String {
    let steps: String = (0..count).map(|n| format!("  - name: s{n}\n    command: \"true\"\n")).collect();
    format!("type: chain\nsteps:\n{steps}")
}
