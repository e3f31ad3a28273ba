//! `runbook doctor`, with real things in its way: ports that are taken, tools that are too old, accounts that are not
//! there, records that are damaged. And that it changes nothing.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::looking::{offences, traced_with};
use crate::snapshots::agrees;
use crate::support::{Running, Shown, World, kill_hard, shown, wait_until};

/// What differs from machine to machine.
fn steady(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, word) in [
        (r"\d+(\.\d+)? [KMGTP]?i?B free, \d+ inodes", "ROOM free"),
        (r"\d+(\.\d+)? [KMGTP]?i?B (are )?free", "ROOM ${2}free"),
        (r"(?m)^(  . file system +).*\n( +→ .*\n)?", "${1}FILE SYSTEM\n"),
        (r"\d+(\.\d+)?(ms|s) ago", "JUST NOW"),
        (r"(?m)\d+(\.\d+)? TiB more$", "MUCH more"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text
}

fn tool(world: &World, name: &str, says: &str) {
    let path = world.path("bin").join(name);
    world.write(&format!("bin/{name}"), format!("#!/bin/sh\n{says}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// With the world's own tools, and those of the machine behind them.
fn doctor_command(world: &World, args: &[&str]) -> Command {
    let mut command = world.cmd(&[&["doctor"], args].concat());
    command.env("PATH", format!("{}:/usr/bin:/bin", world.path("bin").display()));
    command
}

fn doctor(world: &World, args: &[&str]) -> Shown {
    shown(&mut doctor_command(world, args))
}

/// A port on which this test listens, and one on which nobody does.
fn ports() -> (TcpListener, u16, u16) {
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    // Given back at once; below the kernel's own range nobody gets it by chance.
    let free =
        (0..).map(|n| 20_011 + n * 7).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap();
    let taken = open.local_addr().unwrap().port();
    (open, taken, free)
}

#[test]
fn a_machine_on_which_everything_is_there_is_ready() {
    let world = World::new();
    let (_open, taken, free) = ports();
    tool(&world, "copier", "exit 0");
    tool(&world, "dumper", "echo 'dumper (Tools) 16.4 (Debian 16.4-1)' >&2; exit 1");
    world.write("data/tasks.db", "x".repeat(2048));
    world.write("token", "s3cr3t\n");
    fs::set_permissions(world.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let me = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    world.playbook(
        "sound",
        &format!(
            "params: {{ db: {{ type: path, default: data/tasks.db }}, port: {{ type: integer, default: {free} }} }}\n\
             secrets: {{ token: {{ file: ./token }}, key: {{ env: KEY }}, asked: {{ command: [echo, word] }} }}\n\
             channels:\n  hook: {{ webhook: {{ url: 'http://127.0.0.1:{taken}/x?token=y' }} }}\n  \
             mail: {{ email: {{ smtp: 'smtp://127.0.0.1:{taken}', from: a@example.org, to: [b@example.org] }} }}\n  \
             phone: {{ command: [./bin/copier] }}\n\
             requires:\n  commands: [copier]\n  versions: [{{ command: dumper, at_least: 16 }}]\n  \
             files: ['{{{{ params.db }}}}', data]\n  free_space: {{ path: data/later, at_least: 1B }}\n  \
             ports: {{ free: ['{{{{ params.port }}}}'], open: [{taken}, 'localhost:{taken}'] }}\n  env: [KEY]\n\
             steps:\n  - {{ id: a, title: A, exec: [copier], env: {{ A: '{{{{ secrets.token }}}}', B: '{{{{ secrets.key }}}}', C: '{{{{ secrets.asked }}}}' }} }}\n  \
             - {{ id: b, title: B, exec: [[dumper, x], [copier]], approval: {{ prompt: 'Now?', approvers: [{me}] }} }}\n\
             drill: {{ assert: [run.outcome == 'recovered'], answers: {{ b: approve }} }}\n"
        ),
    );
    let mut command = doctor_command(&world, &["sound"]);
    let said = shown(command.env("KEY", "k3y"));
    assert!(!format!("{said:?}").contains("s3cr3t") && !format!("{said:?}").contains("k3y"));
    let text = said.exits(0).out.replace(&taken.to_string(), "TAKEN").replace(&free.to_string(), "QUIET");
    agrees(&world, "doctor-sound", &steady(&text).replace(&me, "ME"));
}

#[test]
fn everything_that_is_missing_is_told_with_what_to_do() {
    let world = World::new();
    let (_open, taken, free) = ports();
    tool(&world, "old", "echo old 1.9.3");
    tool(&world, "mute", "echo 'usage: mute [-x]'");
    world.write("plain", "no program");
    world.write("empty", "");
    world.playbook(
        "ill",
        &format!(
            "params: {{ db: {{ type: path, required: true }} }}\n\
             secrets: {{ token: {{ file: ./none }}, void: {{ file: ./empty }}, asked: {{ command: [no-such-vault, read] }}, hook: {{ env: HOOK }} }}\n\
             roles: {{ dba: [no-such-account-zq] }}\n\
             channels:\n  dead: {{ webhook: {{ url: 'http://127.0.0.1:{free}/' }} }}\n  \
             team: {{ slack: {{ url: secrets.hook }} }}\n  phone: {{ command: [./plain] }}\n\
             requires:\n  commands: [no-such-command-here, ./plain]\n  versions:\n    - {{ command: old, at_least: 1.10 }}\n    \
             - {{ command: mute, at_least: 1 }}\n    - {{ command: absent, at_least: 1 }}\n  \
             files: ['{{{{ params.db }}}}', none, some/where/deep]\n  free_space: {{ path: ., at_least: 8000TiB }}\n  \
             ports: {{ free: ['127.0.0.1:{taken}'], open: ['127.0.0.1:{free}', 'no-such-host.invalid:80'] }}\n  env: [NOT_SET, EMPTY]\n\
             steps:\n  - {{ id: a, title: A, exec: [no-such-tool, x], env: {{ A: '{{{{ secrets.token }}}}', B: '{{{{ secrets.void }}}}', C: '{{{{ secrets.asked }}}}' }} }}\n  \
             - {{ id: b, title: B, exec: [no-such-tool], approval: {{ prompt: 'Now?', approvers: [dba] }} }}\n"
        ),
    );
    let mut command = doctor_command(&world, &["ill"]);
    let text = shown(command.env("EMPTY", "")).exits(8).out;
    let text = text.replace(&taken.to_string(), "TAKEN").replace(&free.to_string(), "QUIET");
    let by = format!("(pid {})", std::process::id());
    assert!(text.contains(&by), "who holds the port is named: {text}");
    let text = Regex::new(r"\S+ \(pid \d+\)").unwrap().replace_all(&text, "WHO").into_owned();
    agrees(&world, "doctor-ill", &steady(&text));
}

#[test]
fn json_says_the_same() {
    let world = World::new();
    world.playbook(
        "needs",
        "params: { db: { type: path, required: true } }\n\
         requires: { commands: [no-such-command-here], files: ['{{ params.db }}'] }\n\
         steps: [{ id: a, title: A, exec: ['true'] }]\n",
    );
    let of = |args: &[&str], code| -> Value {
        serde_json::from_str(&doctor(&world, args).exits(code).out).unwrap()
    };
    let said = of(&["needs", "--json"], 8);
    assert_eq!((&said["version"], &said["playbook"]), (&Value::from(1), &Value::from("needs")));
    assert_eq!((&said["ready"], &said["verdict"]), (&Value::from(false), &Value::from("missing")));
    assert_eq!(said["missing_params"], serde_json::json!(["db"]));
    assert!(said["plan_hash"].is_null(), "without its parameters there is no plan to name");
    assert_eq!(
        said["checks"][0],
        serde_json::json!({
            "kind": "command", "name": "no-such-command-here", "wanted": "an executable file in PATH",
            "found": "not in PATH", "verdict": "missing", "mend": "install it, or add its folder to PATH",
        })
    );
    let kinds: Vec<&str> =
        said["checks"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"state") && kinds.last() == Some(&"drill"), "{kinds:?}");
    let given = of(&["needs", "-p", "db=.", "--json"], 8);
    let plan: Value =
        serde_json::from_str(&world.run(&["plan", "needs", "-p", "db=.", "--json"]).exits(0).out).unwrap();
    assert_eq!(given["plan_hash"], plan["hash"]);
    assert_eq!(given["missing_params"], serde_json::json!([]));
}

#[test]
fn without_a_playbook_it_looks_at_what_all_share() {
    let world = World::new();
    world.write(
        "runbook.yaml",
        "secrets: { hook: { env: HOOK } }\nchannels: { team: { slack: { url: secrets.hook } } }\n\
         roles: { dba: [no-such-account-zq], nobody-yet: [] }\n",
    );
    let said = doctor(&world, &[]).exits(0);
    agrees(&world, "doctor-shared", &steady(&said.out));
    doctor(&world, &["--strict"]).exits(8);
    doctor(&world, &["-p", "a=b"]).exits(2).says(&["runbook doctor PLAYBOOK"]);
    doctor(&world, &["--timeout", "0s"]).exits(2).says(&["in no time"]);
    doctor(&world, &["--timeout", "5"]).exits(2).says(&["has no unit"]);
    doctor(&world, &["no-such-playbook"]).exits(2);
    assert!(!world.state().exists(), "not even the state folder is made");
}

/// Every entry below, with everything about it that a change would change.
fn tree(root: &Path) -> Vec<(PathBuf, [i64; 8], Option<Vec<u8>>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let m = path.symlink_metadata().unwrap();
            let size = i64::try_from(m.size()).unwrap();
            let facts = [
                i64::from(m.mode()),
                i64::from(m.uid()),
                size,
                m.mtime(),
                m.mtime_nsec(),
                m.ctime(),
                m.ctime_nsec(),
                i64::try_from(m.ino()).unwrap(),
            ];
            if m.is_dir() {
                folders.push(path.clone());
            }
            let bytes = m.is_file().then(|| fs::read(&path).unwrap());
            found.push((path, facts, bytes));
        }
    }
    found.sort();
    found
}

/// A world with a past: runs that ended, one that was killed, one whose journal is damaged, a drill.
fn with_a_past() -> World {
    let world = World::new();
    world.playbook(
        "fine",
        "steps: [{ id: a, title: A, run: 'true' }]\ndrill: { assert: [run.outcome == 'recovered'] }\n",
    );
    world.playbook("hurt", "steps: [{ id: a, title: A, run: 'true' }]\n");
    world.playbook(
        "cut",
        "steps: [{ id: a, title: A, run: 'touch begun; while ! test -e go; do sleep 0.05; done' }]\n",
    );
    world.run(&["drill", "fine"]).exits(0);
    world.run(&["run", "hurt"]).exits(0);
    let journal = world.run_dir(&world.last_run()).join("journal.jsonl");
    let mut bytes = fs::read(&journal).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&journal, bytes).unwrap();
    interrupted(&world).wait();
    world
}

/// A run of `cut` whose runner was killed under its step; the keeper goes on.
fn interrupted(world: &World) -> Running {
    let running = world.start(&["run", "cut"]);
    wait_until("the step", || world.path("begun").exists());
    kill_hard(running.pid());
    running
}

#[test]
fn the_health_of_the_state_folder() {
    let world = with_a_past();
    let said = doctor(&world, &["hurt"]).exits(0);
    let text = Regex::new(r"\bpid \d+").unwrap().replace_all(&said.out, "pid PID").into_owned();
    let text = text.replace("/usr/bin/bash", "BASH").replace("/bin/bash", "BASH");
    agrees(&world, "doctor-state", &steady(&text));

    // The killed run holds its key: another would be refused.
    let cut = world.runs().into_iter().find(|run| run.starts_with("cut-")).unwrap();
    doctor(&world, &["cut"]).exits(8).says(&["\"cut\" is in use by run", &format!("runbook resume {cut}")]);
    world.write("go", "");
    world.run(&["resume", &cut]).exits(0);
    doctor(&world, &["cut"]).exits(0).says(&["keepers", "none left over", "lock"]);

    // Under way is no fault.
    fs::remove_file(world.path("go")).unwrap();
    fs::remove_file(world.path("begun")).unwrap();
    let running = world.start(&["run", "cut"]);
    wait_until("the step", || world.path("begun").exists());
    doctor(&world, &[]).exits(0).says(&["1 under way", "none left over"]);
    doctor(&world, &["cut"]).exits(8).says(&["it is under way: `runbook attach cut-"]);
    world.write("go", "");
    running.wait().exits(0);

    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o755)).unwrap();
    doctor(&world, &[]).exits(0).says(&["others may look into it (mode 755)", "chmod 700"]);
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o777)).unwrap();
    doctor(&world, &[]).exits(8).says(&["others can write to it (mode 777)"]);
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let locks = fs::read_dir(world.state().join("locks")).unwrap().flatten();
    for lock in locks.filter(|lock| lock.path().extension().is_some_and(|e| e == "json")) {
        fs::write(lock.path(), "nonsense").unwrap();
    }
    doctor(&world, &["fine"]).exits(0);
    doctor(&world, &["cut"]).exits(8).says(&["if no run is at work, remove it"]);
}

