//! Whose a process is when it has hidden all it can, and who ends a command whose keeper is dead.

mod keeper_support;

use std::path::Path;

use keeper_support::{SpecExt, World, alive, bash, exited, op, task, wait_until};
use runbook::exec::{ExecEvent, Finding};
use runbook::model::{Millis, TaskEndKind};

/// Living processes in the folder, or anywhere if they have left it, whose command line is `sleep LENGTH`.
fn sleepers(length: &str) -> Vec<i32> {
    let line = format!("sleep\0{length}\0");
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        alive(*pid) && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c == line.as_bytes())
    })
    .collect()
}

/// A number of seconds that no other test sleeps, so that a process is found wherever it has gone.
fn length(test: u32, which: u32) -> String {
    format!("{}.{}{which}", 3000 + test, std::process::id())
}

/// Forgets its environment, its session and its parents, and leaves the folder.
fn escape(length: &str) -> String {
    format!("(cd /; env -i setsid -f bash -c 'setsid -f sleep {length} >/dev/null 2>&1 </dev/null &')")
}

/// Those of these lengths are gone when it is.
struct Gone<'a>(&'a [&'a str]);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        for pid in self.0.iter().flat_map(|length| sleepers(length)) {
            keeper_support::kill(pid);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_process_that_hides_is_ended_with_its_own_task_and_no_other() {
    let mut world = World::new();
    let dir = world.dir();
    let (ours, other, daemon) = (length(1, 1), length(1, 2), length(1, 3));
    let lengths = [&*ours, &*other, &*daemon];
    let _gone = Gone(&lengths);
    // One that a task before left behind on purpose.
    assert_eq!(world.run(bash("before.1", &escape(&daemon))).await.0.kind, exited(0));
    let script = format!("{}; touch other-on; while ! test -e go; do sleep 0.05; done", escape(&other));
    world.exec().begin(bash("other.1", &script).in_dir(&dir));
    wait_until("the others", || {
        dir.join("other-on").exists() && !sleepers(&other).is_empty() && !sleepers(&daemon).is_empty()
    });
    let mut spec = bash("ours.1", &format!("{}; touch ours-on; sleep 300", escape(&ours)));
    spec.timeout = Some(Millis::secs(3));
    spec.grace = Millis::secs(1);
    world.exec().begin(spec.in_dir(&dir));
    wait_until("the one that hides", || dir.join("ours-on").exists() && !sleepers(&ours).is_empty());
    let (end, _) = world.end(&task("ours.1")).await;
    assert_eq!(end.kind, TaskEndKind::TimedOut);
    assert!(end.leaked.is_empty(), "{end:?}");
    assert!(sleepers(&ours).is_empty(), "it got away");
    assert_eq!((sleepers(&other).len(), sleepers(&daemon).len()), (1, 1), "a stranger was ended");
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(world.end(&task("other.1")).await.0.kind, exited(0));
    assert_eq!(sleepers(&other).len(), 1, "a normal end ends nobody else");
}

/// A task under way whose keeper is dead: `mains` of its commands are noted.
async fn orphaned(world: &mut World, script: &str, timeout: u64, on: &Path) {
    let dir = world.dir();
    let mut spec = bash("a.1", script).in_dir(&dir);
    spec.timeout = Some(Millis::secs(timeout));
    spec.grace = Millis::secs(2);
    world.exec().begin(spec);
    wait_until("its start", || on.exists() && world.notes().contains(r#"{"started":"#));
    keeper_support::kill(world.keeper());
}

#[tokio::test(flavor = "current_thread")]
async fn the_timeout_of_a_command_outlives_its_keeper() {
    for live_runner in [true, false] {
        let mut world = World::new();
        let (deaf, hidden) = (length(2, 1), length(2, 2));
        let lengths = [&*deaf, &*hidden];
        let _gone = Gone(&lengths);
        let on = world.dir().join("on");
        let script = format!("trap '' TERM; {}; touch on; sleep {deaf}; sleep 300", escape(&hidden));
        orphaned(&mut world, &script, 6, &on).await;
        wait_until("the one that hides", || !sleepers(&hidden).is_empty());
        if live_runner {
            let event = world.exec().next().await;
            assert!(matches!(event, ExecEvent::KeeperLost { .. }), "{event:?}");
        } else {
            let findings = world.attach(&["a.1"]).await;
            assert!(matches!(findings[0], Finding::Running), "{findings:?}");
        }
        let (end, _) = world.end(&task("a.1")).await;
        assert_eq!(end.kind, TaskEndKind::TimedOut);
        assert!(end.duration >= Millis::secs(6) && end.leaked.is_empty(), "{end:?}");
        assert!(sleepers(&deaf).is_empty() && sleepers(&hidden).is_empty(), "something got away");
        assert!(!alive(world.started_pid("a.1")));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_person_ends_a_command_whose_keeper_is_dead() {
    let mut world = World::new();
    let on = world.dir().join("on");
    let script = "trap 'touch asked; exit 0' TERM; touch on; sleep 300 & wait";
    orphaned(&mut world, script, 600, &on).await;
    assert!(matches!(world.attach(&["a.1"]).await[0], Finding::Running));
    world.exec().stop(&task("a.1"), false);
    let (end, _) = world.end(&task("a.1")).await;
    assert_eq!((end.kind, end.leaked), (TaskEndKind::Cancelled, Vec::new()));
    assert!(world.dir().join("asked").exists(), "it was asked before");
    assert!(world.processes("sleep").is_empty() && world.processes("bash").is_empty());

    let mut world = World::new();
    let on = world.dir().join("on");
    orphaned(&mut world, "trap '' TERM; touch on; while :; do sleep 0.2; done", 600, &on).await;
    assert!(matches!(world.attach(&["a.1"]).await[0], Finding::Running));
    world.exec().stop(&task("a.1"), false);
    world.exec().stop(&task("a.1"), true);
    let (end, _) = world.end(&task("a.1")).await;
    assert_eq!((end.kind, end.leaked), (TaskEndKind::Cancelled, Vec::new()));
    assert!(world.processes("sleep").is_empty() && world.processes("bash").is_empty());
}

/// The first command of a pipeline has ended; as long as another one runs, the step does.
#[tokio::test(flavor = "current_thread")]
async fn a_pipeline_without_a_keeper_runs_until_its_last_command_has_ended() {
    let mut world = World::new();
    let dir = world.dir();
    let last = length(3, 1);
    world.exec().begin(op("a.1", &[&["true"], &["sleep", &last]]).in_dir(&dir));
    wait_until("its start", || world.notes().contains(r#"{"started":"#) && !sleepers(&last).is_empty());
    let first = world.started_pid("a.1");
    wait_until("the first one's end", || !alive(first));
    keeper_support::kill(world.keeper());
    assert!(matches!(world.attach(&["a.1"]).await[0], Finding::Running));
    drop(Gone(&[&last]));
    let (end, _) = world.end(&task("a.1")).await;
    assert!(matches!(end.kind, TaskEndKind::Unknown { .. }), "{end:?}");
}
