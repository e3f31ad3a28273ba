//! Outcomes that nobody can know, and the way out of doubt.

use runbook::engine::Found;
use runbook::model::{Resolution, TaskEndKind};
use runbook::plan::{Retry, Step};

use super::{Script, found, lost, unknown};
use crate::plans::{chain, check, run, undo};

fn checked() -> Step {
    let mut a = run("a");
    a.check = Some(check("there").into());
    a
}

#[test]
fn the_keepers_note_tells_how_it_ended() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    assert_eq!(s.resume(vec![("a.1", found(0))]), ["resumed", "a.1 passed", "a succeeded", "run recovered"]);
}

#[test]
fn what_still_runs_is_waited_for() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    assert_eq!(s.resume(vec![]), ["resumed"]);
    assert_eq!(s.exits("a.1", 0)[0], "a.1 passed");
}

#[test]
fn what_never_started_is_started_under_another_name() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    assert_eq!(s.resume(vec![("a.1", Found::NeverStarted)]), ["resumed", "a.1 never ran", "a.1r1 starts"]);
}

#[test]
fn a_crash_gives_no_attempt_for_free() {
    let (mut s, _) = Script::start(chain(vec![run("a")]));
    let end = "run failed: step a failed: exit 1";
    assert_eq!(s.resume(vec![("a.1", found(1))]), ["resumed", "a.1 failed: exit 1", "a failed: exit 1", end]);
    // A resume of the failed run does.
    assert_eq!(s.resume(vec![]), ["resumed", "a.2 starts"]);
}

#[test]
fn a_lost_attempt_without_a_check_needs_a_person() {
    let (mut s, _) = Script::start(chain(vec![run("a"), run("b")]));
    let doubt = "run in-doubt: step a is in doubt: the keeper is gone";
    let lines = s.resume(vec![("a.1", lost())]);
    assert_eq!(lines[1..], ["a.1 unknown: the keeper is gone", "a unknown: the keeper is gone", doubt]);
    // Without a word nothing changes, and nothing new starts.
    assert_eq!(s.resume(vec![]), ["resumed", doubt]);
    s.resolve("a", Resolution::Done);
    assert_eq!(s.resume(vec![]), ["resumed", "a succeeded", "b.1 starts"]);
}

#[test]
fn the_check_says_that_the_effect_is_there() {
    let (mut s, _) = Script::start(chain(vec![checked()]));
    let lines = s.resume(vec![("a.1", lost())]);
    assert_eq!(lines[1..], ["a.1 unknown: the keeper is gone", "a.1r2.check starts"]);
    assert!(s.state().steps[0].dirty);
    assert_eq!(s.exits("a.1r2.check", 0), ["a.1r2.check passed", "a succeeded", "run recovered"]);
    assert!(!s.state().steps[0].dirty);
}

#[test]
fn the_check_says_that_it_is_not_and_the_lost_attempt_is_made_again() {
    let (mut s, _) = Script::start(chain(vec![checked()]));
    s.resume(vec![("a.1", lost())]);
    assert_eq!(s.exits("a.1r2.check", 1), ["a.1r2.check failed: exit 1", "a.1r1 starts"]);
    assert_eq!(s.exits("a.1r1", 0)[1], "a succeeded");
}

#[test]
fn a_check_that_does_not_say_0_or_1_says_nothing() {
    for kind in [
        TaskEndKind::Exited { code: 2 },
        TaskEndKind::TimedOut,
        TaskEndKind::Signaled { signal: 15 },
        TaskEndKind::NotStarted { error: "no such file".into() },
    ] {
        let (mut s, _) = Script::start(chain(vec![checked()]));
        s.ends("a.1", unknown());
        let lines = s.ends("a.1r1.check", kind);
        assert!(lines[0].starts_with("a.1r1.check unknown"), "{lines:?}");
        assert!(lines[1].starts_with("a unknown: its outcome is unknown, and the check could not tell"));
    }
}

#[test]
fn an_idempotent_step_is_repeated_under_the_same_number_and_not_for_ever() {
    let mut a = run("a");
    a.idempotent = true;
    let (mut s, _) = Script::start(chain(vec![a]));
    assert_eq!(s.ends("a.1", unknown())[1], "a.1r1 starts");
    for rerun in 1..5 {
        assert_eq!(s.ends(&format!("a.1r{rerun}"), unknown())[1], format!("a.1r{} starts", rerun + 1));
    }
    assert_eq!(s.ends("a.1r5", unknown())[1], "a unknown: the connection broke");
}