#[test]
fn nothing_is_changed_and_nothing_is_sent() {
    let world = with_a_past();
    let (open, taken, _) = ports();
    tool(&world, "dumper", "echo dumper 16.4");
    world.write("token", "s3cr3t\n");
    world.playbook(
        "looks",
        &format!(
            "secrets: {{ token: {{ file: ./token }}, asked: {{ command: [cat, ./token] }} }}\n\
             channels:\n  hook: {{ webhook: {{ url: 'http://127.0.0.1:{taken}/' }} }}\n  \
             mail: {{ email: {{ smtp: 'smtp://127.0.0.1:{taken}', from: a@example.org, to: [b@example.org] }} }}\n\
             requires:\n  commands: [bash]\n  versions: [{{ command: dumper, at_least: 16 }}]\n  files: [token]\n  \
             free_space: {{ path: ., at_least: 1B }}\n  ports: {{ open: ['127.0.0.1:{taken}'] }}\n\
             steps: [{{ id: a, title: A, run: touch PWNED, env: {{ A: '{{{{ secrets.token }}}}', B: '{{{{ secrets.asked }}}}' }} }}]\n\
             drill: {{ assert: [run.outcome == 'recovered'] }}\n"
        ),
    );
    open.set_nonblocking(true).unwrap();
    let path = format!("{}:/usr/bin:/bin", world.path("bin").display());
    let before = tree(world.dir().parent().unwrap());
    let calls: [&[&str]; 5] = [&[], &["looks"], &["looks", "--json"], &["fine"], &["cut", "--no-secrets"]];
    for args in calls {
        let code = if args.first() == Some(&"cut") { 8 } else { 0 };
        doctor(&world, args).exits(code);
        assert!(tree(world.dir().parent().unwrap()) == before, "{args:?} changed something");
    }
    let mut connections = 0;
    while let Ok((mut connection, _)) = open.accept() {
        connections += 1;
        connection.set_nonblocking(false).unwrap();
        let mut sent = Vec::new();
        // One that was let go before it was taken may be reset: then nothing came, either.
        let _ = connection.read_to_end(&mut sent);
        assert_eq!(sent, b"", "something was said on a connection");
    }
    assert_eq!(connections, 6, "each of three checks in each of two calls");

    let seen = traced_with(&world, &["doctor", "looks"], &[("PATH", &path)]);
    let Some(trace) = seen else { return };
    let changes: Vec<&str> = offences(&trace)
        .into_iter()
        // Asking starts processes and opens connections; the resolver binds a socket of the kernel's, to see interfaces.
        .filter(|line| {
            let asks = ["clone", "fork(", "execve(", "socket(", "connect(", "socketpair("];
            let resolves = line.contains("bind(") && line.contains("AF_NETLINK");
            !(resolves || asks.iter().any(|call| line.contains(call)))
        })
        .collect();
    assert!(changes.is_empty(), "{changes:#?}");
}

