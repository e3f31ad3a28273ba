//! Runs that tell the outside, against real receivers.

use serde_json::Value;

use crate::cli::Desk;
use crate::support::{Server, say};

#[test]
fn a_receiver_that_is_busy_twice_is_told_once_and_keeps_nobody_waiting() {
    let server = Server::start(|n, _| match n {
        0 | 1 => say("503 Service Unavailable", "busy"),
        _ => say("200 OK", "ok"),
    });
    let channels = format!("channels: {{ hook: {{ webhook: {{ url: '{}' }} }} }}\n", server.url("/hook"));
    let desk = Desk::new("apiVersion: runbook/v1\n", &channels);
    let book = format!(
        "apiVersion: runbook/v1\nname: book\ntitle: Book\n{channels}params: {{ who: {{ type: string, default: Bo }} }}\n\
         steps:\n  - id: tell\n    title: Tell\n    notify: {{ channels: hook, message: '{{{{ params.who }}}} is on it.' }}\n  \
         - id: a\n    title: A\n    run: 'true'\n"
    );
    desk.write("playbooks/book.yaml", &book);
    let shown = desk.run(&["run", "book"], &[]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let seen = server.seen();
    assert_eq!(seen.len(), 3, "twice busy, once told");
    let ids: Vec<Value> = seen.iter().map(|request| request.json()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "a receiver can know it again: {ids:?}");
    assert!(seen[2].json()["text"].as_str().unwrap().contains("Bo is on it."), "{}", seen[2].body);
    let ended = desk.events("notice_ended");
    assert_eq!(ended.len(), 1);
    assert_eq!((&ended[0]["delivered"], &ended[0]["attempts"]), (&Value::from(true), &Value::from(3)));
    // It was told after the end of the run, which is nonetheless the end of the run.
    let order: Vec<String> =
        desk.run(&["log", "last", "--json"], &[]).out.lines().map(str::to_owned).collect();
    let position = |name: &str| order.iter().position(|line| line.contains(name)).unwrap();
    assert!(position("\"run_ended\"") < position("\"notice_ended\""), "the run waited for its channel");
    let verified = desk.run(&["verify", "last"], &[]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    assert_eq!(
        desk.run(&["log", "last", "--follow"], &[]).code,
        0,
        "it has ended, so there is nothing to follow"
    );
    assert_eq!(desk.run(&["run", "book"], &[]).code, 0, "and holds nothing");
}

#[test]
fn an_alert_is_triggered_by_its_level_and_resolved_at_the_end() {
    let server = Server::start(|_, _| say("202 Accepted", "{\"status\":\"success\"}"));
    let config = format!(
        "secrets: {{ key: {{ env: KEY }} }}\nchannels:\n  \
         pager: {{ pagerduty: {{ routing_key: secrets.key, url: '{}' }} }}\n\
         roles: {{ on-call: [ada, bo] }}\n\
         escalation:\n  - {{ level: 1, after: 0s, notify: pager, to: [on-call, the board] }}\n",
        server.url("/enqueue")
    );
    let desk = Desk::new(&config, "");
    let shown = desk.run(&["run", "book"], &[("KEY", "key-of-the-service")]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let seen: Vec<Value> = server.seen().iter().map(|request| request.json()).collect();
    let actions: Vec<&str> = seen.iter().map(|json| json["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(seen[0]["dedup_key"], seen[1]["dedup_key"]);
    let raised = &desk.events("notice")[0];
    assert_eq!(raised["to"], serde_json::json!(["ada", "bo", "the board"]));
    assert!(seen[0].to_string().contains("ada, bo, the board"), "{}", seen[0]);

    // Without its secret the channel is out of order, and the run is not.
    let shown = desk.run(&["run", "book"], &[]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let ended = desk.events("notice_ended");
    assert!(ended.iter().all(|end| end["delivered"] == false && end["unsure"].is_null()), "{ended:?}");
    assert_eq!(server.seen().len(), 2);
}
