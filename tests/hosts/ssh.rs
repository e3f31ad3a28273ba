//! By ssh, all is as it is here: how a command ended, what it wrote, what it was given; and secrets stay secret.

use std::fs;

use crate::net::Net;
use crate::support::{command_line, wait_until};

#[test]
fn every_end_is_told_apart_and_one_connection_serves_all() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "ends",
        r#"
params: { evil: { type: string, default: "it's $(touch x) `id` \"q\" \\ -n é\n end" } }
defaults: { timeout: 60s }
steps:
  - { id: code255, on: h1, run: exit 255, on_failure: continue }
  - { id: code137, on: h1, run: exit 137, on_failure: continue }
  - { id: killed, on: h1, run: "kill -9 $$", on_failure: continue }
  - { id: missing, on: h1, exec: [no-such-program], on_failure: continue }
  - { id: nofolder, on: h1, workdir: /no/such/folder, run: "true", on_failure: continue }
  - id: value
    on: h1
    workdir: /usr/bin
    env: { GREETING: "{{ params.evil }}" }
    stdin: "one\ntwo"
    run: |
      [ "$GREETING" = {{ params.evil }} ] && printf '%s' {{ params.evil }}; pwd >&2; wc -c >&2
      echo "host=$(hostname) step=$RUNBOOK_STEP" >&2
      echo "first=1" >> "$RUNBOOK_OUTPUT"
    outputs: { said: result.stdout, place: "result.stderr" }
    on_failure: continue
  - { id: check, run: "[ {{ steps.value.outputs.said }} = {{ params.evil }} ] && [ {{ steps.value.outputs.first }} = 1 ]" }
  - { id: sh, on: h1, exec: [[printf, "%s", "a b"], [cat], [sh, -c, "cat; exit 4"]], expect: "result.exit == 4" }
  - { id: here, on: local, run: "echo {{ run.dir }} > /dev/null" }
"#,
    );
    net.run(&["run", "ends"]).exits(4);
    let ends = net.world.events_named("task_ended");
    let kind = |task: &str| {
        let found =
            ends.iter().find(|body| body["task"] == task).unwrap_or_else(|| panic!("{task}: {ends:?}"));
        found["end"]["kind"].to_string()
    };
    assert_eq!(kind("code255.1"), r#"{"exited":{"code":255}}"#);
    assert_eq!(kind("code137.1"), r#"{"exited":{"code":137}}"#);
    assert_eq!(kind("killed.1"), r#"{"signaled":{"signal":9}}"#);
    assert!(
        kind("missing.1").contains("h1: no-such-program: no such program there"),
        "{}",
        kind("missing.1")
    );
    assert!(kind("nofolder.1").contains("/no/such/folder cannot be used there"), "{}", kind("nofolder.1"));
    let started = net.world.events_named("task_started");
    assert!(started.iter().any(|body| body["task"] == "value.1" && body["host"] == "h1"), "{started:?}");
    assert!(started.iter().any(|body| body["task"] == "here.1" && body["host"].is_null()), "{started:?}");
    let value = ends.iter().find(|body| body["task"] == "value.1").unwrap();
    let place = value["outputs"]["place"].as_str().unwrap();
    assert!(place.starts_with("/usr/bin\n7\nhost=") && place.ends_with("step=value\n"), "{place:?}");
    // All steps went over one connection, which is gone.
    assert_eq!(net.log(1).matches("Accepted publickey").count(), 1, "{}", net.log(1));
    net.assert_clean(1);
}

#[test]
fn secrets_are_in_no_argument_and_no_environment_that_was_not_given_them() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "secret",
        r#"
secrets: { token: { env: TOKEN } }
steps:
  - id: use
    on: h1
    stdin: "{{ secrets.token }}"
    env: { GIVEN: "{{ secrets.token }}" }
    run: |
      cd; read -r got || :; [ "$got" = "$GIVEN" ] && echo "same: $got"; touch here; while [ ! -e go ]; do sleep 0.1; done
    outputs: { said: "result.stdout | length" }
"#,
    );
    let mut command = net.cmd(&["run", "secret"]);
    command.env("TOKEN", "tr0ub4dor&3-far");
    let running = net.world.start_command(command);
    let home = net.home(1);
    wait_until("the far step", || home.join("here").exists());
    let mut given = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        assert!(!command_line(pid).contains("tr0ub4dor"), "in the arguments of {}", command_line(pid));
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&environ);
        if text.contains("GIVEN=tr0ub4dor") {
            given += 1;
        } else if text.contains("tr0ub4dor") {
            // The caller's own variable: in the program and its keeper, which were given it. Not in what leads away.
            assert!(!command_line(pid).starts_with("ssh"), "in the environment of {}", command_line(pid));
        }
    }
    assert!(given > 0, "nobody has the variable");
    fs::write(home.join("go"), "").unwrap();
    let shown = running.wait().exits(0);
    assert!(shown.out.contains("same: ***") && !shown.out.contains("tr0ub4dor"), "{}", shown.out);
    // Over there it was written as it came, until the run was over.
    net.assert_clean(1);
    for (path, bytes) in net.world.files() {
        let kept = bytes.windows(9).any(|window| window == b"tr0ub4dor");
        assert!(!kept, "in {}", path.display());
    }
}

/// It takes the connection and says nothing; ssh itself would wait for a minute.
#[test]
fn a_host_that_does_not_answer_is_given_up() {
    let Some(net) = Net::new(1) else { return };
    let hosts = net.hosts().replace("ConnectTimeout: 3 }", "ConnectTimeout: 60 }, connect_timeout: 2s");
    let steps = "steps:\n  - { id: go, on: h1, timeout: 1h, run: \"cd; touch begun\" }\n";
    net.world.playbook("mute", &format!("{hosts}{steps}"));
    let all = |signal| {
        for pid in net.processes(1) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
        }
    };
    all(nix::sys::signal::Signal::SIGSTOP);
    net.run(&["run", "mute"]).exits(1).says(&["h1 cannot be reached: no answer within 2.0s"]);
    all(nix::sys::signal::Signal::SIGCONT);
    assert!(!net.home(1).join("begun").exists());
    net.run(&["resume", "last"]).exits(0);
    assert!(net.home(1).join("begun").exists());
    net.assert_clean(1);
}

#[test]
fn what_cannot_be_reached_has_surely_not_begun() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("refused", "steps:\n  - { id: go, on: h1, run: \"cd; touch begun\" }\n");
    let known = net.file("known");
    let right = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    net.run(&["run", "refused"]).exits(1).says(&["h1 cannot be reached: Host key verification failed."]);
    fs::write(&known, right).unwrap();
    net.cut(1);
    net.run(&["run", "refused"]).exits(1).says(&["h1 cannot be reached:"]);
    net.mend(1);
    assert!(!net.home(1).join("begun").exists());
    net.run(&["resume", "last"]).exits(0);
    assert!(net.home(1).join("begun").exists());
    net.assert_clean(1);
}
