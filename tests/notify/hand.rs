//! Somebody takes notice, and those who keep the run as an alert are told: once, whoever drives the run and whoever dies.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cli::Desk;
use crate::ends::{signal, start, wait_until};
use crate::support::{Request, Server, say};

const KEY: (&str, &str) = ("KEY", "key-of-the-service");

/// A step that waits for the file `go`, and a pager that is called at once.
fn desk(server: &Server) -> Desk {
    let config = format!(
        "secrets: {{ key: {{ env: KEY }} }}\nchannels:\n  \
         pager: {{ pagerduty: {{ routing_key: secrets.key, url: '{}' }}, retry_for: 1s }}\n  \
         team: {{ command: [sh, -c, 'cat >> team'] }}\n\
         escalation:\n  - {{ level: 1, after: 0s, notify: [pager, team] }}\n  \
         - {{ level: 2, after: 1h, notify: pager }}\n",
        server.url("/enqueue")
    );
    let desk = Desk::new(&config, "");
    desk.write(
        "playbooks/long.yaml",
        "apiVersion: runbook/v1\nname: long\ntitle: Long\nsteps:\n  \
         - id: wait\n    title: Wait\n    idempotent: true\n    run: until [ -e go ]; do sleep 0.05; done\n",
    );
    desk
}

fn actions(server: &Server) -> Vec<String> {
    let seen: Vec<Value> = server.seen().iter().map(Request::json).collect();
    assert!(seen.iter().all(|event| event["dedup_key"] == seen[0]["dedup_key"]), "one alert: {seen:?}");
    assert!(seen.iter().all(|event| event["routing_key"] == KEY.1), "{seen:?}");
    seen.iter().map(|event| event["event_action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn over_the_socket_of_a_run_that_is_driven_once_and_not_again_after_a_kill() {
    let server = Server::start(|_, _| say("202 Accepted", "{}"));
    let desk = desk(&server);
    let mut run = start(&desk, &["run", "long"], &[KEY]);
    wait_until("the call", || actions(&server) == ["trigger"]);
    let shown = desk.run(&["ack", "last"], &[]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("has taken notice; pager will be told"), "{}", shown.out);
    wait_until("the word", || actions(&server) == ["trigger", "acknowledge"]);
    let again = desk.run(&["ack", "last"], &[]);
    assert!(again.out.contains("has taken notice before"), "{}", again.out);
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    let mut run = start(&desk, &["resume", "last"], &[KEY]);
    wait_until("the resume", || !desk.events("run_resumed").is_empty());
    desk.write("playbooks/go", "");
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(actions(&server), ["trigger", "acknowledge", "resolve"]);
    let causes: Vec<Value> = desk.events("notice").iter().map(|notice| notice["cause"].clone()).collect();
    assert_eq!(causes.iter().filter(|cause| cause.get("acknowledged").is_some()).count(), 1, "{causes:?}");
    let team = desk.read("team");
    assert!(!team.contains("in hand"), "who keeps no alerts is not told: {team}");
    let report = desk.run(&["report", "last"], &[]).out;
    assert!(report.contains("## Who was told") && report.contains("in hand: "), "{report}");
}

#[test]
fn of_a_run_that_stands_still_the_command_tells_them_itself() {
    let server = Server::start(|_, _| say("202 Accepted", "{}"));
    let desk = desk(&server);
    let mut run = start(&desk, &["run", "long"], &[KEY]);
    wait_until("the call", || actions(&server) == ["trigger"]);
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    let shown = desk.run(&["ack", "last"], &[KEY]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("pager was told"), "{}", shown.out);
    assert_eq!(actions(&server), ["trigger", "acknowledge"]);
    assert!(desk.run(&["ack", "last"], &[KEY]).out.contains("before"));
    desk.write("playbooks/go", "");
    assert_eq!(desk.run(&["resume", "last"], &[KEY]).code, 0);
    assert_eq!(actions(&server), ["trigger", "acknowledge", "resolve"]);
    assert_eq!(desk.run(&["verify", "last"], &[]).code, 0);
    // Nothing is open any more.
    assert_eq!(desk.run(&["ack", "last"], &[KEY]).code, 0);
    assert_eq!(actions(&server).len(), 3);
}

#[test]
fn after_a_failure_the_alert_is_open_and_a_pager_that_cannot_be_told_stops_nobody() {
    let server = Server::start(|_, _| say("202 Accepted", "{}"));
    let desk = desk(&server);
    desk.write(
        "playbooks/long.yaml",
        "apiVersion: runbook/v1\nname: long\ntitle: Long\nsteps: [{ id: a, title: A, run: test -e go }]\n",
    );
    assert_eq!(desk.run(&["run", "long"], &[KEY]).code, 1);
    // Whoever says it does not have the pager's key.
    let shown = desk.run(&["ack", "last"], &[]);
    assert_eq!(shown.code, 0, "it is recorded all the same: {}", shown.err);
    assert!(
        shown.out.contains("pager was not told: secret key: the environment variable KEY"),
        "{}",
        shown.out
    );
    assert_eq!(actions(&server), ["trigger"]);
    let last = desk.events("notice_ended").pop().unwrap();
    assert_eq!(
        (&last["channel"], &last["delivered"], &last["unsure"]),
        (&"pager".into(), &false.into(), &Value::Null)
    );
    let status = desk.run(&["status", "last"], &[]).out;
    assert!(status.contains("failed\n") && status.contains("in hand by pager failed"), "{status}");
    let verified = desk.run(&["verify", "last"], &[]);
    assert!(verified.code == 0 && verified.out.contains("the run ended failed"), "{}", verified.out);
    desk.write("playbooks/go", "");
    assert_eq!(desk.run(&["resume", "last"], &[KEY]).code, 0);
    assert_eq!(actions(&server), ["trigger", "resolve"]);
}
