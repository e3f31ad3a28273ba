//! Tasks carried out by the real keeper: how they end, what they leave, who survives whom.

mod keeper_support;

use std::time::{Duration, Instant};

use keeper_support::{SpecExt, World, alive, bash, exited, op, state, task, wait_until};
use runbook::exec::{ExecEvent, Finding};
use runbook::model::{Millis, Piece, SecretName, SecretText, TaskEndKind, Want};

#[tokio::test(flavor = "current_thread")]
async fn exit_codes_signals_and_output() {
    let mut world = World::new();
    let (end, output) = world.run(bash("a.1", "echo out; echo err >&2; exit 3")).await;
    assert_eq!(end.kind, exited(3));
    assert_eq!(output.stdout, Some(Ok("out\n".into())));
    assert_eq!(output.stderr, Some(Ok("err\n".into())));
    assert_eq!((end.stdout_bytes, end.stderr_bytes), (4, 4));
    assert_eq!(world.file("a.1.out").unwrap(), b"out\n");
    assert_eq!(world.file("a.1.err").unwrap(), b"err\n");
    let (end, _) = world.run(bash("b.1", "kill -9 $$")).await;
    assert_eq!(end.kind, TaskEndKind::Signaled { signal: 9 });
    let (end, output) = world.run(bash("c.1", "true")).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(output.stdout, Some(Ok(String::new())));
    assert!(
        world.file("c.1.out").is_none() && world.file("c.1.err").is_none(),
        "a silent command costs no file"
    );
}

