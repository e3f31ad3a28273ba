//! Ten thousand commands through one keeper leave nothing behind: no descriptor, no process, no file.

mod keeper_support;

use std::time::Instant;

use keeper_support::{World, bash, exited, op, wait_until};
use runbook::exec::ExecEvent;

/// How many at once, as in a run with many branches.
const AT_ONCE: usize = 16;

const SPAWNS: usize = 10_000;

fn open(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Commands of every kind: silent ones, with output, input, a pipeline, that fail, that cannot start, with a child that
/// is left to the keeper.
fn nth(world: &World, n: usize) -> runbook::exec::TaskSpec {
    let id = format!("s.{n}");
    let mut spec = match n % 40 {
        0 => bash(&id, "echo out; echo err >&2; exit 3"),
        1 => op(&id, &[&["echo", "a"], &["cat"], &["cat"]]),
        2 => op(&id, &[&["no-such-program-here"]]),
        // Its child is nobody's but the keeper's, which has to collect it.
        3 => bash(&id, "(sleep 0.01 >/dev/null 2>&1 &)"),
        _ => op(&id, &[&["true"]]),
    };
    if let runbook::model::Op::Process(process) = &mut spec.op {
        process.workdir = world.dir();
        if n % 40 == 4 {
            process.stdin = Some(runbook::model::SecretText::plain("unread"));
        }
    }
    spec
}

#[tokio::test(flavor = "current_thread")]
async fn ten_thousand_spawns_leak_no_descriptor_and_no_process() {
    let mut world = World::new();
    assert_eq!(world.run(op("warm.1", &[&["true"]])).await.0.kind, exited(0));
    let keeper = world.keeper();
    let own = i32::try_from(std::process::id()).unwrap();
    let before = (open(keeper), open(own));
    let (total, began) = (SPAWNS, Instant::now());
    let (mut begun, mut ended, mut most) = (0, 0, (0, 0));
    while ended < total {
        while begun < total && begun - ended < AT_ONCE {
            let spec = nth(&world, begun);
            world.exec().begin(spec);
            begun += 1;
        }
        match world.exec().next().await {
            ExecEvent::Output { .. } => {}
            ExecEvent::Ended { end, .. } => {
                assert!(end.leaked.is_empty(), "{end:?}");
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
        if ended % 64 == 0 {
            most = (most.0.max(open(keeper)), most.1.max(open(own)));
        }
    }
    println!(
        "{total} spawns in {:?}: the keeper had {} descriptors before, {} at most; the runner {} and {}",
        began.elapsed(),
        before.0,
        most.0,
        before.1,
        most.1
    );
    // Two pipes with both ends and an input and its output's file for each that runs at once, and a few for the moment.
    assert!(most.0 <= before.0 + 8 * AT_ONCE, "the keeper held {} descriptors", most.0);
    assert!(most.1 <= before.1 + 8, "the runner held {} descriptors", most.1);
    wait_until("the last children", || world.children_of(keeper).is_empty());
    // It tells of an end first and then closes what it has read to the end.
    wait_until("the last descriptors to be closed", || (open(keeper), open(own)) == before);
    assert_eq!(world.run(op("last.1", &[&["true"]])).await.0.kind, exited(0), "it goes on");
    wait_until("its descriptors to be closed", || open(keeper) == before.0);
    // Only what has written has a file: 40 spawns make three.
    let files = std::fs::read_dir(world.dir().join("output")).unwrap().count();
    assert_eq!(files, [0, 0, 1].map(|n| (total - n).div_ceil(40)).iter().sum::<usize>());
}
