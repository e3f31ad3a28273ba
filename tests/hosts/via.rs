//! By a command that leads somewhere, which needs nothing that is not here: ends, big outputs, cancels, and ways that break.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;

use crate::support::{World, wait_until};

fn script(world: &World, name: &str, text: &str) {
    world.write(name, text);
    fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn much_output_comes_whole_and_apart() {
    let world = World::new();
    world.playbook(
        "much",
        r#"
hosts: { there: { via: [env, THERE=1] } }
steps:
  - id: much
    on: there
    run: |
      [ "$THERE" = 1 ]; head -c 20000000 /dev/zero | tr '\0' 'o'; head -c 3000000 /dev/zero | tr '\0' 'e' >&2
  - { id: bytes, on: there, run: "printf '\\000\\036runbook-\\377'; printf 'no line end'" }
"#,
    );
    world.run(&["run", "much"]).exits(0);
    let ends = world.events_named("task_ended");
    assert_eq!(
        (&ends[0]["end"]["stdout_bytes"], &ends[0]["end"]["stderr_bytes"]),
        (&20_000_000.into(), &3_000_000.into())
    );
    let output = world.run_dir(&world.last_run()).join("output");
    assert!(fs::read(output.join("much.1.out")).unwrap().iter().all(|b| *b == b'o'));
    assert!(fs::read(output.join("much.1.err")).unwrap().iter().all(|b| *b == b'e'));
    assert_eq!(fs::read(output.join("bytes.1.out")).unwrap(), b"\0\x1erunbook-\xffno line end");
    world.assert_nothing_runs();
}

#[test]
fn a_way_that_breaks_before_it_was_heard_begins_nothing_any_more() {
    let world = World::new();
    // The first time it answers, takes what it is sent, and is gone; the bytes arrive much later.
    script(
        &world,
        "lossy",
        "#!/bin/sh\nif mkdir first 2>/dev/null; then echo \"$4 ready\"; echo \"$4 ready\" >&2; cat > kept; exit 255; fi\nexec \"$@\"\n",
    );
    world.playbook(
        "lossy",
        "hosts: { there: { via: [./lossy] } }\nsteps:\n  - { id: go, on: there, run: touch begun }\n",
    );
    world.run(&["run", "lossy"]).exits(1).says(&["it never began on there", "it will not begin any more"]);
    // And so it is: what was on its way finds its place taken.
    let line = fs::read_to_string(world.path("kept")).unwrap();
    let token = line.lines().last().unwrap().to_owned();
    let mut late = world.command("sh");
    late.arg("-c").arg(&line).arg(&token);
    crate::support::shown(&mut late).exits(0);
    assert!(!world.path("begun").exists());
    world.run(&["resume", "last"]).exits(0);
    assert!(world.path("begun").exists());
}

#[test]
fn a_way_that_never_answers_has_started_nothing() {
    let world = World::new();
    script(&world, "silent", "#!/bin/sh\necho 'the bastion is closed' >&2; exit 1\n");
    world.playbook(
        "silent",
        "hosts: { there: { via: [./silent] } }\nsteps:\n  - { id: go, on: there, run: touch begun }\n",
    );
    world.run(&["run", "silent"]).exits(1).says(&["there cannot be reached: the bastion is closed"]);
    assert!(!world.path("begun").exists());
}

#[test]
fn a_way_that_hangs_is_given_up_and_has_started_nothing() {
    let world = World::new();
    script(&world, "way", "#!/bin/sh\n[ ! -e hang ] || sleep 4051\nexec \"$@\"\n");
    world.playbook(
        "hangs",
        r#"
hosts: { there: { via: [./way], connect_timeout: 2s } }
steps:
  - { id: go, on: there, timeout: 1h, destructive: true, run: "echo x >> begun; while [ ! -e end ]; do sleep 0.1; done" }
"#,
    );
    world.write("hang", "");
    world.run(&["run", "hangs"]).exits(1).says(&["there cannot be reached: no answer within 2.0s"]);
    assert!(!world.path("begun").exists());
    wait_until("the way to end", || world.processes_like("sleep 4051").is_empty());

    // It begins, and everything here dies. When it cannot be asked what became of it, that is not a no.
    fs::remove_file(world.path("hang")).unwrap();
    let running = world.start(&["resume", "last"]);
    wait_until("the command", || world.path("begun").exists());
    let runner = world.processes_like("resume last");
    let keeper = world.processes_like("__keeper");
    runner.into_iter().chain(keeper).for_each(crate::support::kill_hard);
    let _ = running.wait();
    world.write("hang", "");
    world.run(&["resume", "last"]).exits(5).says(&["cannot be asked", "no answer within 2.0s"]);
    fs::remove_file(world.path("hang")).unwrap();
    world.write("end", "");
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.read("begun"), "x\n");
}