fn not_started(kind: &TaskEndKind) -> &str {
    match kind {
        TaskEndKind::NotStarted { error } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_cannot_start_says_why() {
    let mut world = World::new();
    let run = world.dir();
    let (end, _) = world.run(op("a.1", &[&["no-such-program-here"]])).await;
    assert_eq!(not_started(&end.kind), "no-such-program-here: no such program in PATH");
    let nowhere = run.join("nowhere");
    let (end, _) = world.run(bash("b.1", "true").in_dir(&nowhere)).await;
    assert_eq!(not_started(&end.kind), format!("the working folder {} does not exist", nowhere.display()));
    std::fs::write(run.join("plain"), "x").unwrap();
    let plain = run.join("plain").display().to_string();
    let (end, _) = world.run(op("c.1", &[&[&plain]])).await;
    assert_eq!(not_started(&end.kind), format!("{plain}: may not be executed (permission denied)"));
    let (end, _) = world.run(op("d.1", &[&["true", &"x".repeat(3 << 20)]])).await;
    assert!(not_started(&end.kind).contains("too long for the kernel"), "{end:?}");
    let (end, _) = world.run(op("e.1", &[&["echo", "hi"], &["no-such-program-here"]])).await;
    assert_eq!(not_started(&end.kind), "no-such-program-here: no such program in PATH");
    let (end, _) = world.run(op("f.1", &[&["true", "a\0b"]])).await;
    assert!(not_started(&end.kind).contains("NUL"), "{end:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn pipelines_and_stdin() {
    let mut world = World::new();
    let mut spec = op("a.1", &[&["cat"], &["tr", "a-z", "A-Z"], &["sort"]]);
    spec.process().stdin = Some(SecretText::plain("b\na\n"));
    let (end, output) = world.run(spec).await;
    assert_eq!((end.kind, output.stdout), (exited(0), Some(Ok("A\nB\n".into()))));
    let (end, _) =
        world.run(op("b.1", &[&["bash", "-c", "exit 3"], &["bash", "-c", "exit 4"], &["cat"]])).await;
    assert_eq!(end.kind, exited(4));
    // More than a pipe holds, to a command that reads late, and to one that does not read at all.
    let text = "0123456789abcdef".repeat(1 << 16);
    let mut spec = bash("c.1", "sleep 0.2; wc -c");
    spec.process().stdin = Some(SecretText::plain(text.clone()));
    let (end, output) = world.run(spec).await;
    assert_eq!((end.kind, output.stdout.unwrap().unwrap().trim()), (exited(0), "1048576"));
    let mut spec = bash("d.1", "exit 0");
    spec.process().stdin = Some(SecretText::plain(text));
    assert_eq!(world.run(spec).await.0.kind, exited(0));
    let (end, output) = world.run(bash("e.1", "cat; echo empty")).await;
    assert_eq!((end.kind, output.stdout), (exited(0), Some(Ok("empty\n".into()))));
}

#[tokio::test(flavor = "current_thread")]
async fn output_is_kept_byte_for_byte_and_shown() {
    let mut world = World::new();
    let (end, output) = world.run(bash("a.1", r"printf '\xff\x00\x1b[31mx'")).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(world.file("a.1.out").unwrap(), b"\xff\0\x1b[31mx");
    assert!(output.stdout.unwrap().unwrap_err().contains("not UTF-8"));
    assert_eq!(world.shown, b"\xff\0\x1b[31mx");
}

#[tokio::test(flavor = "current_thread")]
async fn a_flood_without_a_newline_stays_bounded() {
    let mut world = World::with(|config| config.output_cap = 4 << 20);
    let script = "echo BEGIN; head -c 300000000 /dev/zero; grep VmHWM /proc/$PPID/status >&2; echo END";
    let (end, output) = world.run(bash("a.1", script)).await;
    assert_eq!(end.kind, exited(0));
    assert!(end.truncated);
    assert_eq!(end.stdout_bytes, 300_000_010);
    assert_eq!(
        output.stdout.unwrap().unwrap_err(),
        "it wrote 286.1 MiB, more than the 8 MiB an expression may read; write what you need to $RUNBOOK_OUTPUT"
    );
    let file = world.file("a.1.out").unwrap();
    assert!(file.starts_with(b"BEGIN\n\0") && file.ends_with(b"\0END\n"));
    let missing = 300_000_010 - (4 << 20) - (1 << 20);
    let marker = format!("\n[runbook: {missing} bytes are missing here]\n");
    assert_eq!(file.len(), (5 << 20) + marker.len());
    let peak: u64 = output.stderr.unwrap().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(peak < 40_000, "the keeper took {peak} kB");
}

#[tokio::test(flavor = "current_thread")]
async fn a_runner_that_does_not_read_stops_nobody() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("a.1", "head -c 20000000 /dev/zero; touch done").in_dir(&dir));
    // Blocks this thread: nothing is read meanwhile.
    wait_until("the command to end", || dir.join("done").exists());
    let (end, _) = world.end(&task("a.1")).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(world.file("a.1.out").unwrap().len(), 20_000_000);
    assert!(world.shown.len() < 20_000_000);
}

#[tokio::test(flavor = "current_thread")]
async fn a_timeout_ends_the_whole_tree() {
    let mut world = World::new();
    let script =
        "trap '' TERM; (setsid sleep 300 &); echo $$; (trap '' TERM; env -i setsid -f sleep 301); sleep 300";
    let mut spec = bash("a.1", script);
    spec.timeout = Some(Millis(700));
    spec.grace = Millis(300);
    let began = Instant::now();
    let (end, output) = world.run(spec).await;
    assert_eq!(end.kind, TaskEndKind::TimedOut);
    assert!(end.leaked.is_empty() && !end.leaky, "{end:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(end.duration >= Millis(700));
    let pid: i32 = output.stdout.unwrap().unwrap().trim().parse().unwrap();
    assert!(!alive(pid));
    assert_eq!(world.processes("sleep"), Vec::<i32>::new());
}

#[tokio::test(flavor = "current_thread")]
async fn a_bounded_fork_bomb_ends() {
    let mut world = World::new();
    // Every process starts two more, five deep, all of them deaf to TERM.
    let script = r#"trap '' TERM
        bomb() { if [ "$1" -gt 0 ]; then for i in 1 2; do (bomb $(($1 - 1))) & done; fi; sleep 300; }
        bomb 5"#;
    let mut spec = bash("a.1", script);
    spec.timeout = Some(Millis(500));
    spec.grace = Millis(100);
    let (end, _) = world.run(spec).await;
    assert_eq!(end.kind, TaskEndKind::TimedOut);
    assert!(end.leaked.is_empty(), "{end:?}");
    assert_eq!(world.processes("sleep"), Vec::<i32>::new());
}

/// Children that are born in the very moment in which their parent is asked to end are asked, too: nothing waits for
/// the end of the grace.
#[tokio::test(flavor = "current_thread")]
async fn who_is_born_while_the_tree_is_asked_is_asked_as_well() {
    let mut world = World::new();
    let dir = world.dir();
    for round in 1..=10 {
        let id = format!("a.{round}");
        let mut spec = bash(&id, "echo on; for i in $(seq 400); do sleep 300 & done; wait").in_dir(&dir);
        spec.grace = Millis::secs(600);
        world.exec().begin(spec);
        wait_until("the start", || world.file(&format!("{id}.out")).is_some());
        world.exec().stop(&task(&id), false);
        let ended = tokio::time::timeout(Duration::from_secs(60), world.end(&task(&id))).await;
        let (end, _) = ended.unwrap_or_else(|_| panic!("left: {:?}", world.processes("sleep")));
        assert_eq!(end.kind, TaskEndKind::Cancelled);
        assert!(end.leaked.is_empty(), "{end:?}");
        assert_eq!(world.processes("sleep"), Vec::<i32>::new());
    }
}

/// The kernel shows a process whose first thread has ended as a zombie, though the others go on.
#[tokio::test(flavor = "current_thread")]
async fn a_process_without_its_first_thread_is_ended_as_well() {
    let mut world = World::new();
    let script = "import ctypes, os, signal, sys, threading, time\n\
                  signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                  threading.Thread(target=time.sleep, args=(90,)).start()\n\
                  print(os.getpid(), flush=True)\n\
                  ctypes.CDLL(None).pthread_exit(None)\n";
    let mut spec = bash("a.1", &format!("setsid -f python3 -c '{script}'; sleep 300"));
    spec.timeout = Some(Millis(1500));
    spec.grace = Millis(100);
    let (end, output) = world.run(spec).await;
    assert_eq!((end.kind, &end.leaked[..]), (TaskEndKind::TimedOut, &[][..]));
    let pid: i32 = output.stdout.unwrap().unwrap().trim().parse().unwrap();
    wait_until("it to be gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_person_ends_a_task() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("a.1", "echo on; sleep 300").in_dir(&dir));
    world.exec().begin(bash("b.1", "trap 'echo bye; exit 0' TERM; echo on; sleep 300 & wait").in_dir(&dir));
    world.exec().begin(bash("c.1", "trap '' TERM; echo on; sleep 300; sleep 300").in_dir(&dir));
    wait_until("three starts", || {
        ["a.1", "b.1", "c.1"].iter().all(|t| world.file(&format!("{t}.out")).is_some())
    });
    world.exec().stop(&task("a.1"), false);
    assert_eq!(world.end(&task("a.1")).await.0.kind, TaskEndKind::Cancelled);
    world.exec().stop(&task("b.1"), false);
    let (end, output) = world.end(&task("b.1")).await;
    assert_eq!((end.kind, output.stdout), (TaskEndKind::Cancelled, Some(Ok("on\nbye\n".into()))));
    world.exec().stop(&task("c.1"), false);
    world.exec().stop(&task("c.1"), true);
    let (end, _) = world.end(&task("c.1")).await;
    assert_eq!(end.kind, TaskEndKind::Cancelled);
    assert!(end.duration < Millis::secs(30), "force does not wait for the grace");
}

#[tokio::test(flavor = "current_thread")]
async fn a_daemon_survives_a_normal_end_and_its_output_is_read_on() {
    let mut world = World::new();
    let script = "(setsid bash -c 'echo $$; sleep 1; echo late; sleep 300' &); exit 0";
    let (end, output) = world.run(bash("a.1", script)).await;
    assert_eq!(end.kind, exited(0));
    assert!(end.leaky);
    let pid: i32 = output.stdout.unwrap().unwrap().trim().parse().unwrap();
    assert!(alive(pid));
    wait_until("the late line", || world.file("a.1.out").is_some_and(|f| f.ends_with(b"\nlate\n")));
    assert!(alive(pid));
    // Another task's timeout is none of its business.
    let mut spec = bash("b.1", "sleep 300");
    spec.timeout = Some(Millis(100));
    assert_eq!(world.run(spec).await.0.kind, TaskEndKind::TimedOut);
    assert!(alive(pid));
    let (end, _) = world.run(bash("c.1", "(setsid sleep 300 >/dev/null 2>&1 &); exit 0")).await;
    assert!(!end.leaky, "it holds nothing open");
    wait_until("two daemons", || world.processes("sleep").len() == 2);
}

/// The command has ended by itself, and only what it left behind still writes: a person's word comes too late for it.
#[tokio::test(flavor = "current_thread")]
async fn who_has_ended_is_not_ended_again() {
    let mut world = World::new();
    let dir = world.dir();
    let script = "(setsid bash -c 'while :; do echo x; sleep 0.05; done' &); echo pid $$; exit 0";
    world.exec().begin(bash("a.1", script).in_dir(&dir));
    wait_until("its start", || world.notes().contains(r#"{"started":{"task":"a.1""#));
    let pid = world.started_pid("a.1");
    wait_until("its end", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    world.exec().stop(&task("a.1"), true);
    let (end, _) = world.end(&task("a.1")).await;
    assert_eq!(end.kind, exited(0));
    assert!(end.leaky);
    assert_eq!(world.processes("bash").len(), 1, "what it left behind goes on");
}

#[tokio::test(flavor = "current_thread")]
async fn the_keeper_outlives_the_runner() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("short.1", "sleep 0.3; echo one").in_dir(&dir));
    world.exec().begin(
        bash("long.1", "echo on; while [ ! -e go ]; do sleep 0.05; done; echo two; exit 7").in_dir(&dir),
    );
    world.exec().begin(bash("secret.1", "echo x").in_dir(&dir).sensitive());
    // Gone at once: what is in the socket still counts.
    world.drop_exec();
    let ended = |task: &str| format!(r#"{{"ended":{{"task":"{task}""#);
    wait_until("the short ones", || {
        ["short.1", "secret.1"].iter().all(|t| world.notes().contains(&ended(t)))
    });
    let findings = world.attach(&["short.1", "long.1", "secret.1", "never.1"]).await;
    match &findings[0] {
        Finding::Ended { end, output } => {
            assert_eq!(end.kind, exited(0));
            assert_eq!(output.stdout, Some(Ok("one\n".into())));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(findings[1], Finding::Running), "{findings:?}");
    match &findings[2] {
        Finding::Ended { end, output } => {
            assert_eq!(end.kind, exited(0));
            assert_eq!(output.stdout, Some(Err("the output of a sensitive step is not kept".into())));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(findings[3], Finding::NeverStarted), "{findings:?}");
    std::fs::write(dir.join("go"), "").unwrap();
    let (end, output) = world.end(&task("long.1")).await;
    assert_eq!((end.kind, output.stdout), (exited(7), Some(Ok("on\ntwo\n".into()))));
    assert_eq!(world.shown, b"two\n");
    // It is the same keeper, and it takes new tasks.
    assert_eq!(world.run(bash("next.1", "true")).await.0.kind, exited(0));
    assert_eq!(world.notes().matches(r#"{"keeper":"#).count(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_foreseen_starts_only_if_it_comes_true() {
    let mut world = World::new();
    let dir = world.dir();
    let touch = |id: &str| bash(id, "touch $RUNBOOK_STEP").in_dir(&dir);
    let waits = |id: &str| bash(id, "while ! test -e go; do sleep 0.01; done; rm go").in_dir(&dir);
    assert!(!world.exec().may_look_ahead(), "there is no keeper yet");
    for (under_way, foreseen, comes) in [("a.1", "b.1", "b.1"), ("c.1", "d.1", "e.1"), ("f.1", "g.1", "h.1")]
    {
        world.exec().begin(waits(under_way));
        assert!(world.exec().may_look_ahead());
        world.exec().look_ahead(touch(foreseen));
        // A keeper that has made it ready has answered to what came after it.
        std::fs::write(dir.join("go"), "").unwrap();
        assert_eq!(world.end(&task(under_way)).await.0.kind, exited(0));
        assert!(!world.exec().may_look_ahead(), "nothing is under way");
        assert_eq!(world.exec().came_true(&task(comes)), comes == foreseen);
        match comes {
            "b.1" => {}
            "e.1" => world.exec().ready(touch(comes)),
            _ => world.exec().begin(touch(comes)),
        }
        assert_eq!(world.exec().go(), comes != "h.1");
        assert_eq!(world.end(&task(comes)).await.0.kind, exited(0));
        assert!(!world.exec().came_true(&task(foreseen)), "it is forgotten");
    }
    // What could not be made ready says why when it is told to start, as if it had been tried then.
    world.exec().begin(waits("i.1"));
    world.exec().look_ahead(op("j.1", &[&["echo", "a\0b"]]).in_dir(&dir));
    std::fs::write(dir.join("go"), "").unwrap();
    world.end(&task("i.1")).await;
    assert!(world.exec().came_true(&task("j.1")) && world.exec().go());
    assert!(not_started(&world.end(&task("j.1")).await.0.kind).contains("NUL"));
    // A pipeline is not made ready early.
    world.exec().begin(waits("k.1"));
    world.exec().look_ahead(op("l.1", &[&["echo", "hi"], &["cat"]]));
    std::fs::write(dir.join("go"), "").unwrap();
    world.end(&task("k.1")).await;
    assert!(!world.exec().came_true(&task("l.1")));
    let notes = world.notes();
    assert!(["d.1", "g.1", "l.1"].iter().all(|id| !notes.contains(id)), "{notes}");
    let made: Vec<_> =
        ["b.1", "d.1", "e.1", "g.1", "h.1"].iter().filter(|id| dir.join(id).exists()).collect();
    assert_eq!(made, [&"b.1", &"e.1", &"h.1"]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_made_ready_starts_only_when_it_is_told_to() {
    let mut world = World::new();
    let dir = world.dir();
    let touch = |id: &str| bash(id, "touch $RUNBOOK_STEP").in_dir(&dir);
    assert!(!world.exec().may_be_ready(&touch("a.1").op), "there is no keeper yet");
    assert_eq!(world.run(touch("a.1")).await.0.kind, exited(0));
    assert!(world.exec().may_be_ready(&touch("b.1").op));
    world.exec().ready(touch("b.1"));
    world.exec().go();
    assert_eq!(world.end(&task("b.1")).await.0.kind, exited(0));
    // It is not to start after all; what comes afterwards does.
    world.exec().ready(touch("c.1"));
    world.exec().withdraw();
    world.exec().ready(touch("d.1"));
    world.exec().go();
    assert_eq!(world.end(&task("d.1")).await.0.kind, exited(0));
    // What cannot start says so when it is told to, and not before.
    world.exec().ready(op("e.1", &[&["no-such-program-here"]]).in_dir(&dir));
    world.exec().go();
    let (end, _) = world.end(&task("e.1")).await;
    assert_eq!(not_started(&end.kind), "no-such-program-here: no such program in PATH");
    // The runner dies before it has told it.
    world.exec().ready(touch("f.1"));
    world.drop_exec();
    wait_until("the keeper to close", || world.notes().ends_with("\"closed\"\n"));
    assert!(!world.notes().contains("f.1") && !world.notes().contains("c.1"), "{}", world.notes());
    let made: Vec<_> =
        ["a.1", "b.1", "c.1", "d.1", "f.1"].iter().filter(|id| dir.join(id).exists()).collect();
    assert_eq!(made, [&"a.1", &"b.1", &"d.1"]);
    assert!(matches!(world.attach(&["f.1"]).await[0], Finding::NeverStarted));
}

#[tokio::test(flavor = "current_thread")]
async fn a_timeout_is_kept_without_a_runner() {
    let mut world = World::new();
    let dir = world.dir();
    let mut spec = bash("a.1", "sleep 300").in_dir(&dir);
    spec.timeout = Some(Millis(500));
    world.exec().begin(spec);
    world.drop_exec();
    wait_until("the keeper to close", || world.notes().ends_with("\"closed\"\n"));
    let findings = world.attach(&["a.1"]).await;
    assert!(
        matches!(&findings[0], Finding::Ended { end, .. } if end.kind == TaskEndKind::TimedOut),
        "{findings:?}"
    );
    assert_eq!(world.processes("sleep"), Vec::<i32>::new());
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_keeper_leaves_its_truth_behind() {
    let mut world = World::new();
    let (end, _) = world.run(bash("a.1", "echo hi; exit 2")).await;
    world.drop_exec();
    wait_until("the keeper to close", || world.notes().ends_with("\"closed\"\n"));
    let findings = world.attach(&["a.1", "b.1"]).await;
    match &findings[0] {
        Finding::Ended { end: found, output } => {
            assert_eq!(found, &end);
            assert_eq!(output.stdout, Some(Ok("hi\n".into())));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(findings[1], Finding::NeverStarted));
    assert_eq!(world.run(bash("c.1", "true")).await.0.kind, exited(0));
    assert_eq!(world.notes().matches(r#"{"keeper":"#).count(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_killed_keeper_is_noticed() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("a.1", "echo on; exec sleep 300").in_dir(&dir));
    wait_until("its start", || world.file("a.1.out").is_some() && world.notes().contains("started"));
    let pid = world.started_pid("a.1");
    keeper_support::kill(world.keeper());
    loop {
        match world.exec().next().await {
            ExecEvent::Output { .. } => {}
            ExecEvent::KeeperLost { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(alive(pid), "nothing is signalled");
    // The next task gets a new keeper. Of the orphan nothing is said before it has ended.
    assert_eq!(world.run(bash("b.1", "true")).await.0.kind, exited(0));
    // A later runner still finds the orphan, and waits for it.
    let findings = world.attach(&["a.1", "b.1", "c.1"]).await;
    assert!(matches!(findings[0], Finding::Running), "{findings:?}");
    assert!(matches!(&findings[1], Finding::Ended { end, .. } if end.kind == exited(0)));
    assert!(matches!(findings[2], Finding::NeverStarted));
    keeper_support::kill(pid);
    let (end, _) = world.end(&task("a.1")).await;
    assert!(matches!(end.kind, TaskEndKind::Unknown { .. }), "{end:?}");
    let findings = world.attach(&["a.1"]).await;
    assert!(matches!(findings[0], Finding::Unknown { .. }), "{findings:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn notes_of_another_boot_are_not_trusted_for_what_they_leave_out() {
    let mut world = World::new();
    std::fs::create_dir(world.dir().join("keeper")).unwrap();
    let notes = concat!(
        "\n{\"keeper\":{\"boot_id\":\"old\"}}\n",
        "{\"intent\":{\"task\":\"a.1\"}}\n",
        "{\"started\":{\"task\":\"a.1\",\"pid\":1,\"start\":0,\"boot_id\":\"old\"}}\n",
        "{\"intent\":{\"task\":\"b.1\"}}\n{\"inte",
    );
    std::fs::write(world.dir().join("keeper/notes.jsonl"), notes).unwrap();
    for finding in world.attach(&["a.1", "b.1", "c.1"]).await {
        assert!(matches!(finding, Finding::Unknown { .. }), "{finding:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn children_start_clean() {
    let mut world = World::new();
    let script = r"ls /proc/self/fd | tr '\n' ' '; grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\t\n'";
    let (end, output) = world.run(op("a.1", &[&["sh", "-c", script]])).await;
    assert_eq!(end.kind, exited(0));
    let text = output.stdout.unwrap().unwrap();
    // 3 is the listing itself. glibc's own signals 32 and 33 may stand as ignored.
    let (fds, masks) = text.split_once("SigBlk:").unwrap();
    assert_eq!(fds, "0 1 2 3 ");
    let (blocked, ignored) = masks.split_once("SigIgn:").unwrap();
    assert_eq!(u64::from_str_radix(blocked, 16).unwrap(), 0);
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0);
}

#[tokio::test(flavor = "current_thread")]
async fn secrets_reach_the_command_and_nothing_else() {
    let secret = "hunter2/with 'quotes'";
    let mut world = World::with(|config| {
        config.secrets = keeper_support::secrets(&[("pw", secret)]);
    });
    let text = || {
        let name = SecretName("pw".into());
        SecretText(vec![Piece::Plain("<".into()), Piece::Secret(name), Piece::Plain(">".into())])
    };
    let mut spec = bash(
        "a.1",
        r#"in=$(cat); [ "$in" = "$PW" ] && echo same; echo "got $PW"; echo "$PW" | base64 >&2
           echo "it=$PW" >>$RUNBOOK_OUTPUT; cp /proc/$$/cmdline cmdline-as-seen"#,
    );
    spec.process().env.push(("PW".into(), text()));
    spec.process().stdin = Some(text());
    let (end, output) = world.run(spec).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(output.stdout, Some(Ok("same\ngot <***>\n".into())));
    assert_eq!(output.published.unwrap()["it"], "<***>");
    // The command's own arguments are among the files looked through below.
    assert!(world.dir().join("cmdline-as-seen").exists());
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", world.keeper())).unwrap();
    assert!(!String::from_utf8_lossy(&cmdline).contains("hunter2"));
    for file in world.all_files() {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for form in ["hunter2/", "aHVudGVy", "h1bnRlcjIv", "odW50ZXIy"] {
            assert!(!text.contains(form), "{}: {text}", file.display());
        }
    }
    assert!(!String::from_utf8_lossy(&world.shown).contains("hunter2/"));
}

#[tokio::test(flavor = "current_thread")]
async fn sensitive_output_is_in_memory_only() {
    let mut world = World::new();
    let (end, output) = world.run(bash("a.1", "echo private; echo also >&2").sensitive()).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(output.stdout, Some(Ok("private\n".into())));
    assert_eq!(output.stderr, Some(Ok("also\n".into())));
    assert_eq!(world.shown, b"");
    for file in world.all_files() {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains("private"), "{}", file.display());
    }
    let mut spec = bash("b.1", "echo private").sensitive();
    spec.want = Want::default();
    assert_eq!(world.run(spec).await.1.stdout, None);
}

#[tokio::test(flavor = "current_thread")]
async fn published_values() {
    let mut world = World::new();
    let script = "echo path=/x y >>$RUNBOOK_OUTPUT; echo n=1 >>$RUNBOOK_OUTPUT";
    let (_, output) = world.run(bash("a.1", script)).await;
    let values = output.published.unwrap();
    assert_eq!((values["path"].as_str(), values["n"].as_str()), ("/x y", "1"));
    let (_, output) = world.run(bash("b.1", "echo nonsense >$RUNBOOK_OUTPUT")).await;
    assert_eq!(output.published, Err("line 1 of $RUNBOOK_OUTPUT has no '=': write name=value".into()));
    let (_, output) = world.run(bash("c.1", "true")).await;
    assert_eq!(output.published, Ok(std::collections::BTreeMap::new()));
}

#[tokio::test(flavor = "current_thread")]
async fn a_folder_with_a_very_long_name_works() {
    let mut world = World::named(&format!("{}-20260101T000000Z-ab1d", "x".repeat(120)));
    let dir = world.dir();
    world.exec().begin(bash("a.1", "while [ ! -e go ]; do sleep 0.05; done").in_dir(&dir));
    let findings = world.attach(&["a.1"]).await;
    assert!(matches!(findings[0], Finding::Running), "{findings:?}");
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(world.end(&task("a.1")).await.0.kind, exited(0));
}

#[tokio::test(flavor = "current_thread")]
async fn an_output_that_cannot_be_written_stops_nobody_and_is_told() {
    let mut world = World::new();
    assert_eq!(world.run(bash("warm.1", "true")).await.0.kind, exited(0));
    std::fs::write(world.dir().join("output/a.1.out"), "planted").unwrap();
    let (end, output) = world.run(bash("a.1", "echo text; echo err >&2; exit 5")).await;
    assert_eq!((end.kind, end.stdout_bytes), (exited(5), 5));
    let error = output.stdout.unwrap().unwrap_err();
    assert!(error.starts_with("its output could not be written to its file: "), "{error}");
    assert_eq!(output.stderr, Some(Ok("err\n".into())));
    assert_eq!(world.file("a.1.out").unwrap(), b"planted");
    assert!(world.notes().contains(r#"{"dropped":{"task":"a.1","output":"stdout""#));
}

#[tokio::test(flavor = "current_thread")]
async fn a_program_next_to_the_playbook_is_found_from_the_working_folder() {
    let mut world = World::new();
    let dir = world.dir().join("book");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("prog"), "#!/bin/sh\necho \"$0 $RUNBOOK_STEP\"\npwd\n").unwrap();
    std::fs::set_permissions(dir.join("prog"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (end, output) = world.run(op("a.1", &[&["./prog"]]).in_dir(&dir)).await;
    assert_eq!(end.kind, exited(0));
    assert_eq!(output.stdout, Some(Ok(format!("./prog a.1\n{}\n", dir.display()))));
}

/// The search for a program is the command's own: with its PATH, not with the keeper's.
#[tokio::test(flavor = "current_thread")]
async fn a_task_with_a_path_of_its_own_finds_its_programs_there() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new();
    let bin = world.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(
        bin.join("only-here"),
        "#!/bin/sh\necho found with $1, stdin is $(/bin/readlink /proc/self/fd/0)\n",
    )
    .unwrap();
    std::fs::set_permissions(bin.join("only-here"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (end, _) = world.run(op("a.1", &[&["only-here", "nothing"]])).await;
    assert_eq!(not_started(&end.kind), "only-here: no such program in PATH");
    let mut spec = op("b.1", &[&["only-here", "its PATH"]]);
    spec.process().env.push(("PATH".into(), SecretText::plain(bin.display().to_string())));
    let (end, output) = world.run(spec).await;
    let said = "found with its PATH, stdin is /dev/null\n";
    assert_eq!((end.kind, output.stdout), (exited(0), Some(Ok(said.into()))));
}

#[tokio::test(flavor = "current_thread")]
async fn a_waiting_keeper_is_small() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("a.1", "echo on; sleep 300").in_dir(&dir));
    wait_until("its start", || world.file("a.1.out").is_some());
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.keeper())).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // Pages of the program itself are shared with the runner, but for those that the loader has written addresses into:
    // in a build for tests about half of these.
    assert!(field("RssAnon:") < 3_000, "{status}");
    assert_eq!(field("Threads:"), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_rest_stops_the_tree_and_its_timeout() {
    let mut world = World::new();
    let dir = world.dir();
    let mut spec = bash("a.1", "(setsid sleep 3.21; echo child) & sleep 3.22; wait; echo done").in_dir(&dir);
    spec.timeout = Some(Millis::secs(8));
    world.exec().begin(spec);
    wait_until("the tree", || world.processes("sleep").len() == 2);
    world.exec().pause();
    let states = |world: &World| -> Vec<char> { world.processes("sleep").into_iter().map(state).collect() };
    wait_until("the rest", || states(&world).iter().all(|s| *s == 'T'));
    // Longer than the timeout: had it gone on, it would be over.
    std::thread::sleep(Duration::from_secs(9));
    assert_eq!(states(&world), ['T', 'T']);
    world.exec().unpause();
    let (end, output) = world.end(&task("a.1")).await;
    assert_eq!(end.kind, exited(0), "{output:?}");
    assert_eq!(output.stdout, Some(Ok("child\ndone\n".into())));
}

#[tokio::test(flavor = "current_thread")]
async fn a_runner_that_dies_in_a_rest_leaves_nothing_stopped() {
    let mut world = World::new();
    let dir = world.dir();
    world.exec().begin(bash("a.1", "sleep 1.23").in_dir(&dir));
    wait_until("the command", || world.processes("sleep").len() == 1);
    world.exec().pause();
    wait_until("the rest", || world.processes("sleep").into_iter().all(|p| state(p) == 'T'));
    world.drop_exec();
    wait_until("its end", || world.notes().contains(r#""ended""#));
    let found = world.attach(&["a.1"]).await;
    assert!(matches!(&found[0], Finding::Ended { end, .. } if end.kind == exited(0)), "{found:?}");
}
