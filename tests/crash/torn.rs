//! The journal's last record is cut at every byte, as a power cut could leave it.

use std::fs;

use crate::chance::is_long;
use crate::points::{DONE, three};
use crate::strace::Strace;
use crate::support::World;

/// Killed between the sync of the second step's start record and the order to start it: no command stands behind the
/// last record.
fn killed_before_the_order(strace: &Strace) -> World {
    let world = three();
    // The first `sendto` greets the keeper, the second orders the first step, the third lets the second be made ready.
    strace.start(&world, &["inject=sendto:signal=SIGKILL:when=4"], &["run", "three"]).wait().exits(-9);
    world.assert_nothing_runs();
    assert_eq!(world.ledger(), ["one"]);
    world
}

/// The run's folder as it was, with this journal.
fn put_back(world: &World, run: &str, journal: &[u8]) {
    let (folder, kept) = (world.run_dir(run), world.path("kept"));
    fs::remove_dir_all(&folder).unwrap();
    assert!(world.command("cp").arg("-a").arg(&kept).arg(&folder).status().unwrap().success());
    fs::write(folder.join("journal.jsonl"), journal).unwrap();
    world.write("ledger", "one\n");
}

#[test]
fn the_last_record_is_cut_at_each_byte() {
    let Some(strace) = Strace::found() else { return };
    let world = killed_before_the_order(&strace);
    let run = world.runs().remove(0);
    let journal = fs::read(world.run_dir(&run).join("journal.jsonl")).unwrap();
    let whole = &journal[..journal.len() - 1];
    let last = 1 + whole.iter().rposition(|b| *b == b'\n').expect("a line before");
    assert!(String::from_utf8_lossy(&journal[last..]).contains("task_started"));
    assert!(
        world
            .command("cp")
            .arg("-a")
            .arg(world.run_dir(&run))
            .arg(world.path("kept"))
            .status()
            .unwrap()
            .success()
    );

    let length = journal.len() - last;
    let edge = |cut: usize| cut < 4 || length - cut < 4;
    let cuts: Vec<usize> = (0..=length).filter(|cut| is_long() || edge(*cut) || cut % 16 == 0).collect();
    for cut in &cuts {
        put_back(&world, &run, &journal[..last + cut]);
        world.run(&["resume", &run]).exits(0).says(&["recovered"]);
        assert_eq!(world.ledger(), DONE, "cut after {cut} bytes of the last record");
        let set_aside = world.events_named("tail_set_aside");
        if *cut == 0 || *cut == length {
            assert!(set_aside.is_empty(), "{set_aside:?}");
        } else {
            assert_eq!(set_aside.len(), 1, "cut after {cut} bytes");
            assert_eq!(set_aside[0]["bytes"], *cut);
            let file = world.run_dir(&run).join(set_aside[0]["file"].as_str().unwrap());
            assert_eq!(fs::read(file).unwrap(), &journal[last..last + cut]);
        }
        world.run(&["verify", &run]).exits(0);
    }
    println!("{} cuts of a record of {length} bytes", cuts.len());
    world.assert_nothing_runs();
}