#[test]
fn a_person_ends_it_and_a_grandchild_holds_nothing_up() {
    let world = World::new();
    world.playbook(
        "ended",
        r#"
hosts: { there: { via: [env] } }
steps:
  - { id: leaves, on: there, run: "setsid -f sleep 30; echo left" }
  - { id: hangs, on: there, grace: 1s, run: "touch here; trap '' TERM; sleep 4021; sleep 4022" }
"#,
    );
    let running = world.start(&["run", "ended"]);
    wait_until("the second step", || world.path("here").exists());
    running.signal(Signal::SIGINT);
    running.wait().exits(130);
    let ends = world.events_named("task_ended");
    assert_eq!(ends[0]["end"]["leaky"], true, "{ends:?}");
    assert_eq!(ends[1]["end"]["kind"], "cancelled", "{ends:?}");
    wait_until("the tree's end", || world.processes_like("sleep 402").is_empty());
}

/// The numbers of steps move when a list is opened; what `on` reads moves with them.
#[test]
fn a_host_that_a_step_has_chosen_is_its_own_behind_a_list() {
    let world = World::new();
    world.playbook(
        "chosen",
        r#"
hosts: { one: { via: [env, ME=one] }, two: { via: [env, ME=two] } }
steps:
  - { id: many, foreach: [a, b, c], run: "echo one", outputs: { host: result.stdout | trim } }
  - { id: pick, run: echo two, outputs: { host: result.stdout | trim } }
  - { id: each, foreach: [a, b], on: "{{ steps.pick.outputs.host }}", run: "[ $ME = two ]" }
  - id: go
    on: "{{ steps.pick.outputs.host }}"
    run: "[ $ME = two ]"
"#,
    );
    world.run(&["run", "chosen"]).exits(0);
    let hosts: Vec<_> = world
        .events_named("task_started")
        .into_iter()
        .filter_map(|body| body["host"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(hosts, ["two", "two", "two"]);
}

#[test]
fn a_plan_names_the_hosts_of_the_items() {
    let world = World::new();
    let hosts: String = (1..=9).map(|n| format!("h{n}: {{ via: [env, N={n}] }}, ")).collect();
    let names: Vec<String> = (1..=9).map(|n| format!("h{n}")).collect();
    world.playbook(
        "items",
        &format!(
            r#"
hosts: {{ {hosts} }}
groups: {{ few: [h1, h2], all: [{}] }}
steps:
  - {{ id: few, foreach: groups.few, on: "{{{{ item }}}}", run: "true", undo: {{ on: local, run: "true" }} }}
  - {{ id: all, foreach: groups.all, on: "{{{{ item }}}}", run: "true" }}
  - {{ id: some, foreach: [h1, local], on: "{{{{ item }}}}", run: "true" }}
  - {{ id: same, foreach: [1, 2], on: "{{{{ groups.few | first }}}}", run: "true" }}
  - {{ id: pick, run: "echo h1", outputs: {{ h: result.stdout | trim }} }}
  - {{ id: late, on: "{{{{ steps.pick.outputs.h }}}}", run: "true" }}
"#,
            names.join(", ")
        ),
    );
    let plan = world.run(&["plan", "items"]).exits(0).out;
    let on: Vec<&str> = plan.lines().filter_map(|line| line.trim().strip_prefix("on ")).collect();
    let on: Vec<&str> = on.into_iter().filter(|line| !line.starts_with("failure")).collect();
    assert_eq!(
        on,
        [
            "h1, h2",
            "h1, h2, h3, h4, h5, h6, 3 more",
            "h1, this machine",
            "h1 (via env N=1)",
            "{{ steps.pick.outputs.h }}"
        ]
    );
    assert!(world.run(&["print", "items"]).exits(0).out.contains("on h1, h2\n"));
}

#[test]
fn an_unknown_host_that_is_named_late_fails_its_step() {
    let world = World::new();
    world.playbook(
        "late",
        r#"
hosts: { web1: { via: [env] }, web2: { via: [env] } }
groups: { web-all: [web1, web2] }
steps:
  - { id: pick, run: echo wbe1, outputs: { host: result.stdout | trim, first: "groups.web-all | first" } }
  - { id: fine, on: "{{ steps.pick.outputs.first }}", run: "true" }
  - { id: go, on: "{{ steps.pick.outputs.host }}", run: "true" }
"#,
    );
    world.run(&["run", "late"]).exits(1).says(&["there is no host `wbe1`; did you mean `web1`?"]);
    assert_eq!(world.outcome("fine"), "succeeded");
}
