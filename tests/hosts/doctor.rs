//! Whether hosts can be reached, asked before a run: by ssh over a real network, by commands that lead somewhere. Nothing
//! is begun, made or left over there, and no connection stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::net::Net;
use crate::support::{Shown, World};

/// The rows about hosts: name, verdict, what was found, what to do.
fn hosts(said: &Shown) -> Vec<[String; 4]> {
    let json: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let rows = json["checks"].as_array().unwrap().iter().filter(|row| row["kind"] == "host");
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.map(|row| ["name", "verdict", "found", "mend"].map(|key| text(row, key))).collect()
}

#[test]
fn without_a_playbook_the_hosts_that_all_share_are_asked() {
    let world = World::new();
    world.write(
        "runbook.yaml",
        "hosts: { fine: { via: [./there/enter] }, gone: { via: [./there/none] } }\ngroups: { all: [fine] }\n",
    );
    fs::create_dir(world.path("there")).unwrap();
    world.write("there/enter", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(world.path("there/enter"), fs::Permissions::from_mode(0o755)).unwrap();
    let said = world.run(&["doctor", "--json", "--timeout", "40s"]).exits(0);
    let [fine, gone] = hosts(&said).try_into().unwrap();
    assert_eq!(fine[..3], ["fine", "ok", "answers (via ./there/enter)"]);
    assert_eq!(gone[..3], ["gone", "warn", "./there/none: no such file or folder"]);
}

const STEPS: &str = r#"
groups: { all: [h1, h2] }
requires: { hosts: [h1] }
steps:
  - { id: ask, on: h1, exec: [no-such-tool-here, x], check: { exec: [cat] } }
  - { id: each, foreach: groups.all, on: "{{ item }}", run: "cd; touch begun", undo: { on: local, exec: [no-such-tool-at-home] } }
"#;

#[test]
fn each_host_is_asked_and_nothing_is_left_there() {
    let Some(net) = Net::new(2) else { return };
    net.playbook("look", STEPS);
    net.cut(2);
    let said = net.run(&["doctor", "look", "--json", "--timeout", "40s"]).exits(0);
    let [first, second] = hosts(&said).try_into().unwrap();
    assert_eq!(first[..2], ["h1", "warn"]);
    assert_eq!(
        first[2],
        "it answers, but no-such-tool-here is not in PATH there; step ask and 1 more would fail"
    );
    assert_eq!(second[..2], ["h2", "warn"]);
    assert!(second[2].contains("192.0.2.2") || second[2].contains("timed out"), "{second:?}");
    assert!(
        second[3].contains("see whether it is up") && second[3].ends_with("root@192.0.2.2 true`"),
        "{second:?}"
    );
    // What runs elsewhere is no program of this machine, and what runs here is.
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let rows = json["checks"].as_array().unwrap().iter().filter(|row| row["kind"] == "command");
    let programs: Vec<&str> = rows.map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(programs, ["no-such-tool-at-home"]);
    assert!(!net.home(1).join("begun").exists() && !net.home(1).join(".cache").exists());
    net.assert_clean(1);
    assert_eq!(net.log(1).matches("Accepted publickey").count(), 1, "{}", net.log(1));
}

#[test]
fn a_host_that_is_required_is_asked_before_the_first_step() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("needs", "requires: { hosts: [h1] }\nsteps: [{ id: go, on: h1, run: 'cd; touch begun' }]\n");
    let known = net.file("known");
    let right = fs::read_to_string(&known).unwrap();

    fs::write(&known, "").unwrap();
    let [row] =
        hosts(&net.run(&["doctor", "needs", "--json", "--timeout", "40s"]).exits(8)).try_into().unwrap();
    assert_eq!(row[..3], ["h1", "missing", "its host key is not known"]);
    net.run(&["run", "needs"]).exits(8).says(&["host h1: its host key is not known"]);
    let other =
        right.replace("192.0.1.2 ", "x ") + "192.0.1.2 " + &fs::read_to_string(net.file("id.pub")).unwrap();
    fs::write(&known, other).unwrap();
    net.run(&["run", "needs"]).exits(8).says(&["host h1: its host key is another one than before"]);
    fs::write(&known, &right).unwrap();

    let identity = fs::read_to_string(net.file("id.pub")).unwrap();
    fs::write(net.file("id.pub"), "").unwrap();
    net.run(&["run", "needs"]).exits(8).says(&["host h1: root@192.0.1.2: Permission denied (publickey"]);
    fs::write(net.file("id.pub"), identity).unwrap();

    net.cut(1);
    net.run(&["run", "needs"]).exits(8).says(&["host h1: "]);
    assert_eq!(net.world.runs().len(), 0, "nothing was started");
    net.mend(1);
    net.run(&["run", "needs"]).exits(0);
    assert!(net.home(1).join("begun").exists());
    net.assert_clean(1);
}