#[test]
fn a_timeout_is_a_failure_unless_it_may_have_destroyed_something() {
    let timed_out = |destructive, idempotent| {
        let mut a = run("a");
        (a.destructive, a.idempotent) = (destructive, idempotent);
        Script::start(chain(vec![a])).0.ends("a.1", TaskEndKind::TimedOut)[0].clone()
    };
    assert_eq!(timed_out(false, false), "a.1 failed: timed out after 1m00s");
    assert_eq!(timed_out(true, false), "a.1 unknown: timed out after 1m00s; it may have taken effect");
    assert_eq!(timed_out(true, true), "a.1 failed: timed out after 1m00s");
}

#[test]
fn a_command_that_was_cut_off_and_had_no_effect_has_failed() {
    let mut a = checked();
    a.destructive = true;
    let (mut s, _) = Script::start(chain(vec![a]));
    s.ends("a.1", TaskEndKind::TimedOut);
    let lines = s.exits("a.1r1.check", 1);
    assert_eq!(lines[1], "a failed: its outcome was unknown, and the check says that it had no effect");
}

#[test]
fn a_later_failure_does_not_clean_what_is_dirty() {
    let mut a = run("a");
    a.idempotent = true;
    a.undo = undo();
    a.retry = Retry { attempts: 2, ..Retry::never() };
    let (mut s, _) = Script::start(chain(vec![a]));
    s.ends("a.1", unknown());
    let never = || TaskEndKind::NotStarted { error: "no such file".into() };
    assert_eq!(s.ends("a.1r1", never())[0], "a.1r1 failed: no such file");
    s.ends("a.2", never());
    assert!(s.state().steps[0].dirty);
    assert_eq!(s.roll_back(), ["rollback: bob asked for it", "resumed", "a.1r3.undo starts"]);
}

/// It failed in the end, but what the lost attempt did was done in the old form.
#[test]
fn what_was_once_in_doubt_is_not_edited_before_a_person_has_looked() {
    let mut a = run("a");
    a.idempotent = true;
    let mut edited = a.clone();
    edited.body = run("b").body;
    let (mut s, _) = Script::start(chain(vec![a]));
    s.ends("a.1", unknown());
    assert_eq!(s.exits("a.1r1", 1)[1], "a failed: exit 1");
    let new = chain(vec![edited]);
    let refused = s.considers(&new).refused;
    assert!(matches!(&refused[..], [why] if why.starts_with("step a was once in doubt")), "{refused:?}");
    s.resolve("a", Resolution::NotDone);
    assert_eq!(s.considers(&new).refused, [""; 0]);
}

#[test]
fn a_lost_check_of_verify_is_polled_again() {
    let mut a = run("a");
    a.verify = vec![check("up")];
    let (mut s, _) = Script::start(chain(vec![a]));
    s.exits("a.1", 0);
    let lines = s.resume(vec![("a.1.verify0.1", lost())]);
    assert_eq!(lines[2], "a.1r2.verify0.2 starts");
}

#[test]
fn a_persons_word() {
    let doubtful = || {
        let mut a = run("a");
        a.verify = vec![check("up")];
        let (mut s, _) = Script::start(chain(vec![a, run("b")]));
        s.ends("a.1", unknown());
        s
    };
    let mut s = doubtful();
    s.resolve("a", Resolution::Done);
    assert_eq!(s.resume(vec![]), ["resumed", "a.1r3.verify0.1 starts"], "done still has to pass verify");
    let lines = s.exits("a.1r3.verify0.1", 1);
    assert_eq!(lines[1], "a failed: up: exit 1", "and is not done again behind the person's back");
    assert_eq!(s.resume(vec![])[1], "a.1r5.verify0.1 starts");

    for resolution in [Resolution::NotDone, Resolution::Retry] {
        let mut s = doubtful();
        s.resolve("a", resolution);
        assert_eq!(s.resume(vec![]), ["resumed", "a.2 starts"]);
    }
    let mut s = doubtful();
    s.resolve("a", Resolution::Done);
    s.resolve("a", Resolution::Retry);
    assert_eq!(s.resume(vec![]), ["resumed", "a.2 starts"], "the last word counts");

    let mut s = doubtful();
    s.resolve("a", Resolution::Skip);
    assert_eq!(s.resume(vec![]), ["resumed", "b.1 starts"]);
}
