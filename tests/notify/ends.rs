//! A run that has ended, and channels that have not answered by then.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cli::Desk;
use crate::support::{Answer, Server, say};

/// Long enough for every machine; nothing here takes it.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

pub fn start(desk: &Desk, args: &[&str], env: &[(&str, &str)]) -> Child {
    desk.command(args, env).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

pub fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// Two messages to one that never answers, one to one that is always busy.
fn desk(silent: &Server, busy: &Server) -> Desk {
    let desk = Desk::new("apiVersion: runbook/v1\n", "");
    let book = format!(
        "apiVersion: runbook/v1\nname: quick\ntitle: Quick\nchannels:\n  \
         silent: {{ webhook: {{ url: '{}' }}, timeout: 5m, retry_for: 10m }}\n  \
         busy: {{ webhook: {{ url: '{}' }}, retry_for: 10m }}\n\
         steps:\n  - {{ id: one, title: One, notify: {{ channels: [silent, busy], message: one }} }}\n  \
         - {{ id: two, title: Two, notify: {{ channels: silent, message: two }} }}\n",
        silent.url("/"),
        busy.url("/")
    );
    desk.write("playbooks/quick.yaml", &book);
    desk
}

fn servers() -> (Server, Server) {
    let busy = |_: usize, _: &_| say("503 Service Unavailable", "not now");
    (Server::start(|_, _| Answer::Silence), Server::start(busy))
}

fn ended(desk: &Desk, number: u64, channel: &str) -> Value {
    let all = desk.events("notice_ended");
    let mut of = all.iter().filter(|end| end["number"] == number && end["channel"] == channel);
    let one = of.next().unwrap_or_else(|| panic!("{all:?}")).clone();
    assert!(of.next().is_none(), "{all:?}");
    one
}

#[test]
fn a_run_waits_ten_seconds_for_its_channels_and_says_what_is_known_then() {
    let (silent, busy) = servers();
    let desk = desk(&silent, &busy);
    let began = Instant::now();
    let shown = desk.run(&["run", "quick"], &[]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(began.elapsed() >= Duration::from_secs(9), "it did not wait: {:?}", began.elapsed());
    assert!(began.elapsed() < PATIENCE, "it waited for ever: {:?}", began.elapsed());
    // One may have arrived, one was refused each time, and one never left.
    let first = ended(&desk, 1, "silent");
    assert_eq!(
        (&first["delivered"], &first["unsure"], &first["attempts"]),
        (&false.into(), &true.into(), &1.into())
    );
    assert_eq!(first["why"], "there was no answer yet when the process left the run");
    let refused = ended(&desk, 1, "busy");
    assert_eq!((&refused["delivered"], &refused["unsure"]), (&false.into(), &Value::Null), "{refused}");
    assert!(refused["attempts"].as_u64().unwrap() >= 2, "{refused}");
    assert!(refused["why"].as_str().unwrap().contains("503 Service Unavailable: not now"), "{refused}");
    let never = ended(&desk, 2, "silent");
    assert_eq!((&never["unsure"], &never["attempts"]), (&Value::Null, &0.into()), "{never}");
    assert_eq!((silent.seen().len(), busy.seen().len() as u64), (1, refused["attempts"].as_u64().unwrap()));
    let said = format!("{}{}", shown.out, shown.err);
    assert!(said.contains("3 notices on the way; waiting 10s at most (Ctrl-C: no longer)"), "{said}");
    // Everybody who looks later is told.
    let tally = "2 failed, 1 not known";
    for (args, wanted) in [
        (&["status", "last"][..], "step two by silent failed: its turn had not come"),
        (&["brief", "last"][..], "step two by silent failed"),
        (&["report", "last"][..], "not known: there was no answer yet"),
        (&["report", "last", "--format", "html"][..], "not known</span>: there was no answer yet"),
    ] {
        let shown = desk.run(args, &[]);
        assert!(shown.out.contains(tally) && shown.out.contains(wanted), "{args:?}\n{}", shown.out);
    }
    assert!(
        format!("{}{}", shown.out, shown.err).contains(tally),
        "the closing block too\n{}{}",
        shown.out,
        shown.err
    );
    let json: Value =
        serde_json::from_str(&desk.run(&["report", "last", "--format", "json"], &[]).out).unwrap();
    assert_eq!(json["notices"][0]["deliveries"][1]["state"], "failed", "{:#}", json["notices"]);
    // The run is what it came to, and nothing is left to do in it.
    assert_eq!(desk.run(&["verify", "last"], &[]).code, 0);
    assert_eq!(desk.run(&["resume", "last"], &[]).code, 8);
}

#[test]
fn who_does_not_want_to_wait_need_not() {
    let (silent, busy) = servers();
    let desk = desk(&silent, &busy);
    let mut run = start(&desk, &["run", "quick"], &[]);
    wait_until("the end", || !desk.events("run_ended").is_empty() && !silent.seen().is_empty());
    signal(&run, Signal::SIGINT);
    assert_eq!(run.wait().unwrap().code(), Some(0), "the run had recovered");
    assert_eq!(ended(&desk, 1, "silent")["unsure"], true);
}

/// Nobody takes up a run that has recovered, so nobody records what became of its last notices.
#[test]
fn a_process_that_is_killed_while_it_waits_leaves_them_open_and_that_is_shown() {
    let (silent, busy) = servers();
    let desk = desk(&silent, &busy);
    let mut run = start(&desk, &["run", "quick"], &[]);
    wait_until("the end", || !desk.events("run_ended").is_empty() && !silent.seen().is_empty());
    signal(&run, Signal::SIGKILL);
    run.wait().unwrap();
    assert!(desk.events("notice_ended").is_empty());
    let status = desk.run(&["status", "last"], &[]).out;
    assert!(
        status.contains("3 not known") && status.contains("the process that sent it is gone"),
        "{status}"
    );
    let report = desk.run(&["report", "last"], &[]).out;
    assert!(report.contains("3 outstanding"), "{report}");
    assert_eq!(desk.run(&["verify", "last"], &[]).code, 0);
    assert_eq!(desk.run(&["resume", "last"], &[]).code, 8);
}