#[test]
fn ways_that_fail_hang_or_lead_to_little() {
    let world = World::new();
    let script = |name: &str, text: &str| {
        world.write(name, format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("closed", "echo 'the bastion is closed' >&2; exit 1");
    script("silent", "sleep 4041");
    script("tired", "echo \"$4 ready\"; exec sleep 4042");
    world.write("few/keep", "");
    std::os::unix::fs::symlink("/bin/cat", world.path("few/cat")).unwrap();
    script("bare", "PATH=$PWD/few; export PATH; exec /bin/sh \"$2\" \"$3\" \"$4\"");
    // The secret is for steps, not for what only leads somewhere.
    script("nosy", "[ -z \"${TOKEN-}\" ] || { echo 'it was given the secret' >&2; exit 1; }; exec \"$@\"");
    world.playbook(
        "ways",
        r#"
secrets: { token: { env: TOKEN } }
params: { box: { type: string, required: true } }
hosts:
  fine: { via: [env] }
  closed: { via: [./closed] }
  silent: { via: [./silent] }
  tired: { via: [./tired] }
  bare: { via: [./bare] }
  nosy: { via: [./nosy] }
  none: { via: [./no-such-way] }
  box: { container: "{{ params.box }}" }
  never: { via: [./closed] }
groups: { most: [fine, closed, silent, tired, bare, nosy, none, box] }
steps:
  - { id: each, foreach: groups.most, on: "{{ item }}", run: "touch begun", env: { T: "{{ secrets.token }}" } }
"#,
    );
    let mut command = world.cmd(&["doctor", "ways", "--json", "--timeout", "3s"]);
    command.env("TOKEN", "s3cr3t");
    let said = crate::support::shown(&mut command).exits(0);
    let rows: Vec<[String; 3]> =
        hosts(&said).into_iter().map(|[name, verdict, found, _]| [name, verdict, found]).collect();
    let find =
        |name: &str| rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name}: {rows:?}"));
    let is = |name: &str, verdict: &str, found: &str| assert_eq!(find(name)[1..], [verdict, found]);
    is("fine", "ok", "answers (via env); has bash");
    is("closed", "warn", "the bastion is closed");
    is("silent", "warn", "no answer within 3 s");
    is("tired", "warn", "it answers, and says no more within 3 s");
    assert!(find("bare")[2].starts_with("it answers, but setsid, tee,"), "{rows:?}");
    is("nosy", "ok", "answers (via ./nosy); has bash");
    is("none", "warn", "./no-such-way: no such file or folder");
    is("box", "skipped", "not looked at: it needs -p box=VALUE");
    assert_eq!(rows.len(), 8, "one that no step uses is not asked: {rows:?}");
    assert!(!world.path("begun").exists() && !said.out.contains("s3cr3t"));
    crate::support::wait_until("the ways to end", || world.processes_like("sleep 404").is_empty());
}

/// As long as a step would give it, and no longer; whatever else is asked does not wait for it.
#[test]
fn a_required_host_has_its_own_time_to_answer() {
    let world = World::new();
    let script = |name: &str, text: &str| {
        world.write(name, format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("silent", "sleep 4043");
    // More than a check of anything else may take.
    script("slow", "sleep 8; exec \"$@\"");
    let playbook = |hosts: &str| {
        format!(
            r#"
requires: {{ hosts: [{hosts}] }}
hosts:
  silent: {{ via: [./silent], connect_timeout: 2s }}
  slow: {{ via: [./slow] }}
steps:
  - {{ id: go, run: "touch begun" }}
"#
        )
    };
    world.playbook("silent", &playbook("silent"));
    crate::support::shown(&mut world.cmd(&["run", "silent"]))
        .exits(8)
        .says(&["host silent: no answer within 2 s"]);
    assert!(!world.path("begun").exists());
    world.playbook("slow", &playbook("slow"));
    crate::support::shown(&mut world.cmd(&["run", "slow"])).exits(0);
    assert!(world.path("begun").exists());
    crate::support::wait_until("the way to end", || world.processes_like("sleep 4043").is_empty());
}
