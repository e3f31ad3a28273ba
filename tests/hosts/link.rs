//! The link is cut, and processes are killed, in the middle of a far step: what nobody knows is called so, and asked of the
//! host later. Nothing runs twice.

use std::fs;

use crate::net::Net;
use crate::support::{kill_hard, wait_until};

const SLOW: &str = r#"
steps:
  - id: slow
    on: h1
    timeout: 90s
    run: |
      cd; echo x >> ledger; echo begun; while [ ! -e go ]; do sleep 0.1; done; echo over; echo "taken=yes" >> "$RUNBOOK_OUTPUT"; exit ${CODE-0}
    outputs: { said: "result.lines | join(' ')" }
  - { id: next, run: "[ {{ steps.slow.outputs.said }} = 'begun over' ] && [ {{ steps.slow.outputs.taken }} = yes ]" }
"#;

fn ledger(net: &Net) -> usize {
    fs::read_to_string(net.home(1).join("ledger")).unwrap_or_default().lines().count()
}

#[test]
fn a_cut_link_leaves_a_doubt_that_a_resume_settles() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("cut", SLOW);
    let running = net.world.start_command(net.cmd(&["run", "cut"]));
    wait_until("the far step", || ledger(&net) == 1);
    net.cut(1);
    running.wait().exits(5).says(&["the link to h1 broke", "it may still run there"]);
    // As long as it cannot be asked, nothing is guessed.
    net.run(&["resume", "last"]).exits(5);
    assert!(net.world.events_named("task_found").is_empty());
    net.mend(1);
    // It still runs: the resume waits for it.
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the task to be found", || !net.world.events_named("task_found").is_empty());
    fs::write(net.home(1).join("go"), "").unwrap();
    resumed.wait().exits(0);
    assert_eq!(ledger(&net), 1);
    assert_eq!(net.world.outcome("slow"), "succeeded");
    net.run(&["verify", "last"]).exits(0);
    net.assert_clean(1);
}

#[test]
fn what_ended_behind_a_cut_link_is_learnt_with_its_output() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("behind", SLOW);
    let running = net.world.start_command(net.cmd(&["run", "behind"]));
    wait_until("the far step", || ledger(&net) == 1);
    net.cut(1);
    fs::write(net.home(1).join("go"), "").unwrap();
    running.wait().exits(5);
    net.mend(1);
    net.run(&["resume", "last"]).exits(0);
    assert_eq!(ledger(&net), 1);
    let run = net.world.last_run();
    let output = fs::read_to_string(net.world.run_dir(&run).join("output/slow.1.out")).unwrap();
    assert_eq!(output, "begun\nover\n");
    net.assert_clean(1);
}

#[test]
fn a_short_cut_is_bridged() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("short", SLOW);
    let running = net.world.start_command(net.cmd(&["run", "short"]));
    wait_until("the far step", || ledger(&net) == 1);
    // The sessions of the step and its connection end, sshd does not.
    let session = |pid: &i32| crate::support::command_line(*pid).starts_with("sshd: root");
    let sessions: Vec<i32> = net.processes(1).into_iter().filter(session).collect();
    assert!(!sessions.is_empty());
    sessions.into_iter().for_each(kill_hard);
    std::thread::sleep(std::time::Duration::from_millis(500));
    fs::write(net.home(1).join("go"), "").unwrap();
    running.wait().exits(0);
    assert_eq!(ledger(&net), 1);
    net.assert_clean(1);
}

#[test]
fn runner_and_keeper_are_killed_and_the_host_still_knows() {
    let Some(net) = Net::new(1) else { return };
    net.playbook("killed", SLOW);
    for ends_meanwhile in [true, false] {
        let _ = fs::remove_file(net.home(1).join("go"));
        let _ = fs::remove_file(net.home(1).join("ledger"));
        let running = net.world.start_command(net.cmd(&["run", "killed"]));
        wait_until("the far step", || ledger(&net) == 1);
        let runner = net.world.processes_like("run killed");
        let keeper = net.world.processes_like("__keeper");
        runner.into_iter().chain(keeper).for_each(kill_hard);
        let _ = running.wait();
        if ends_meanwhile {
            fs::write(net.home(1).join("go"), "").unwrap();
        }
        let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
        if !ends_meanwhile {
            wait_until("the resume", || net.world.events_named("run_resumed").len() == 1);
            fs::write(net.home(1).join("go"), "").unwrap();
        }
        resumed.wait().exits(0);
        assert_eq!(ledger(&net), 1);
        // Nor is the connection left that the killed keeper had made: ssh would keep it for a minute.
        wait_until("the keeper's end", || net.world.processes_like("__keeper").is_empty());
        assert_eq!(net.world.processes_like("ssh -f -M"), [] as [i32; 0]);
    }
    net.assert_clean(1);
}

#[test]
fn a_timeout_ends_the_whole_tree_there() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "late",
        r#"
steps:
  - id: late
    on: h1
    timeout: 2s
    grace: 1s
    run: |
      trap '' TERM; setsid -f sleep 4001; env -u RUNBOOK_FAR sleep 4002 & cd; echo x >> ledger; sleep 4003; sleep 4004
"#,
    );
    net.run(&["run", "late"]).exits(1).says(&["timed out after 2.0s"]);
    assert_eq!(ledger(&net), 1);
    net.assert_clean(1);
}

#[test]
fn a_timeout_behind_a_cut_link_says_that_it_may_still_run() {
    let Some(net) = Net::new(1) else { return };
    net.playbook(
        "unreached",
        "steps:\n  - { id: late, on: h1, timeout: 3s, grace: 1s, run: \"cd; echo x >> ledger; sleep 4011\" }\n",
    );
    let running = net.world.start_command(net.cmd(&["run", "unreached"]));
    wait_until("the far step", || ledger(&net) == 1);
    net.cut(1);
    running.wait().exits(5).says(&["it may still run there"]);
    net.mend(1);
    // The resume waits for what still runs; a person ends it.
    let resumed = net.world.start_command(net.cmd(&["resume", "last"]));
    wait_until("the task to be found", || !net.world.events_named("task_found").is_empty());
    wait_until("its end", || net.world.events_named("task_ended").len() > 1);
    let shown = resumed.wait();
    assert!([1, 130].contains(&shown.code), "{shown:?}");
    net.assert_clean(1);
}