#[test]
fn a_secrets_command_is_run_only_if_it_may_be() {
    let world = World::new();
    tool(&world, "vault", "echo asked >> ledger; echo s3cr3t");
    world.playbook(
        "secretive",
        "secrets: { token: { command: [vault, read] }, gone: { command: [no-such-vault] } }\n\
         steps: [{ id: a, title: A, exec: ['true'], env: { A: '{{ secrets.token }}', B: '{{ secrets.gone }}' } }]\n",
    );
    let said = doctor(&world, &["secretive", "--no-secrets"]).exits(8);
    let said = said.says(&["not asked: command vault", "no-such-vault: not in PATH"]);
    assert!(world.ledger().is_empty(), "{said:?}");
    let said = doctor(&world, &["secretive"]).exits(8);
    assert_eq!(world.ledger(), ["asked"]);
    assert!(!said.out.contains("s3cr3t") && !said.err.contains("s3cr3t"));
    tool(&world, "no-such-vault", "sleep 3600");
    doctor(&world, &["secretive", "--timeout", "300ms"]).exits(8).says(&["did not answer"]);
}

#[test]
fn the_age_of_the_last_green_drill() {
    let world = World::new();
    let write = |title: &str, script: &str, roles: &str| {
        world.playbook(
            "proved",
            &format!(
                "description: {title}\n{roles}steps: [{{ id: a, title: A, run: '{script}' }}, {{ id: b, title: B, run: 'true' }}]\n\
                 drill: {{ assert: [run.outcome == 'recovered'] }}\n"
            ),
        );
    };
    let drill = || {
        let said = doctor(&world, &["proved", "--json"]).exits(0);
        let said: Value = serde_json::from_str(&said.out).unwrap();
        let last = said["checks"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["kind"], "drill");
        let text = steady(last["found"].as_str().unwrap());
        (text, last["verdict"].as_str().unwrap().to_owned())
    };
    let is = |found: &str, verdict: &str| (found.to_owned(), verdict.to_owned());
    write("one", "true", "");
    assert_eq!(drill(), is("never drilled", "warn"));
    world.run(&["drill", "proved", "--fault", "step=b:fail"]).exits(1);
    assert_eq!(drill(), is("never drilled", "warn"), "one in which the executor was broken proves nothing");
    world.run(&["drill", "proved"]).exits(0);
    assert_eq!(drill(), is("JUST NOW, as it stands now", "ok"));
    write("another description", "true", "roles: { dba: [root] }\n");
    assert_eq!(drill(), is("JUST NOW, only playbook, roles changed since", "ok"));
    write("one", "test -e fixed", "");
    assert_eq!(drill(), is("JUST NOW, but an older version: step a changed", "warn"));
    world.run(&["drill", "proved"]).exits(1);
    assert_eq!(
        drill(),
        is("JUST NOW, but an older version: step a changed; the newest failed JUST NOW", "warn")
    );
    write("one", "true", "");
    assert_eq!(drill(), is("JUST NOW, as it stands now; the newest failed JUST NOW", "warn"));
    for run in world.runs() {
        fs::remove_dir_all(world.run_dir(&run)).unwrap();
    }
    let gone = "JUST NOW, but an older version: what was drilled is gone with its run's folder; the newest failed JUST NOW";
    assert_eq!(drill(), is(gone, "warn"));
}

