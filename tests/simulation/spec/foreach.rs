//! A step that is done for each item of a list.

use runbook::model::{Answer, Resolution, StepOutcome, TaskEndKind};
use runbook::plan::{ForEach, ItemCount, ItemsVerdict, OnItemFailure, Plan, Retry, Step};

use super::{Script, lost, unknown};
use crate::plans::{ask, chain, check, each, expr, for_each, run, undo};
use crate::random::Random;
use OnItemFailure::{Continue, Stop};

/// `all`, for each of so many items, then `after`.
fn items_like(item: &Step, items: usize, rule: ForEach) -> Plan {
    let mut steps = for_each(0, "all", items, rule, item);
    steps.push(run("after"));
    chain(steps)
}

fn items(items: usize, rule: ForEach) -> Plan {
    items_like(&run("x"), items, rule)
}

#[test]
fn each_item_is_a_step_and_the_group_is_done_with_the_last() {
    let (mut s, lines) = Script::start(items(2, each(None, Stop, None)));
    assert_eq!(lines, ["all opens", "all/1.1 starts", "all/2.1 starts"]);
    assert_eq!(s.exits("all/2.1", 0), ["all/2.1 passed", "all/2 succeeded"]);
    assert_eq!(
        s.exits("all/1.1", 0),
        ["all/1.1 passed", "all/1 succeeded", "all succeeded", "after.1 starts"]
    );
    assert_eq!(s.exits("after.1", 0)[2], "run recovered");
}

#[test]
fn no_more_items_at_once_than_it_allows() {
    let (mut s, lines) = Script::start(items(4, each(Some(2), Stop, None)));
    assert_eq!(lines, ["all opens", "all/1.1 starts", "all/2.1 starts"]);
    assert_eq!(s.exits("all/2.1", 0)[2..], ["all/3.1 starts"]);
    assert_eq!(s.exits("all/3.1", 0)[2..], ["all/4.1 starts"]);
    // The plan's own limit counts, too.
    let mut plan = items(3, each(Some(3), Stop, None));
    plan.max_parallel = 1;
    let (_, lines) = Script::start(plan);
    assert_eq!(lines, ["all opens", "all/1.1 starts"]);
}

/// One whose next attempt is due later holds its place: the rest of a rolling restart does not overtake it.
#[test]
fn an_item_between_two_attempts_is_under_way() {
    let mut item = run("x");
    item.retry = Retry { attempts: 2, delay: runbook::model::Millis(1000), ..Retry::never() };
    let (mut s, _) = Script::start(items_like(&item, 2, each(Some(1), Stop, None)));
    assert_eq!(s.exits("all/1.1", 1), ["all/1.1 failed: exit 1", "all/1 again in 1000"]);
    assert_eq!(s.tick(1000), ["all/1.2 starts"]);
    assert_eq!(s.exits("all/1.2", 0)[1..], ["all/1 succeeded", "all/2.1 starts"]);
}

#[test]
fn stop_begins_no_other_item_and_waits_for_those_that_run() {
    let (mut s, _) = Script::start(items(4, each(Some(2), Stop, None)));
    assert_eq!(s.exits("all/1.1", 1), ["all/1.1 failed: exit 1", "all/1 failed: exit 1"]);
    let lines = s.exits("all/2.1", 0);
    let why = "1 of 4 items are done; all/1: exit 1";
    assert_eq!(lines[2..], [format!("all failed: {why}"), format!("run failed: step all failed: {why}")]);
}

#[test]
fn a_resume_repeats_only_the_unfinished() {
    let (mut s, _) = Script::start(items(4, each(Some(2), Stop, None)));
    s.exits("all/1.1", 1);
    s.exits("all/2.1", 0);
    assert_eq!(s.resume(vec![]), ["resumed", "all/1.2 starts", "all/3.1 starts"]);
    s.exits("all/1.2", 0);
    s.exits("all/3.1", 0);
    let lines = s.exits("all/4.1", 0);
    assert_eq!(lines[1..], ["all/4 succeeded", "all succeeded", "after.1 starts"]);
    assert_eq!(s.state().steps[2].attempts, 1, "what was done once is not done again");
}

#[test]
fn continue_tries_them_all() {
    let (mut s, _) = Script::start(items(3, each(Some(1), Continue, None)));
    assert_eq!(s.exits("all/1.1", 1)[2..], ["all/2.1 starts"]);
    assert_eq!(s.exits("all/2.1", 0)[2..], ["all/3.1 starts"]);
    let lines = s.exits("all/3.1", 2);
    assert_eq!(lines[2], "all failed: 1 of 3 items are done; all/1: exit 1");
    // Those that failed, and no other.
    assert_eq!(s.resume(vec![]), ["resumed", "all/1.2 starts"]);
    assert_eq!(s.exits("all/1.2", 0)[2..], ["all/3.2 starts"]);
}

