//! One step: attempts, retries, checks, times.

use runbook::engine::default_expectation;
use runbook::model::{Millis, TaskEnd, TaskEndKind, TaskOutput};
use runbook::plan::{Body, OnFailure, Retry};

use super::{Script, lost, status};
use crate::plans::{chain, check, command, expr, plan, run, step};

#[test]
fn a_step_succeeds_and_the_next_one_starts() {
    let (mut s, lines) = Script::start(chain(vec![run("a"), run("b")]));
    assert_eq!(lines, ["a.1 starts"]);
    assert_eq!(s.exits("a.1", 0), ["a.1 passed", "a succeeded", "b.1 starts"]);
    assert_eq!(s.exits("b.1", 0), ["b.1 passed", "b succeeded", "run recovered"]);
}

#[test]
fn a_failed_step_stops_the_run() {
    let (mut s, _) = Script::start(chain(vec![run("a"), run("b")]));
    let end = "run failed: step a failed: exit 3";
    assert_eq!(s.exits("a.1", 3), ["a.1 failed: exit 3", "a failed: exit 3", end]);
}

#[test]
fn what_runs_beside_a_failed_step_is_waited_for_and_nothing_new_starts() {
    let mut b = run("b");
    b.retry.attempts = 2;
    let mut steps = vec![run("a"), b, run("c")];
    steps[2].needs = vec![1];
    let (mut s, lines) = Script::start(plan(1, 8, Vec::new(), steps));
    assert_eq!(lines, ["a.1 starts", "b.1 starts"]);
    assert_eq!(s.exits("a.1", 1), ["a.1 failed: exit 1", "a failed: exit 1"]);
    assert_eq!(s.exits("b.1", 1), ["b.1 failed: exit 1", "b again in 0", "b.2 starts"]);
    let end = "run failed: step a failed: exit 1";
    assert_eq!(s.exits("b.2", 0), ["b.2 passed", "b succeeded", end]);
}

#[test]
fn on_failure_continue_degrades_the_run() {
    let mut a = run("a");
    a.on_failure = OnFailure::Continue;
    let (mut s, _) = Script::start(chain(vec![a, run("b")]));
    assert_eq!(s.exits("a.1", 1), ["a.1 failed: exit 1", "a failed: exit 1", "b.1 starts"]);
    let end = "run degraded: step a failed and the run went on";
    assert_eq!(s.exits("b.1", 0), ["b.1 passed", "b succeeded", end]);
}

fn retrying(attempts: u32, jitter: f64) -> runbook::plan::Step {
    let mut a = run("a");
    a.retry = Retry { attempts, delay: Millis(1000), backoff: 2.0, jitter, ..Retry::never() };
    a
}

#[test]
fn the_delay_grows_by_backoff_up_to_its_limit() {
    let mut a = retrying(5, 0.0);
    a.retry.max_delay = Some(Millis(3500));
    let (mut s, _) = Script::start(chain(vec![a]));
    let mut t = 0;
    for (attempt, delay) in [(1, 1000), (2, 2000), (3, 3500), (4, 3500)] {
        let lines = s.exits(&format!("a.{attempt}"), 1);
        assert_eq!(lines[1], format!("a again in {delay}"));
        assert_eq!(s.deadline(), Some(t + delay));
        assert_eq!(s.tick(t + delay - 1), Vec::<String>::new());
        t += delay;
        assert_eq!(s.tick(t), [format!("a.{} starts", attempt + 1)]);
    }
    let end = "run failed: step a failed: exit 1 (attempt 5)";
    assert_eq!(s.exits("a.5", 1), ["a.5 failed: exit 1", "a failed: exit 1 (attempt 5)", end]);
}

#[test]
fn jitter_stays_within_its_share_and_comes_of_the_seed() {
    let delays = |seed: u64| -> Vec<u64> {
        let info = runbook::model::StartInfo { seed, ..crate::sim::start_info() };
        let (mut s, _) = Script::start_with(chain(vec![retrying(9, 0.2)]), info);
        let mut t = 0;
        (1..9)
            .map(|attempt| {
                s.exits(&format!("a.{attempt}"), 1);
                let delay = s.deadline().expect("a deadline") - t;
                t += delay;
                s.tick(t);
                let full = 1000 << (attempt - 1);
                assert!((full * 8 / 10..=full * 12 / 10).contains(&delay), "attempt {attempt}: {delay}");
                delay
            })
            .collect()
    };
    assert_eq!(delays(1), delays(1));
    assert_ne!(delays(1), delays(2));
}