#[test]
fn each_of_several_drills_has_its_age() {
    let world = World::new();
    world.playbook(
        "several",
        "steps: [{ id: a, title: A, run: 'true' }]\n\
         drill: { assert: [run.outcome == 'recovered'], variants: { one: { title: One }, two: { title: Two } } }\n",
    );
    // The name of one playbook is the beginning of another's: their drills are not taken for each other.
    world.playbook("sever", "steps: [{ id: a, title: A, run: 'true' }]\ndrill: { assert: ['true'] }\n");
    world.run(&["drill", "several", "--variant", "one"]).exits(0);
    let said = steady(&doctor(&world, &["several"]).exits(0).out);
    let lines: Vec<&str> = said.lines().skip_while(|line| *line != "drill").take(4).collect();
    let wanted = [
        "drill",
        "  ✔ last green, one  JUST NOW, as it stands now",
        "  ! last green, two  never drilled",
        "                     → runbook drill several --variant two",
    ];
    assert_eq!(lines, wanted, "{said}");
    doctor(&world, &["sever"]).exits(0).says(&["never drilled"]);
}

/// An empty list of approvers means anybody. A role without members is not an empty list.
#[test]
fn a_role_that_nobody_holds_is_nobody() {
    let world = World::new();
    let steps = "steps: [{ id: a, title: A, run: echo a >> ledger, approval: { prompt: 'Now?', approvers: [dba] } }]\n";
    world.write("answers.yaml", "a: approve\n");
    world.playbook("own", &format!("roles: {{ dba: [] }}\n{steps}"));
    world.run(&["run", "own", "--answers", "answers.yaml"]).exits(2).says(&["error[empty-role]"]);
    world.write("runbook.yaml", "roles: { dba: [] }\n");
    world.playbook("shared", steps);
    doctor(&world, &["shared"]).exits(8).says(&["dba to agree: dba has no account here"]);
    let said = world.run(&["run", "shared", "--answers", "answers.yaml"]);
    assert!(said.code != 0 && world.ledger().is_empty(), "somebody was taken for nobody: {said:?}");
}