#[test]
fn with_a_quorum_the_run_goes_on_and_is_degraded() {
    let (mut s, _) = Script::start(items(3, each(None, Continue, Some(2))));
    s.exits("all/2.1", 7);
    s.exits("all/1.1", 0);
    assert_eq!(s.exits("all/3.1", 0)[1..], ["all/3 succeeded", "all succeeded", "after.1 starts"]);
    assert_eq!(s.exits("after.1", 0)[2], "run degraded: step all/2 failed and the run went on");
}

#[test]
fn one_fewer_than_the_quorum_is_not_enough() {
    let (mut s, _) = Script::start(items(3, each(None, Continue, Some(2))));
    s.exits("all/2.1", 7);
    s.exits("all/1.1", 0);
    let lines = s.exits("all/3.1", 1);
    assert_eq!(lines[2], "all failed: 1 of 3 items are done, and 2 are needed; all/2: exit 7");
}

/// The others are tried all the same: a quorum says how little is enough, not how much is wanted.
#[test]
fn enough_is_no_reason_to_leave_the_rest_out() {
    let (mut s, _) = Script::start(items(3, each(Some(1), Continue, Some(1))));
    assert_eq!(s.exits("all/1.1", 0)[2..], ["all/2.1 starts"]);
    assert_eq!(s.exits("all/2.1", 0)[2..], ["all/3.1 starts"]);
}

#[test]
fn stop_after_the_quorum_leaves_the_rest_out() {
    let (mut s, _) = Script::start(items(3, each(Some(1), Stop, Some(1))));
    s.exits("all/1.1", 0);
    let lines = s.exits("all/2.1", 1);
    let left_out = "all/3 skipped: another item was not done, and enough are";
    assert_eq!(lines[2..], [left_out, "all succeeded", "after.1 starts"]);
}

#[test]
fn without_a_quorum_an_item_in_doubt_stops_the_run_once_the_others_are_over() {
    let (mut s, _) = Script::start(items(2, each(None, Continue, None)));
    assert_eq!(s.ends("all/1.1", unknown())[1..], ["all/1 unknown: the connection broke"]);
    let doubt = "run in-doubt: step all/1 is in doubt: the connection broke";
    assert_eq!(s.exits("all/2.1", 0)[1..], ["all/2 succeeded", doubt]);
    assert_eq!(s.resume(vec![]), ["resumed", doubt], "without a word nothing changes");
    s.resolve("all/1", Resolution::Done);
    assert_eq!(s.resume(vec![]), ["resumed", "all/1 succeeded", "all succeeded", "after.1 starts"]);
}

#[test]
fn not_done_is_done_again_and_left_out_is_not_missed() {
    for (resolution, then) in [
        (Resolution::NotDone, vec!["resumed", "all/1.2 starts"]),
        (Resolution::Retry, vec!["resumed", "all/1.2 starts"]),
        (Resolution::Skip, vec!["resumed", "all succeeded", "after.1 starts"]),
    ] {
        let (mut s, _) = Script::start(items(2, each(None, Stop, None)));
        s.ends("all/1.1", unknown());
        s.exits("all/2.1", 0);
        s.resolve("all/1", resolution);
        assert_eq!(s.resume(vec![]), then);
    }
}

/// The quorum is surely reached whatever the lost one did; that nobody knows it is said at the end.
#[test]
fn with_a_quorum_the_run_goes_on_without_the_one_in_doubt() {
    let (mut s, _) = Script::start(items(3, each(None, Continue, Some(2))));
    s.ends("all/1.1", unknown());
    s.exits("all/2.1", 0);
    assert_eq!(s.exits("all/3.1", 0)[1..], ["all/3 succeeded", "all succeeded", "after.1 starts"]);
    let end = "run degraded: nobody knows what step all/1 did; the run went on";
    assert_eq!(s.exits("after.1", 0)[2], end);
    assert_eq!(s.state().steps[1].outcome(), Some(StepOutcome::Unknown), "and it stays unknown");
}

#[test]
fn a_quorum_that_hangs_on_the_one_in_doubt_waits_for_a_person() {
    let (mut s, _) = Script::start(items(3, each(None, Continue, Some(2))));
    s.ends("all/1.1", unknown());
    s.exits("all/2.1", 0);
    let lines = s.exits("all/3.1", 1);
    assert_eq!(lines[2], "run in-doubt: step all/1 is in doubt: the connection broke");
    s.resolve("all/1", Resolution::Done);
    // What failed may be tried again by a resume, as everywhere.
    assert_eq!(s.resume(vec![]), ["resumed", "all/1 succeeded", "all/3.2 starts"]);
}

