//! The pid that the keeper's notes name belongs to somebody else by now, on the same boot. In a pid namespace of its own
//! the kernel can be told which pid it gives next, so the reuse is a real one. Needs root.

use crate::support::{BIN, World};

/// Kills all three, lets a stranger have the command's pid, and resumes. While the command's last child lives in its group,
/// the kernel does not give the number again.
const SCRIPT: &str = r#"
"$0" run reuse > first.txt 2>&1 &
runner=$!
while ! test -e begun; do sleep 0.02; done
pid=$(cat begun)
read -r _ _ _ keeper _ < "/proc/$pid/stat"
kill -9 "$runner"
wait "$runner" 2> /dev/null
kill -9 "$keeper"
kill -9 -- "-$pid"
# As long as anybody is in its group, its number is not free.
while kill -0 -- "-$pid" 2> /dev/null || test -e "/proc/$pid"; do sleep 0.02; done
echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid || exit 99
sleep 1000 &
test "$!" = "$pid" || exit 98
"$0" resume last > second.txt 2>&1
echo "$?" > code
kill -0 "$pid" && echo alive > stranger
"$0" cancel last > third.txt 2>&1
"$0" resolve last hold --not-done --reason "it was killed" > fourth.txt 2>&1 || exit 97
touch go
"$0" resume last > fifth.txt 2>&1 || exit 96
kill -0 "$pid" && echo "still alive" >> stranger
kill -9 "$pid"
"#;

#[test]
fn a_pid_that_is_used_again_is_a_stranger() {
    let world = World::new();
    world.playbook(
        "reuse",
        "steps:\n  - { id: hold, title: Hold, timeout: 5m, \
         run: 'echo $$ > pid; mv pid begun; while ! test -e go; do sleep 0.05; done; echo hold >> ledger' }\n",
    );
    let mut command = world.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT, BIN]);
    let shown = world.start_command(command).wait();
    if shown.err.contains("unshare:") || shown.code == 99 {
        eprintln!("SKIPPED: no right to a pid namespace here; nothing was shown: {}", shown.err);
        return;
    }
    let said = ["first", "second", "third", "fourth", "fifth"].map(|name| world.read(&format!("{name}.txt")));
    assert_eq!(shown.code, 0, "{shown:?}\n{}", said.join("\n---\n"));
    assert_eq!(world.read("code"), "5\n", "{}", said[1]);
    for text in ["in-doubt", "the process that watched it died", "runbook resolve "] {
        assert!(said[1].contains(text), "{text:?} is not said: {}", said[1]);
    }
    assert_eq!(world.read("stranger"), "alive\nstill alive\n", "the stranger was signalled");
    assert_eq!(world.ledger(), ["hold"]);
    assert_eq!(world.outcome("hold"), "succeeded");
    world.run(&["verify", "last"]).exits(0);
}
