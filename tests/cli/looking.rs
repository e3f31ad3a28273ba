//! Looking changes nothing: seen from the kernel, the commands that look start no process, open no socket and write no
//! file.

use std::fs;

use crate::drill::shipped;
use crate::support::{BIN, Running, World};

/// The lines of a trace that are not allowed.
pub fn offences(trace: &str) -> Vec<&str> {
    let forbidden = ["clone", "clone3", "fork", "vfork", "socket", "connect", "bind", "socketpair"];
    let writes =
        ["creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"];
    let links = ["link", "linkat", "symlink", "symlinkat", "truncate", "ftruncate", "mknod", "mknodat"];
    let changes = ["chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "utimensat"];
    let mut execs = 0;
    trace
        .lines()
        .filter(|line| {
            // With -f a line begins with the pid.
            let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
            let Some((call, rest)) = line.split_once('(') else { return false };
            if call == "execve" {
                execs += 1;
                return execs > 1;
            }
            if matches!(call, "open" | "openat") {
                let null = rest.contains("\"/dev/null\"") || rest.contains("\"/dev/tty\"");
                return !null
                    && ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|f| rest.contains(f));
            }
            [&forbidden[..], &writes[..], &links[..], &changes[..]].concat().contains(&call)
        })
        .collect()
}

/// The command's system calls; `None`, and said loudly, where they cannot be seen.
fn traced(world: &World, args: &[String]) -> Option<String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    traced_with(world, &args, &[])
}

/// The same in an environment with more in it.
pub fn traced_with(world: &World, args: &[&str], env: &[(&str, &str)]) -> Option<String> {
    let trace = world.tmp().join("trace");
    let mut command = world.command("strace");
    let what = "trace=process,network,file,desc";
    command.args(["-f", "-qq", "-e", what, "-o", trace.to_str().unwrap(), BIN]).args(args);
    command.envs(env.iter().copied());
    match command.output() {
        Ok(output) => assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}"),
        Err(error) => {
            eprintln!("SKIPPED: strace cannot be started ({error}), so nobody looked at the system calls");
            return None;
        }
    }
    let text = fs::read_to_string(&trace).unwrap();
    assert!(text.contains("execve("), "strace saw the program start");
    fs::remove_file(trace).unwrap();
    Some(text)
}

#[test]
fn what_is_done_for_real_is_seen_in_the_trace() {
    let world = World::new();
    world.playbook("real", "steps: [{ id: a, title: A, run: 'true' }]\n");
    let Some(trace) = traced(&world, &["run".to_owned(), "real".to_owned()]) else { return };
    let found = offences(&trace);
    for call in ["clone", "socket", "mkdir", "open", "execve"] {
        assert!(found.iter().any(|line| line.contains(call)), "{call} is not among {found:#?}");
    }
}

#[test]
fn no_process_no_socket_no_file() {
    let world = World::new();
    world.playbook(
        "pages",
        "secrets: { token: { command: [touch, PWNED] } }\n\
         requires: { commands: [bash] }\n\
         steps:\n  - { id: a, title: A, run: 'touch PWNED', env: { T: '{{ secrets.token }}' } }\n  \
         - { id: b, title: B, http: { get: 'http://127.0.0.1:9/' } }\n  \
         - { id: c, title: C, sql: { database: 'sqlite:x.db', query: select 1 } }\n",
    );
    world.write("tasks.db", "");
    let big = shipped("db-corruption.yaml");
    let given = ["-p", "database=tasks.db", "-p", "backups=."];
    let with = |first: &[&'static str], book: &str, params: bool| {
        let mut args: Vec<String> = first.iter().map(|s| (*s).to_owned()).collect();
        args.push(book.to_owned());
        if params {
            args.extend(given.iter().map(|s| (*s).to_owned()));
        }
        args
    };
    world.write("runbook.yaml", "channels: { team: { slack: { url: 'http://127.0.0.1:9/' } } }\n");
    let mut calls = vec![
        vec!["channels".to_owned()],
        vec!["list".to_owned()],
        vec!["lint".to_owned()],
        vec!["schema".to_owned()],
    ];
    for (book, params) in [("pages", false), (big.as_str(), true)] {
        calls.push(with(&["run", "--dry-run"], book, params));
        calls.push(with(&["plan"], book, params));
        calls.push(with(&["plan", "--json"], book, params));
        calls.push(with(&["lint"], book, false));
        calls.push(with(&["show"], book, false));
        for format in ["--format=text", "--format=md", "--format=html"] {
            calls.push(with(&["print", format], book, params));
        }
        for format in ["--format=mermaid", "--format=dot", "--format=text"] {
            calls.push(with(&["graph", format], book, params));
        }
    }
    let before = world.files();
    for args in calls {
        let Some(text) = traced(&world, &args) else { return };
        let found = offences(&text);
        assert!(found.is_empty(), "{args:?}: {found:#?}");
    }
    assert_eq!(world.files(), before);
    assert!(!world.state().exists(), "not even the state folder is made");
}

#[test]
fn looking_at_a_run_changes_nothing_of_it() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'echo a; exit 1' }]\n");
    world.run(&["run", "small"]).exits(1);
    let before = world.files();
    let looks: [&[&str]; 8] = [
        &["status"],
        &["log"],
        &["report"],
        &["verify"],
        &["list", "--runs"],
        &["status", "--json"],
        &["brief"],
        &["brief", "--json"],
    ];
    for args in looks {
        world.run(args).exits(0);
    }
    assert_eq!(world.files(), before);
}

#[test]
fn those_who_look_are_in_nobodys_way() {
    let world = World::new();
    world.playbook("small", "steps: [{ id: a, title: A, run: 'test -e go' }]\n");
    world.run(&["run", "small"]).exits(1);
    let mut watchers: Vec<_> = (0..3)
        .map(|_| {
            let mut command = world.command("sh");
            let script = "while ! test -e go; do \"$0\" status; \"$0\" list --runs; done";
            command.args(["-c", script, BIN]);
            world.start_command(command)
        })
        .collect();
    for _ in 0..15 {
        world.run(&["run", "small"]).exits(1);
        world.run(&["resume", "last"]).exits(1);
    }
    assert!(watchers.iter_mut().all(Running::is_running));
    world.write("go", "");
    for watcher in watchers {
        watcher.wait();
    }
}