#[test]
fn remedy_k_follows_failed_attempt_k() {
    let mut a = retrying(3, 0.0);
    a.retry.remedies = vec![("clean".into(), command("clean")), ("restart".into(), command("restart"))];
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.exits("a.1", 1), ["a.1 failed: exit 1", "a.1.remedy starts"]);
    let flight = |s: &Script| s.state().in_flight.values().map(|f| f.command.clone()).collect::<Vec<_>>();
    assert_eq!(flight(&s), ["clean"]);
    // A remedy that fails is no reason not to try again.
    assert_eq!(s.exits("a.1.remedy", 1), ["a.1.remedy failed: exit 1", "a again in 1000"]);
    s.tick(1000);
    s.exits("a.2", 1);
    assert_eq!(flight(&s), ["restart"]);
    s.exits("a.2.remedy", 0);
    s.tick(3000);
    assert_eq!(s.exits("a.3", 0), ["a.3 passed", "a succeeded", "run recovered"]);
}

#[test]
fn retry_when_says_no() {
    let mut a = retrying(3, 0.0);
    a.retry.when = Some(expr("result.exit == 75"));
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.exits("a.1", 75)[1], "a again in 1000");
    s.tick(1000);
    assert_eq!(s.exits("a.2", 1)[1], "a failed: exit 1 (attempt 2)");
}

/// Its process died between the record and the command. The time counts from the first poll all the same.
#[test]
fn a_poll_that_never_ran_gives_the_check_no_more_time() {
    let mut a = run("a");
    a.verify = vec![check("up")];
    a.verify[0].within = Some(Millis(3000));
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.exits("a.1", 0)[1], "a.1.verify0.1 starts");
    s.at(2500);
    let lines = s.resume(vec![("a.1.verify0.1", runbook::engine::Found::NeverStarted)]);
    let poll = lines.last().unwrap().trim_end_matches(" starts").to_owned();
    assert!(poll.contains("verify0"), "{lines:?}");
    assert_eq!(s.exits(&poll, 1)[1], "a failed: up: exit 1");
}

#[test]
fn a_check_is_polled_every_so_often_within_its_time() {
    let mut a = step("a", Body::Nothing);
    a.verify = vec![check("up")];
    a.verify[0].within = Some(Millis(3000));
    let (mut s, lines) = Script::start(chain(vec![a]));
    assert_eq!(lines, ["a.1.verify0.1 starts"]);
    for poll in 1..=3 {
        assert_eq!(
            s.exits(&format!("a.1.verify0.{poll}"), 1),
            [format!("a.1.verify0.{poll} failed: exit 1")]
        );
        assert_eq!(s.deadline(), Some(poll * 1000));
        assert_eq!(s.tick(poll * 1000), [format!("a.1.verify0.{} starts", poll + 1)]);
    }
    // The next poll would come after the 3 s.
    let lines = s.exits("a.1.verify0.4", 1);
    assert_eq!(lines[1], "a failed: up: exit 1");
}

#[test]
fn a_failed_check_makes_the_attempt_fail() {
    let mut a = retrying(2, 0.0);
    a.verify = vec![check("up")];
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.exits("a.1", 0), ["a.1 passed", "a.1.verify0.1 starts"]);
    assert_eq!(s.exits("a.1.verify0.1", 1), ["a.1.verify0.1 failed: exit 1", "a again in 1000"]);
    assert_eq!(s.tick(1000), ["a.2 starts"]);
    assert_eq!(s.exits("a.2", 0), ["a.2 passed", "a.2.verify0.1 starts"]);
}

#[test]
fn an_advisory_check_degrades_the_run() {
    let mut a = run("a");
    a.verify = vec![check("fast"), check("up")];
    a.verify[0].required = false;
    let (mut s, _) = Script::start(chain(vec![a]));
    s.exits("a.1", 0);
    let lines = s.exits("a.1.verify0.1", 1);
    assert_eq!(lines, ["a.1.verify0.1 failed: exit 1", "a advisory: fast: exit 1", "a.1.verify1.1 starts"]);
    let end = "run degraded: an advisory check of step a did not hold";
    assert_eq!(s.exits("a.1.verify1.1", 0), ["a.1.verify1.1 passed", "a succeeded", end]);
}

