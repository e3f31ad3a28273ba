//! Going on with a playbook that was edited while the run lay still.

use crate::support::{World, differing, kill_hard, wait_until};

const TWO: &str = "      - { id: two, title: Two, run: 'echo two {{ params.n }} >> ledger' }\n";
const THREE: &str =
    "      - { id: three, title: Three, needs: [two], run: 'echo three >> ledger; exit 3' }\n";
const FOUR: &str = "      - { id: four, title: Four, needs: [three], run: echo four >> ledger }\n";

fn book(world: &World, prepare: &str, work: &[&str]) {
    let head = "params:\n  n: { type: integer, default: 1 }\nphases:\n  - id: prepare\n    steps:\n";
    let one =
        "      - { id: one, title: One, run: echo one >> ledger, undo: { run: echo undo-one >> ledger } }\n";
    let work = work.concat();
    world.playbook("edited", &format!("{head}{one}{prepare}  - id: work\n    steps:\n{work}"));
}

/// A run that failed in its third step.
fn failed() -> World {
    let world = World::new();
    book(&world, "", &[TWO, THREE, FOUR]);
    world.run(&["run", "edited", "-p", "n=7"]).exits(1);
    assert_eq!(world.ledger(), ["one", "two 7", "three"]);
    world
}

/// Refused, and nothing in the state folder is another.
#[track_caller]
fn refused(world: &World, args: &[&str], says: &[&str]) {
    // A keeper that leaves notes it.
    world.assert_nothing_runs();
    let before = world.files();
    world.run(&[&["resume", "last"], args].concat()).exits(8).says(says);
    assert_eq!(differing(&before, &world.files()), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_mended_step_and_a_new_one_are_carried_out_and_nothing_is_repeated() {
    let world = failed();
    let mended = "      - { id: three, title: Three, needs: [two], timeout: 1m, run: 'echo mended {{ params.n }} >> ledger' }\n";
    let five = "      - { id: five, title: Five, needs: [four], run: echo five >> ledger }\n";
    book(&world, "", &[TWO, mended, FOUR, five]);
    // A keeper that leaves notes it.
    world.assert_nothing_runs();
    let before = world.files();
    let shown = world.run(&["resume", "last", "--replan", "--dry-run"]).exits(0);
    shown.says(&["+ five", "~ three", "echo three >> ledger; exit 3\n", "echo mended {{ params.n }}"]);
    assert_eq!(differing(&before, &world.files()), Vec::<std::path::PathBuf>::new());

    // Without --replan the stored plan goes on.
    world.run(&["resume", "last"]).exits(1);
    assert_eq!(world.ledger(), ["one", "two 7", "three", "three"]);

    world.run(&["resume", "last", "--replan"]).exits(0).says(&["recovered"]);
    assert_eq!(world.ledger()[4..], ["mended 7", "four", "five"]);
    let replanned = &world.events_named("replanned")[0];
    assert_eq!(replanned["added"], serde_json::json!(["five"]));
    assert_eq!(replanned["changed"], serde_json::json!(["three"]));
    world.run(&["verify"]).exits(0).says(&["the plan is what was recorded"]);
    world.run(&["report"]).exits(0).says(&["replanned", "new: five; changed: three"]);
    world.run(&["status"]).exits(0).says(&["recovered"]);
    // What was done is taken back by the plan in force.
    world.run(&["rollback", "last", "--yes"]).exits(6);
    assert_eq!(world.ledger().last().unwrap(), "undo-one");
}

#[test]
fn what_was_done_in_another_form_is_in_doubt_until_somebody_accepts_it() {
    let world = failed();
    let other = TWO.replace("echo two", "echo zwei");
    let mended = THREE.replace("; exit 3", "");
    book(&world, "", &[&other, &mended, FOUR]);
    let says = ["it is succeeded in its old form; changed: action", "--accept two", "runbook rollback"];
    refused(&world, &["--replan"], &says);
    world.run(&["resume", "last", "--replan", "--accept", "two"]).exits(0).says(&["accepted"]);
    assert_eq!(world.ledger(), ["one", "two 7", "three", "three", "four"]);
    assert_eq!(world.events_named("replanned")[0]["accepted"], serde_json::json!(["two"]));
    world.run(&["report"]).exits(0).says(&["stands as it was done: two"]);
}

#[test]
fn a_title_a_retry_and_an_undo_of_a_step_that_is_done_are_no_doubt() {
    let world = failed();
    let other = "      - { id: two, title: Zwei, retry: { attempts: 3 }, run: 'echo two {{ params.n }} >> ledger', \
                 undo: { run: echo undo-two >> ledger } }\n";
    book(&world, "", &[other, &THREE.replace("; exit 3", ""), FOUR]);
    world.run(&["resume", "last", "--replan"]).exits(0).says(&["undo", "undo-two"]);
    world.run(&["rollback", "last", "--yes"]).exits(6);
    assert_eq!(world.ledger()[5..], ["undo-two", "undo-one"]);
}

#[test]
fn a_step_that_has_begun_cannot_be_left_out_and_one_that_has_not_can() {
    let world = failed();
    book(&world, "", &[&THREE.replace("needs: [two], ", ""), FOUR]);
    refused(&world, &["--replan"], &["step two has begun and cannot be left out"]);
    book(&world, "", &[TWO, &THREE.replace("; exit 3", "")]);
    world.run(&["resume", "last", "--replan"]).exits(0).says(&["- four  has not begun"]);
    assert_eq!(world.ledger(), ["one", "two 7", "three", "three"]);
}

#[test]
fn nothing_is_put_where_the_run_has_passed() {
    let world = failed();
    let late = "      - { id: late, title: Late, run: echo late >> ledger }\n";
    book(&world, late, &[TWO, &THREE.replace("; exit 3", ""), FOUR]);
    refused(&world, &["--replan"], &["new step late would never start", "phase prepare is over"]);
    // Before a step that is done: somebody has to say that this is meant.
    let needy = TWO.replace("title: Two", "title: Two, needs: [late]");
    book(&world, "", &[late, &needy, &THREE.replace("; exit 3", ""), FOUR]);
    refused(&world, &["--replan"], &["needs late, which has not run", "--accept two"]);
    world.run(&["resume", "last", "--replan", "--accept", "two"]).exits(0);
    let ledger = world.ledger();
    assert_eq!(ledger.iter().filter(|l| l.starts_with("two")).count(), 1);
    assert!(ledger.contains(&"late".to_owned()));
}

#[test]
fn doubt_is_settled_before_the_plan_changes() {
    let world = World::new();
    let two = "      - { id: two, title: Two, destructive: true, timeout: 200ms, run: 'echo two >> ledger; sleep 60' }\n";
    book(&world, "", &[two, FOUR.replace("three", "two").as_str()]);
    world.run(&["run", "edited", "--yes"]).exits(5);
    book(&world, "", &[&two.replace("sleep 60", "sleep 0"), FOUR.replace("three", "two").as_str()]);
    refused(&world, &["--replan"], &["nobody knows what step two did", "runbook resolve"]);
    world.run(&["resolve", "last", "two", "--not-done", "--reason", "looked"]).exits(0);
    world.run(&["resume", "last", "--replan"]).exits(0);
    assert_eq!(world.ledger(), ["one", "two", "two", "four"]);
}

#[test]
fn a_rollback_goes_on_with_the_undo_it_began_with() {
    let world = World::new();
    let three = THREE.replace("title: Three", "title: Three, on_failure: rollback, undo: { run: exit 1 }");
    book(&world, "", &[TWO, &three, FOUR]);
    world.run(&["run", "edited"]).exits(7);
    book(&world, "", &[TWO, &three.replace("exit 1", "exit 0"), FOUR]);
    refused(&world, &["--replan"], &["is being taken back"]);
}

#[test]
fn it_is_the_same_playbook_with_the_same_values() {
    let world = failed();
    world.playbook("other", "steps:\n  - { id: one, title: One, run: 'true' }\n");
    refused(&world, &["--replan=other"], &["it is another playbook: other instead of edited"]);
    world.run(&["resume", "last", "--replan=nowhere"]).exits(2);
    world.run(&["resume", "last", "--accept", "two"]).exits(2).says(&["--replan"]);
    world.run(&["resume", "last", "--replan", "--accept", "nobody"]).exits(2).says(&["no such step"]);
    // Broken YAML is told with its place, and the run stays as it is.
    book(&world, "", &[TWO, "      - { id: three, titel: Three, run: 'true' }\n"]);
    world.run(&["resume", "last", "--replan"]).exits(2).says(&["titel"]);
    // The same text: nothing to adopt.
    book(&world, "", &[TWO, THREE, FOUR]);
    world.run(&["resume", "last", "--replan"]).exits(1).says(&["has not changed"]);
    assert!(world.events_named("replanned").is_empty());
}

#[test]
fn a_crash_after_it_goes_on_with_the_new_plan() {
    let world = failed();
    let slow = THREE.replace("echo three >> ledger; exit 3", "echo mended >> ledger; sleep 1");
    book(&world, "", &[TWO, &slow, FOUR]);
    let running = world.start(&["resume", "last", "--replan"]);
    wait_until("the mended step", || world.ledger().len() == 4);
    kill_hard(running.pid());
    running.wait();
    // The playbook on the disk is another one again; the stored plan counts.
    book(&world, "", &[TWO, THREE, FOUR]);
    world.run(&["resume", "last"]).exits(0);
    assert_eq!(world.ledger(), ["one", "two 7", "three", "mended", "four"]);
}

#[test]
fn a_changed_file_of_the_new_plan_is_found() {
    let world = failed();
    book(&world, "", &[TWO, &THREE.replace("; exit 3", "; exit 4"), FOUR]);
    world.run(&["resume", "last", "--replan"]).exits(1);
    let dir = world.run_dir(&world.last_run());
    let file = world.events_named("replanned")[0]["file"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(dir.join(&file)).unwrap();
    std::fs::write(dir.join(&file), text.replace("exit 4", "exit 0")).unwrap();
    world.run(&["verify"]).exits(8).says(&[&format!("{file} is NOT the plan that was recorded")]);
    world.run(&["resume", "last"]).exits(8).says(&["is not what the run goes by"]);
}
