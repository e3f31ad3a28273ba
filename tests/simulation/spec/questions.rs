//! Questions to people: who may answer, how many have to, and what does not start before.

use runbook::model::{Answer, Millis, OnTimeout, StepOutcome};
use runbook::plan::{Ask, Body, Choose, OnFailure, PlannedOption, Step, Template};

use super::Script;
use crate::plans::{any_of, chain, check, expr, run, step};

fn ask(approvers: &[&str], count: u32) -> Ask {
    Ask {
        prompt: Template { src: "Go on?".into(), uses: Vec::new() },
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
        count,
        exclude_operator: false,
        timeout: None,
        on_timeout: OnTimeout::Wait,
        evidence: false,
    }
}

fn asking(ask: Ask) -> Step {
    let mut a = run("a");
    a.approval = Some(Box::new(ask));
    a
}

#[test]
fn nothing_starts_before_enough_people_have_agreed() {
    let (mut s, lines) = Script::start(chain(vec![asking(ask(&["bob", "carol", "dave"], 2)), run("b")]));
    assert_eq!(lines, ["a asks 1: Approval"]);
    assert_eq!(s.tick(1_000_000), [""; 0]);
    assert_eq!(s.says("dave", "a", Answer::Approve), ["a 1: dave says yes"]);
    assert!(s.acts.is_empty());
    assert_eq!(s.resume(vec![]), ["resumed"], "what one has said stands, and is not enough");
    assert!(s.acts.is_empty());
    assert_eq!(s.says("bob", "a", Answer::Approve), ["a 1: bob says yes", "a.1 starts"]);
}

#[test]
fn a_group_waits_for_its_approval_with_all_inside() {
    let mut steps = any_of(0, "g", vec![run("x"), run("y")]);
    steps[0].approval = Some(Box::new(ask(&[], 1)));
    let (mut s, lines) = Script::start(chain(steps));
    assert_eq!(lines, ["g asks 1: Approval"]);
    assert_eq!(s.says("bob", "g", Answer::Approve), ["g 1: bob says yes", "g opens", "g/x.1 starts"]);
}

#[test]
fn only_who_is_asked_may_answer() {
    let (mut s, _) = Script::start(chain(vec![asking(ask(&["bob", "carol"], 1))]));
    for answer in [Answer::Approve, Answer::Reject] {
        let words = answer.words();
        let refused = format!("a refuses mallory's {words}: mallory is not asked; bob, carol may answer");
        assert_eq!(s.says("mallory", "a", answer), [refused]);
    }
    assert_eq!(s.says("carol", "a", Answer::Approve), ["a 1: carol says yes", "a.1 starts"]);
}

/// Also when somebody else has taken the run up since: bob resumes what alice has started.
#[test]
fn who_started_the_run_does_not_agree_to_it() {
    let mut other = ask(&[], 1);
    other.exclude_operator = true;
    let (mut s, _) = Script::start(chain(vec![asking(other)]));
    let refused = "a refuses alice's yes: alice started the run, and somebody else has to answer";
    assert_eq!(s.says("alice", "a", Answer::Approve), [refused]);
    s.resume(vec![]);
    assert_eq!(s.says("alice", "a", Answer::Approve), [refused]);
    assert_eq!(s.says("bob", "a", Answer::Approve), ["a 1: bob says yes", "a.1 starts"]);
}

#[test]
fn nobody_agrees_twice() {
    let (mut s, _) = Script::start(chain(vec![asking(ask(&[], 2))]));
    let refused = "a refuses bob's yes: bob has agreed already, and 2 different people have to";
    s.says("bob", "a", Answer::Approve);
    assert_eq!(s.says("bob", "a", Answer::Approve), [refused]);
    s.resume(vec![]);
    assert_eq!(s.says("bob", "a", Answer::Approve), [refused]);
    assert_eq!(s.says("carol", "a", Answer::Approve), ["a 1: carol says yes", "a.1 starts"]);
}

#[test]
fn one_who_is_asked_and_says_no_is_enough() {
    let (mut s, _) = Script::start(chain(vec![asking(ask(&[], 2)), run("b")]));
    s.says("bob", "a", Answer::Approve);
    let lines = s.says("carol", "a", Answer::Reject);
    let end = "run failed: step a failed: rejected by carol: seen";
    assert_eq!(lines, ["a 1: carol says no", "a failed: rejected by carol: seen", end]);
    let late = "a refuses dave's yes: too late: what step a asked is settled";
    assert_eq!(s.says("dave", "a", Answer::Approve), [late]);
}