#[test]
fn without_an_expectation() {
    let held = |kind, output| default_expectation(&TaskEnd::new(kind, Millis(1)), &output);
    let exited = |code| TaskEndKind::Exited { code };
    assert_eq!(held(exited(0), TaskOutput::none()), Ok(()));
    assert_eq!(held(exited(2), TaskOutput::none()), Err("exit 2".into()));
    assert_eq!(held(TaskEndKind::Answered, TaskOutput::none()), Ok(()), "a query was answered");
    assert_eq!(held(TaskEndKind::Answered, status(299)), Ok(()));
    assert_eq!(held(TaskEndKind::Answered, status(300)), Err("status 300".into()), "a redirect is no answer");
    assert_eq!(held(TaskEndKind::TimedOut, TaskOutput::none()), Err("no result".into()));
}

#[test]
fn an_expectation_replaces_the_exit_code() {
    let mut a = run("a");
    a.expect = vec![expr("result.exit == 3")];
    let (mut s, _) = Script::start(chain(vec![a.clone()]));
    assert_eq!(s.exits("a.1", 3)[0], "a.1 passed");
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.exits("a.1", 0)[0], "a.1 failed: expected result.exit == 3 (exit 0)");
}

#[test]
fn when_decides_whether_a_step_is_needed() {
    let mut a = run("a");
    a.when = Some(expr("false"));
    let (_, lines) = Script::start(chain(vec![a.clone(), run("b")]));
    assert_eq!(lines, ["a skipped: `when` is false: false", "b.1 starts"]);
    a.when = Some(expr("nobody"));
    let (_, lines) = Script::start(chain(vec![a, run("b")]));
    assert_eq!(lines[0], "a failed: `when` could not be judged: `nobody` is undefined");
}

#[test]
fn unless_is_asked_before_the_action() {
    let guarded = || {
        let mut a = run("a");
        a.unless = Some(check("there").into());
        Script::start(chain(vec![a]))
    };
    let (mut s, lines) = guarded();
    assert_eq!(lines, ["a.unless starts"]);
    assert_eq!(s.exits("a.unless", 0), ["a.unless passed", "a satisfied", "run recovered"]);
    let (mut s, _) = guarded();
    assert_eq!(s.exits("a.unless", 1), ["a.unless failed: exit 1", "a.1 starts"]);
    // A question that was not answered is no no.
    for kind in [TaskEndKind::TimedOut, TaskEndKind::Signaled { signal: 9 }] {
        let (mut s, _) = guarded();
        let lines = s.ends("a.unless", kind);
        assert!(lines[1].starts_with("a failed: `unless` could not be judged"), "{lines:?}");
    }
    let (mut s, _) = guarded();
    let lines = s.resume(vec![("a.unless", lost())]);
    assert_eq!(lines.last().map(String::as_str), Some("a.unlessr2 starts"), "who only looks may look again");
}

#[test]
fn a_wait_ends_by_itself() {
    let (mut s, lines) = Script::start(chain(vec![step("a", Body::Wait(Millis(10_000))), run("b")]));
    assert_eq!(lines, ["a waits 10000"]);
    assert_eq!(s.deadline(), Some(10_000));
    assert_eq!(s.tick(9_999), Vec::<String>::new());
    assert_eq!(s.at(10_000).resume(vec![]), ["resumed", "a succeeded", "b.1 starts"]);
}

#[test]
fn a_missed_deadline_of_a_phase_is_told_once_and_kills_nothing() {
    let mut plan = chain(vec![run("a")]);
    plan.phases[0].deadline = Some(Millis(5000));
    let (mut s, _) = Script::start(plan);
    assert_eq!(s.deadline(), Some(5000));
    assert_eq!(s.tick(5000), ["p0 is late"]);
    assert_eq!(s.deadline(), None);
    assert_eq!(s.tick(6000), Vec::<String>::new());
    assert_eq!(s.exits("a.1", 0)[2], "run recovered");
    assert_eq!(s.tick(7000), Vec::<String>::new());
}

#[test]
fn no_more_than_max_parallel_at_once() {
    let steps = ["a", "b", "c"].map(run).into_iter().collect();
    let (mut s, lines) = Script::start(plan(1, 2, Vec::new(), steps));
    assert_eq!(lines, ["a.1 starts", "b.1 starts"]);
    assert_eq!(s.exits("b.1", 0), ["b.1 passed", "b succeeded", "c.1 starts"]);
}
