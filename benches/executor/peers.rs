//! The same chain for the tools that people use today, as far as they are installed. None of them keeps a synced record.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::{Failure, work::STEPS};

struct Kind {
    program: &'static str,
    chain_name: &'static str,
    file: &'static str,
    text: fn() -> String,
    arguments: fn() -> Vec<String>,
}

const KINDS: [Kind; 4] = [
    Kind {
        program: "make",
        chain_name: "chain.make",
        file: "Makefile",
        text: makefile,
        arguments: || vec!["-s".into(), last()],
    },
    Kind {
        program: "just",
        chain_name: "chain.just",
        file: "justfile",
        text: justfile,
        arguments: || vec!["-q".into(), last()],
    },
    Kind {
        program: "task",
        chain_name: "chain.task",
        file: "Taskfile.yml",
        text: taskfile,
        arguments: || vec!["-s".into(), last()],
    },
    Kind {
        program: "ansible-playbook",
        chain_name: "chain.ansible",
        file: "ansible.yml",
        text: ansible,
        arguments: || ["-i", "localhost,", "-c", "local", "ansible.yml"].map(str::to_owned).to_vec(),
    },
];

/// A peer that is installed.
pub struct Peer {
    kind: &'static Kind,
    path: PathBuf,
}

impl Peer {
    /// Those that are there, their workloads written; and the names of those that are not.
    pub fn find(folder: &Path) -> Result<(Vec<Self>, Vec<&'static str>), Failure> {
        let (mut here, mut absent) = (Vec::new(), Vec::new());
        for kind in &KINDS {
            match on_path(kind.program) {
                Some(path) => {
                    std::fs::write(folder.join(kind.file), (kind.text)())?;
                    here.push(Self { kind, path });
                }
                None => absent.push(kind.program),
            }
        }
        Ok((here, absent))
    }

    pub fn name(&self) -> &'static str {
        self.kind.program
    }

    pub fn chain_name(&self) -> &'static str {
        self.kind.chain_name
    }

    /// The whole process, in seconds.
    pub fn run(&self, folder: &Path) -> Result<f64, Failure> {
        let mut command = Command::new(&self.path);
        command.args((self.kind.arguments)()).current_dir(folder);
        Ok(process::run(&mut command, 0)?.seconds)
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|p| p.is_file())
}

fn last() -> String {
    format!("s{}", STEPS - 1)
}

/// One entry a step, each with the name of the one before.
fn chained(first: impl Fn(usize) -> String, next: impl Fn(usize, usize) -> String) -> String {
    (0..STEPS).map(|n| if n == 0 { first(n) } else { next(n, n - 1) }).collect()
}

fn makefile() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, ".PHONY: {}", (0..STEPS).map(|n| format!("s{n} ")).collect::<String>());
    text + &chained(|n| format!("s{n}:\n\ttrue\n"), |n, before| format!("s{n}: s{before}\n\ttrue\n"))
}

fn justfile() -> String {
    chained(|n| format!("s{n}:\n  @true\n"), |n, before| format!("s{n}: s{before}\n  @true\n"))
}

/// The built-in `true` would start no process.
fn taskfile() -> String {
    let step = |n: usize, deps: &str| format!("  s{n}:\n{deps}    cmds: [env true]\n");
    let tasks = chained(|n| step(n, ""), |n, before| step(n, &format!("    deps: [s{before}]\n")));
    format!("version: '3'\ntasks:\n{tasks}")
}

fn ansible() -> String {
    let tasks: String = (0..STEPS).map(|n| format!("    - name: s{n}\n      command: \"true\"\n")).collect();
    format!("- hosts: all\n  gather_facts: false\n  tasks:\n{tasks}")
}