#[test]
fn what_a_playbook_requires_is_checked_before_the_first_step() {
    let world = World::new();
    let (open, taken, free) = ports();
    tool(&world, "old", "echo old 1.9.3");
    let requires = |at_least: &str| {
        format!(
            "requires:\n  versions: [{{ command: ./bin/old, at_least: {at_least} }}]\n  \
             ports: {{ free: [{free}, '127.0.0.1:{taken}'], open: ['127.0.0.1:{free}'] }}\n  env: [MY_VARIABLE]\n"
        )
    };
    let steps = "workdir: ..\nsteps: [{ id: a, title: A, run: echo a >> ledger }]\n";
    world.playbook("needs", &format!("{}{}", requires("1.10"), &steps["workdir: ..\n".len()..]));
    let refused = world.run(&["run", "needs"]).exits(8);
    refused.says(&[
        "requirements are not met",
        "the command ./bin/old >= 1.10: 1.9.3",
        "the variable MY_VARIABLE is not set",
        &format!("port 127.0.0.1:{taken} free: "),
        &format!("port 127.0.0.1:{free} open: refused: nobody listens there"),
    ]);
    assert!(world.ledger().is_empty() && world.runs().is_empty());
    drop(open);
    let serves = TcpListener::bind(("127.0.0.1", free)).unwrap();
    world.playbook(
        "needs",
        &format!(
            "requires:\n  versions: [{{ command: ./bin/old, at_least: '1.9' }}]\n  \
             ports: {{ free: [{taken}], open: [{free}] }}\n  env: [MY_VARIABLE]\n\
             steps: [{{ id: a, title: A, run: echo a >> ledger }}]\n"
        ),
    );
    shown(world.cmd(&["run", "needs"]).env("MY_VARIABLE", "1")).exits(0);
    assert_eq!(world.ledger(), ["a"]);
    drop(serves);
}