/// What it may have done is taken back with the rest, although the run went on without it.
#[test]
fn every_item_that_may_have_acted_is_taken_back_the_last_one_first() {
    let mut item = run("x");
    item.undo = undo();
    let mut plan = items_like(&item, 3, each(Some(1), Continue, Some(1)));
    plan.steps[4].on_failure = runbook::plan::OnFailure::Rollback;
    let (mut s, _) = Script::start(plan);
    s.exits("all/1.1", 0);
    s.ends("all/2.1", unknown());
    s.exits("all/3.1", 1);
    let lines = s.exits("after.1", 1);
    assert_eq!(lines[2..], ["rollback: step after failed: exit 1", "all/3.1.undo starts"]);
    assert_eq!(s.exits("all/3.1.undo", 0)[2..], ["all/2.1r1.undo starts"]);
    assert_eq!(s.exits("all/2.1r1.undo", 0)[2..], ["all/1.1.undo starts"]);
    let end = "run rolled-back: step after failed: exit 1";
    assert_eq!(s.exits("all/1.1.undo", 0)[2..], [end]);
}

#[test]
fn a_check_tells_of_an_item_what_nobody_knew() {
    let mut item = run("x");
    item.check = Some(check("there").into());
    let (mut s, _) = Script::start(items_like(&item, 2, each(None, Stop, None)));
    s.exits("all/2.1", 0);
    let lines = s.resume(vec![("all/1.1", lost())]);
    assert_eq!(lines[1..], ["all/1.1 unknown: the keeper is gone", "all/1.1r2.check starts"]);
    assert_eq!(s.exits("all/1.1r2.check", 0)[1..], ["all/1 succeeded", "all succeeded", "after.1 starts"]);
}

#[test]
fn it_is_approved_once() {
    let mut plan = items(2, each(Some(1), Stop, None));
    let mut question = ask(&mut Random::new(1));
    (question.count, question.approvers, question.timeout) = (1, vec!["bob".into()], None);
    plan.steps[0].approval = Some(Box::new(question));
    let (mut s, lines) = Script::start(plan);
    assert_eq!(lines, ["all asks 1: Approval"]);
    assert_eq!(s.says("bob", "all", Answer::Approve)[1..], ["all opens", "all/1.1 starts"]);
    assert_eq!(s.exits("all/1.1", 0)[2..], ["all/2.1 starts"]);
}

#[test]
fn without_items_it_is_skipped_before_anybody_is_asked() {
    let mut plan = items(0, each(None, Stop, None));
    plan.steps[0].approval = Some(Box::new(ask(&mut Random::new(1))));
    let (_, lines) = Script::start(plan);
    assert_eq!(lines, ["all skipped: there are no items", "after.1 starts"]);
    let mut plan = items(2, each(None, Stop, None));
    plan.steps[0].when = Some(expr("false"));
    let (_, lines) = Script::start(plan);
    let skipped = ["all/1 skipped: step all was skipped", "all/2 skipped: step all was skipped"];
    assert_eq!(lines[..2], skipped);
}

#[test]
fn who_is_cancelled_goes_on_with_the_unfinished() {
    let (mut s, _) = Script::start(items(3, each(Some(2), Stop, None)));
    s.exits("all/1.1", 0);
    s.cancel();
    s.ends("all/2.1", TaskEndKind::Cancelled);
    let lines = s.ends("all/3.1", TaskEndKind::Cancelled);
    assert_eq!(lines.last().expect("a line"), "run cancelled: stopped by dave");
    assert_eq!(s.resume(vec![]), ["resumed", "all/2.2 starts", "all/3.2 starts"]);
}

/// The table of docs/playbooks.md, as a person reads it, against every way in which up to five items can stand.
#[test]
fn what_the_items_come_to() {
    let mut seen = [0_usize; 4];
    for standing in standings(5) {
        let [pending, active, done, skipped, failed, cancelled, unknown] = standing;
        let count = ItemCount { pending, active, done, skipped, failed, cancelled, unknown };
        for rule in rules(count.total()) {
            let not_done = failed + cancelled + unknown > 0;
            let needed = match rule.at_least {
                Some(least) => least,
                None => count.total() - skipped,
            };
            let may_begin = pending > 0 && (rule.on_item_failure == Continue || !not_done);
            let expected = if active > 0 || may_begin {
                ItemsVerdict::Open
            } else if done >= needed {
                ItemsVerdict::Done
            } else if unknown > 0 {
                ItemsVerdict::InDoubt
            } else {
                ItemsVerdict::Failed
            };
            assert_eq!(rule.verdict(&count), expected, "{rule:?} {count:?}");
            seen[expected as usize] += 1;
        }
    }
    assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
}

/// Every way to spread up to so many items over the seven places.
fn standings(most: usize) -> Vec<[usize; 7]> {
    let mut all = vec![[0; 7]];
    for place in 0..7 {
        let wider = all.iter().flat_map(|known| {
            let left = most - known.iter().sum::<usize>();
            (0..=left).map(|n| {
                let mut next = *known;
                next[place] = n;
                next
            })
        });
        all = wider.collect();
    }
    all
}

fn rules(items: usize) -> Vec<ForEach> {
    let quorums = std::iter::once(None).chain((1..=items).map(Some));
    quorums.flat_map(|least| [Stop, Continue].map(|then| each(None, then, least))).collect()
}
