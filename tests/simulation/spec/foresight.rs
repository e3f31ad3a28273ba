//! What will probably start next: told only where nothing stands before it, and never part of a decision.

use runbook::engine::Act;
use runbook::plan::{Body, Plan, Step};

use super::Script;
use crate::plans::{chain, check, expr, plan, run, step};
use crate::random::Random;

/// What is foreseen once the run has started.
fn foreseen(plan: Plan) -> Option<String> {
    Script::start(plan).0.foresees().map(|start| start.task.to_string())
}

fn second(change: impl FnOnce(&mut Step)) -> Plan {
    let mut b = run("b");
    change(&mut b);
    chain(vec![run("a"), b, run("c")])
}

#[test]
fn what_is_foreseen_comes_true() {
    let (mut s, _) = Script::start(chain(vec![run("a"), run("b"), run("c")]));
    for (now, next) in [("a.1", "b.1"), ("b.1", "c.1")] {
        let start = s.foresees().expect("a guess");
        assert_eq!(start.task.to_string(), next);
        s.exits(now, 0);
        assert_eq!(s.acts, [Act::Start(Box::new(start))], "the very same, to the last variable");
    }
    assert_eq!(s.foresees(), None, "the last one");
    s.exits("c.1", 0);
    assert_eq!(s.foresees(), None, "the run is over");
}

#[test]
fn one_at_a_time_the_first_that_may_start_is_foreseen() {
    let beside = || vec![run("a"), run("b"), run("c")];
    assert_eq!(foreseen(plan(1, 1, Vec::new(), beside())), Some("b.1".into()));
    assert_eq!(foreseen(plan(1, 8, Vec::new(), beside())), None, "they run already");
    let mut steps = beside();
    steps[1].needs = vec![0];
    assert_eq!(foreseen(plan(1, 1, Vec::new(), steps)), Some("b.1".into()));
    // It needs another one, too.
    let mut steps = beside();
    steps[1].needs = vec![0, 2];
    assert_eq!(foreseen(plan(1, 1, Vec::new(), steps)), Some("c.1".into()));
}

#[test]
fn what_has_its_own_business_first_is_not_foreseen() {
    assert_eq!(foreseen(second(|_| {})), Some("b.1".into()));
    assert_eq!(foreseen(second(|b| b.when = Some(expr("true")))), None);
    assert_eq!(foreseen(second(|b| b.unless = Some(Box::new(check("there"))))), None);
    assert_eq!(
        foreseen(second(|b| b.approval = Some(Box::new(crate::plans::ask(&mut Random::new(1)))))),
        None
    );
    assert_eq!(foreseen(chain(vec![run("a"), step("b", Body::Nothing)])), None);
    let mut a = run("a");
    a.verify.push(check("well"));
    assert_eq!(foreseen(chain(vec![a, run("b")])), None);
}

#[test]
fn what_came_otherwise_is_decided_as_if_nothing_had_been_foreseen() {
    let (mut s, _) = Script::start(second(|_| {}));
    assert!(s.foresees().is_some());
    assert_eq!(
        s.exits("a.1", 3),
        ["a.1 failed: exit 3", "a failed: exit 3", "run failed: step a failed: exit 3"]
    );
    assert_eq!(s.acts, []);
}