/// What its own steps have started may hold the port that had to be free for them.
#[test]
fn a_run_that_goes_on_with_an_edit_does_not_stumble_over_its_own_port() {
    let world = World::new();
    let (open, taken, _) = ports();
    drop(open);
    let write = |second: &str| {
        world.playbook(
            "serves",
            &format!(
                "requires: {{ ports: {{ free: [{taken}] }} }}\n\
                 steps: [{{ id: a, title: A, run: echo a >> ledger }}, {{ id: b, title: B, run: '{second}' }}]\n"
            ),
        );
    };
    write("false");
    world.run(&["run", "serves"]).exits(1);
    write("echo b >> ledger");
    let _serves = TcpListener::bind(("127.0.0.1", taken)).unwrap();
    world.run(&["resume", "last", "--replan", "--yes"]).exits(0);
    assert_eq!(world.ledger(), ["a", "b"]);
    world.run(&["run", "serves"]).exits(8).says(&["listens there"]);
}

#[test]
fn mistakes_in_what_is_required_are_told_with_their_place() {
    let world = World::new();
    world.playbook(
        "wrong",
        "params: { port: { type: string, default: x } }\n\
         requires:\n  versions: [{ command: psql, at_least: v15 }]\n  ports: { free: [0, 'a b:80'], open: ['{{ params.port }}'] }\n  \
         env: ['A=B']\nsteps: [{ id: a, title: A, run: 'true' }]\n",
    );
    let said = world.run(&["lint", "wrong"]).exits(2);
    said.says(&["error[bad-version]", "error[bad-address]", "error[bad-env-name]"]);
    world.playbook(
        "late",
        "params: { port: { type: string, default: x } }\nrequires: { ports: { open: ['{{ params.port }}'] } }\n\
         steps: [{ id: a, title: A, run: 'true' }]\n",
    );
    world.run(&["plan", "late"]).exits(2).says(&["requires.ports.open", "is not a port"]);
    world.run(&["plan", "late", "-p", "port=db:5432"]).exits(0).says(&["port db:5432 open"]);
}

/// As root, on a file system of its own that is full.
#[test]
fn a_full_disk_is_missing_room() {
    let world = World::new();
    if !nix::unistd::getuid().is_root() {
        eprintln!("SKIPPED: only root can mount a file system to fill");
        return;
    }
    world.playbook("small", "steps: [{ id: a, title: A, run: 'true' }]\n");
    // A namespace of its own: the mount goes with the last process in it.
    let script = "mkdir -p \"$RUNBOOK_STATE\" && mount -t tmpfs -o size=1m,mode=700 none \"$RUNBOOK_STATE\" && exec \"$@\"";
    let mut command = world.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", crate::support::BIN]);
    let said = shown(command.args(["doctor", "small"]));
    if said.err.contains("unshare") || said.err.contains("mount:") {
        eprintln!("SKIPPED: nothing can be mounted here ({})", said.err.trim());
        return;
    }
    said.exits(8).says(&["tmpfs: all runs are gone after a restart", "1.0 MiB free", "make room"]);
}
