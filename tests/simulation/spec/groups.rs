//! Included playbooks and alternatives.

use runbook::model::{Resolution, StepOutcome, TaskEndKind};
use runbook::plan::{Body, OnFailure, Plan, Scope};

use super::{Script, lost};
use crate::plans::{any_of, chain, check, plan, run, step, undo};

fn alternatives(undoing: bool) -> Plan {
    let mut a = run("a");
    if undoing {
        a.undo = undo();
    }
    let mut steps = any_of(0, "g", vec![a, run("b")]);
    steps.push(run("after"));
    chain(steps)
}

/// `g` holds `g/x` and `g/y`, which do not wait for each other.
fn included() -> Plan {
    let mut x = run("g/x");
    let mut y = run("g/y");
    (x.parent, x.scope, y.parent, y.scope) = (Some(0), 1, Some(0), 1);
    let mut after = run("after");
    after.needs = vec![0];
    let group = step("g", Body::Playbook { scope: 1, steps: vec![1, 2] });
    let scope = Scope { group: Some(0), params: std::collections::BTreeMap::new(), late: Vec::new() };
    plan(1, 2, vec![scope], vec![group, x, y, after])
}

#[test]
fn the_first_alternative_that_serves_is_the_choice() {
    let (mut s, lines) = Script::start(alternatives(true));
    assert_eq!(lines, ["g opens", "g/a.1 starts"]);
    let served =
        ["g/a.1 passed", "g/a succeeded", "g/b skipped: g/a served", "g succeeded", "after.1 starts"];
    assert_eq!(s.exits("g/a.1", 0), served);
    assert_eq!(s.state().steps[0].choice.as_deref(), Some("a"));
}

#[test]
fn a_failed_alternative_is_taken_back_before_the_next() {
    let (mut s, _) = Script::start(alternatives(true));
    let lines = s.exits("g/a.1", 1);
    assert_eq!(lines, ["g/a.1 failed: exit 1", "g/a failed: exit 1", "g/a.1.undo starts"]);
    assert_eq!(s.exits("g/a.1.undo", 0), ["g/a.1.undo passed", "g/a undone", "g/b.1 starts"]);
    assert_eq!(s.exits("g/b.1", 0), ["g/b.1 passed", "g/b succeeded", "g succeeded", "after.1 starts"]);
    assert_eq!(s.exits("after.1", 0)[2], "run recovered", "that another one served is no degradation");
    assert_eq!(s.state().steps[0].choice.as_deref(), Some("b"));
}

#[test]
fn nothing_is_built_on_an_alternative_that_could_not_be_taken_back() {
    let (mut s, _) = Script::start(alternatives(true));
    s.exits("g/a.1", 1);
    let lines = s.exits("g/a.1.undo", 1);
    assert_eq!(lines[1..3], ["g/a not undone: exit 1", "g failed: the undo of step g/a failed"]);
    // The resume begins with what failed.
    assert_eq!(s.resume(vec![]), ["resumed", "g/a.1r1.undo starts"]);
    assert_eq!(s.exits("g/a.1r1.undo", 0)[2], "g/b.1 starts");
}

#[test]
fn when_none_serves_the_group_fails_and_a_resume_starts_over() {
    let (mut s, _) = Script::start(alternatives(false));
    s.exits("g/a.1", 1);
    let lines = s.exits("g/b.1", 2);
    assert_eq!(lines[2], "g failed: no alternative served; the last one failed: exit 2");
    assert_eq!(s.resume(vec![]), ["resumed", "g/a.2 starts"]);
}

#[test]
fn a_crash_between_two_alternatives_does_not_try_the_first_again() {
    let (mut s, _) = Script::start(alternatives(true));
    s.exits("g/a.1", 1);
    assert_eq!(s.resume(vec![]), ["resumed"]);
    assert_eq!(s.exits("g/a.1.undo", 0)[2], "g/b.1 starts");
}

#[test]
fn an_alternative_in_doubt_is_not_passed_over() {
    let (mut s, _) = Script::start(alternatives(true));
    let lines = s.resume(vec![("g/a.1", lost())]);
    assert_eq!(
        lines[2..],
        ["g/a unknown: the keeper is gone", "run in-doubt: step g/a is in doubt: the keeper is gone"]
    );
}

/// Alternative `b` was cut short, so it may have done something. That `a` serves in the end does not make it untouched.
#[test]
fn an_alternative_that_was_cut_short_is_taken_back_although_another_served() {
    let mut b = run("b");
    b.undo = undo();
    let (mut s, _) = Script::start(chain(any_of(0, "g", vec![run("a"), b])));
    assert_eq!(s.exits("g/a.1", 1)[2], "g/b.1 starts");
    s.cancel();
    s.ends("g/b.1", TaskEndKind::Cancelled);
    s.resolve("g/a", Resolution::Done);
    let lines = ["resumed", "g/a succeeded", "g/b cancelled: g/a served", "g succeeded", "run recovered"];
    assert_eq!(s.resume(vec![]), lines);
    assert_eq!(s.roll_back(), ["rollback: bob asked for it", "resumed", "g/b.1r4.undo starts"]);
}

#[test]
fn a_playbook_fails_once_nothing_of_it_runs() {
    let (mut s, lines) = Script::start(included());
    assert_eq!(lines, ["g opens", "g/x.1 starts", "g/y.1 starts"]);
    assert_eq!(s.exits("g/x.1", 1), ["g/x.1 failed: exit 1", "g/x failed: exit 1"]);
    let lines = s.exits("g/y.1", 0);
    assert_eq!(lines[2], "g failed: step g/x failed: exit 1");
    assert_eq!(s.resume(vec![]), ["resumed", "g/x.2 starts"], "what is done inside stays done");
    let lines = s.exits("g/x.2", 0);
    assert_eq!(lines[1..], ["g/x succeeded", "g succeeded", "after.1 starts"]);
}

#[test]
fn the_checks_of_a_group_count_while_the_run_stops() {
    let mut plan = included();
    plan.steps[0].verify = vec![check("all")];
    let mut beside = run("beside");
    beside.phase = 0;
    plan.steps.push(beside);
    plan.phases[0].steps.push(4);
    plan.max_parallel = 3;
    let (mut s, _) = Script::start(plan);
    s.exits("g/x.1", 0);
    assert_eq!(s.exits("g/y.1", 0)[2], "g.1.verify0.1 starts");
    // The run must not end while the check runs.
    assert_eq!(s.exits("beside.1", 1), ["beside.1 failed: exit 1", "beside failed: exit 1"]);
    let end = "run failed: step beside failed: exit 1";
    assert_eq!(s.exits("g.1.verify0.1", 0), ["g.1.verify0.1 passed", "g succeeded", end]);
}

#[test]
fn what_is_not_needed_is_skipped_with_all_inside() {
    let mut plan = included();
    plan.steps[0].unless = Some(check("there").into());
    let (mut s, _) = Script::start(plan);
    let lines = s.exits("g.unless", 0);
    let skipped = ["g/x skipped: step g was satisfied", "g/y skipped: step g was satisfied", "g satisfied"];
    assert_eq!(lines[1..4], skipped);
}

#[test]
fn a_failure_inside_that_may_be_ignored_does_not_fail_the_group() {
    let mut plan = included();
    plan.steps[1].on_failure = OnFailure::Continue;
    let (mut s, _) = Script::start(plan);
    s.exits("g/x.1", 1);
    assert_eq!(s.exits("g/y.1", 0)[1..], ["g/y succeeded", "g succeeded", "after.1 starts"]);
    assert_eq!(s.state().steps[1].outcome(), Some(StepOutcome::Failed));
}