#[test]
fn when_the_time_is_over_the_author_has_said_what_follows() {
    let over = |then| {
        let mut timed = ask(&[], 2);
        (timed.timeout, timed.on_timeout) = (Some(Millis(5000)), then);
        let (mut s, _) = Script::start(chain(vec![asking(timed)]));
        s.says("bob", "a", Answer::Approve);
        assert_eq!(s.deadline(), Some(5000));
        assert_eq!(s.tick(4999), [""; 0]);
        // A second later than it is due: what is said then is too late.
        (s.tick(6000), s)
    };
    let (lines, _) = over(OnTimeout::Proceed);
    assert_eq!(lines, ["a 1: nobody, so Proceed", "a.1 starts"]);
    let (lines, s) = over(OnTimeout::Fail);
    assert_eq!(lines[..2], ["a 1: nobody, so Fail", "a failed: nobody answered within 5.0s"]);
    assert_eq!(s.state().steps[0].outcome(), Some(StepOutcome::Failed));
    let (lines, mut s) = over(OnTimeout::Wait);
    assert_eq!(lines, ["a 1: nobody, so Wait"]);
    assert_eq!(s.says("carol", "a", Answer::Approve)[1..], ["a.1 starts"]);
}

#[test]
fn a_word_after_the_time_does_not_count_although_nobody_has_looked_at_the_clock() {
    let mut timed = ask(&[], 1);
    (timed.timeout, timed.on_timeout) = (Some(Millis(5000)), OnTimeout::Fail);
    let (mut s, _) = Script::start(chain(vec![asking(timed)]));
    let lines = s.at(5000).says("bob", "a", Answer::Approve);
    assert_eq!(lines[0], "a refuses bob's yes: too late: the time to answer step a is over");
    assert!(s.acts.is_empty());
}

/// Who agreed to the first try has not agreed to another one.
#[test]
fn another_try_is_asked_for_again() {
    let mut a = asking(ask(&[], 1));
    a.on_failure = OnFailure::Ask;
    let (mut s, _) = Script::start(chain(vec![a]));
    s.says("bob", "a", Answer::Approve);
    assert_eq!(s.exits("a.1", 1), ["a.1 failed: exit 1", "a asks 2: Failure"]);
    assert_eq!(s.says("bob", "a", Answer::Retry), ["a 2: bob says try again", "a asks 3: Approval"]);
    let old = s.says_to("bob", "a", Answer::Approve, Some(1));
    assert_eq!(old, ["a refuses bob's yes: it answers an earlier question of step a"]);
    assert_eq!(s.says_to("bob", "a", Answer::Approve, Some(3)), ["a 3: bob says yes", "a.2 starts"]);
}

#[test]
fn what_a_person_does_is_verified() {
    let mut a = step("a", Body::Manual(Box::new(ask(&["bob"], 1))));
    a.verify = vec![check("up")];
    let (mut s, lines) = Script::start(chain(vec![a]));
    assert_eq!(lines, ["a asks 1: Manual"]);
    assert_eq!(s.says("mallory", "a", Answer::Done).len(), 1);
    assert_eq!(s.says("bob", "a", Answer::Done), ["a 1: bob says done", "a.1.verify0.1 starts"]);
    let lines = s.exits("a.1.verify0.1", 1);
    assert_eq!(lines[1], "a failed: up: exit 1");
}

#[test]
fn an_option_that_is_closed_cannot_be_taken() {
    let option =
        |id: &str, when| PlannedOption { id: id.into(), title: id.into(), eta: None, loss: None, when };
    let options = vec![option("left", None), option("right", Some(expr("false")))];
    let choose = Choose { ask: ask(&[], 1), options, suggest: None };
    let (mut s, _) = Script::start(chain(vec![step("a", Body::Choose(Box::new(choose)))]));
    let take = |id: &str| Answer::Choose { option: id.into() };
    let refused = s.says("bob", "a", take("right"));
    assert_eq!(refused, ["a refuses bob's right: option right cannot be taken now: false is false"]);
    let refused = s.says("bob", "a", take("up"));
    assert_eq!(refused, ["a refuses bob's up: there is no option \"up\"; the options are left, right"]);
    assert_eq!(s.says("bob", "a", take("left"))[1], "a succeeded");
}
