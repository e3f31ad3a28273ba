//! Much output and many steps in bounded memory, and hostile bytes on the screen.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;

use crate::support::World;

/// The most memory that a process has ever held, in KiB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// MiB of output: the whole GiB where `RUNBOOK_TEST_OUTPUT_MIB=1024` asks for it.
fn output_mib() -> u64 {
    std::env::var("RUNBOOK_TEST_OUTPUT_MIB").ok().and_then(|v| v.parse().ok()).unwrap_or(200)
}

#[test]
fn much_output_without_a_newline_is_borne() {
    let world = World::new();
    let mib = output_mib();
    world.playbook(
        "flood",
        &format!(
            "steps:\n  - {{ id: flood, title: Flood, run: 'head -c {mib}M /dev/zero | tr \"\\0\" x; touch written; \
             while ! test -e go; do sleep 0.05; done', timeout: 5m }}\n"
        ),
    );
    let running = world.start(&["run", "flood"]);
    let output = || {
        let dir = world.run_dir(&world.runs().pop()?).join("output/flood.1.out");
        Some(dir.metadata().ok()?.len())
    };
    let began = Instant::now();
    while !world.path("written").exists() || output() != Some(mib << 20) {
        assert!(began.elapsed() < Duration::from_secs(300), "{:?} of {mib} MiB", output());
        std::thread::sleep(Duration::from_millis(20));
    }
    let runner = peak(running.pid());
    let keeper = peak(world.processes_like("__keeper")[0]);
    world.write("go", "");
    let shown = running.wait().exits(0);
    assert!(runner > 0 && runner < 96 << 10, "the runner held {runner} KiB");
    assert!(keeper > 0 && keeper < 64 << 10, "the keeper held {keeper} KiB");
    // Not a byte is missing without a word: what the screen did not get is counted on it.
    let told = |line: &str| {
        let rest = line.strip_prefix("flood | [runbook: ")?;
        rest.strip_suffix(" bytes are not shown here; the output's file has them]")?.parse::<u64>().ok()
    };
    let (mut on_screen, mut missing) = (0, 0);
    for line in shown.out.lines().filter(|l| l.starts_with("flood | ")) {
        match told(line) {
            Some(count) => missing += count,
            None => on_screen += (line.len() - "flood | ".len()) as u64,
        }
    }
    assert_eq!(
        on_screen + missing,
        mib << 20,
        "{on_screen} bytes are on the screen and {missing} are told of"
    );
}

#[test]
fn what_would_steer_a_terminal_is_kept_in_the_file_and_shown_neutral() {
    let world = World::new();
    world.playbook(
        "escapes",
        "steps:\n  - id: a\n    title: A\n    \
         run: |\n      printf '\\033]0;owned\\007\\033[2Jred\\033[31m \\302\\233 \\342\\200\\256evil \\377 nul:\\000\\r\\n'\n      \
         printf '\\033[2Jfailure\\n' >&2\n      exit 1\n",
    );
    let shown = world.run(&["run", "escapes"]).exits(1).says(&["failure"]);
    let run = world.last_run();
    let kept = fs::read(world.run_dir(&run).join("output/a.1.out")).unwrap();
    assert!(
        kept.starts_with(b"\x1b]0;owned\x07\x1b[2Jred\x1b[31m \xc2\x9b \xe2\x80\xaeevil \xff nul:\0\r\n")
    );
    let mut texts = vec![shown.out, shown.err];
    for args in [&["log"][..], &["status"], &["report"], &["report", "--format", "html"]] {
        texts.push(world.run(args).exits(0).out);
    }
    for text in texts {
        let steering = |c: char| {
            (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let found: Vec<char> = text.chars().filter(|c| steering(*c)).collect();
        assert!(found.is_empty(), "{found:?} in\n{text}");
    }
}

#[test]
fn ten_thousand_steps_can_be_planned() {
    let world = World::new();
    let mut body = "steps:\n".to_owned();
    for n in 0..10_000 {
        body.push_str(&format!("  - {{ id: s{n}, title: Step {n}, run: echo {n} }}\n"));
    }
    world.playbook("long", &body);
    // The shell waits, so the peak of its child is at hand when the child has ended.
    let script = "import resource, subprocess, sys\n\
                  code = subprocess.run(sys.argv[1:]).returncode\n\
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n\
                  sys.exit(code)";
    let mut command = world.command("python3");
    command.args(["-c", script, crate::support::BIN, "plan", "long"]);
    let shown = crate::support::shown(&mut command).exits(0);
    assert!(shown.out.contains("s9999"));
    let peak: u64 = shown.err.trim().parse().unwrap();
    assert!(peak < 200 << 10, "plan held {peak} KiB");
}

/// The pids below this one, dead ones that nobody has collected among them.
fn children(pid: i32) -> Vec<i32> {
    let parent = |stat: &str| stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok();
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|p: &i32| {
        fs::read_to_string(format!("/proc/{p}/stat")).is_ok_and(|stat| parent(&stat) == Some(pid))
    })
    .collect()
}

/// Open descriptors; none of a process that is gone.
fn open(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn a_run_of_ten_thousand_commands_leaks_nothing() {
    let steps = 10_000;
    let world = World::new();
    let wait = |name: &str| format!("touch {name}-begun; while ! test -e {name}-go; do sleep 0.02; done");
    let mut body =
        format!("max_parallel: 16\nsteps:\n  - {{ id: first, title: First, run: '{}' }}\n", wait("first"));
    let mut all = Vec::new();
    for n in 0..steps {
        body.push_str(&format!("  - {{ id: s{n}, title: Step {n}, exec: [\"true\"], needs: [first] }}\n"));
        all.push(format!("s{n}"));
    }
    body.push_str(&format!(
        "  - {{ id: last, title: Last, needs: [{}], run: '{}' }}\n",
        all.join(", "),
        wait("last")
    ));
    world.playbook("many", &body);
    let mut running = world.start(&["run", "many"]);
    let began = Instant::now();
    let until = |running: &mut crate::support::Running, name: &str, look: &mut dyn FnMut()| {
        while !world.path(name).exists() {
            assert!(running.is_running() && began.elapsed() < Duration::from_secs(300), "{}", running.out());
            look();
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until(&mut running, "first-begun", &mut || {});
    let (runner, keeper) = (running.pid(), world.processes_like("__keeper")[0]);
    let before = (open(runner), open(keeper));
    let mut most = before;
    world.write("first-go", "");
    let work = Instant::now();
    until(&mut running, "last-begun", &mut || {
        most = (most.0.max(open(runner)), most.1.max(open(keeper)));
    });
    let took = work.elapsed();
    let after = (open(runner), open(keeper));
    let left = (children(runner), children(keeper).len());
    println!(
        "{steps} commands in {took:?}: the runner had {} descriptors before, {} at most, {} after; the keeper {}, {}, {}",
        before.0, most.0, after.0, before.1, most.1, after.1
    );
    assert_eq!(after, before, "descriptors were left open: runner, keeper");
    // Two pipes, each with both ends, and an input for each of the sixteen.
    assert!(most.0 <= before.0 + 8 && most.1 <= before.1 + 8 * 16, "{most:?} at once, {before:?} before");
    assert_eq!(
        left,
        (vec![keeper], 1),
        "the runner has the keeper, the keeper the last command, and nothing more"
    );
    world.write("last-go", "");
    running.wait().exits(0);
    world.assert_nothing_runs();
}

/// The soft limit of descriptors that a login gives is made for programs with few of them. The hard one is what counts;
/// and what a command gets is what this program was given.
#[test]
fn a_thousand_commands_at_once_need_no_higher_soft_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < 4096 {
        eprintln!("SKIPPED: the hard limit of descriptors is {hard} here; a thousand commands need more");
        return;
    }
    let world = World::new();
    nix::unistd::mkfifo(&world.path("gate"), Mode::S_IRWXU).unwrap();
    world.write("key", "a long enough secret\n");
    // Each has two pipes and a file. Reading the gate waits until somebody has opened it for writing.
    let script = "ulimit -Sn >> ledger; echo out; read _ < gate || exit 0";
    let mut body = "max_parallel: 1000\nsecrets:\n  key: { command: [sh, -c, 'ulimit -Sn > secret; cat key'] }\nsteps:\n"
        .to_owned();
    for n in 0..1000 {
        body.push_str(&format!(
            "  - {{ id: s{n}, title: Step {n}, needs: [], exec: [sh, -c, \"{script}\"] }}\n"
        ));
    }
    world.playbook("wide", &body);
    let mut command = world.command("bash");
    command.args(["-c", "ulimit -S -n 256; exec \"$@\"", "bash", crate::support::BIN, "run", "wide"]);
    let mut running = world.start_command(command);
    let began = Instant::now();
    while world.ledger().len() < 1000 {
        assert!(running.is_running() && began.elapsed() < Duration::from_secs(120), "{}", running.out());
        std::thread::sleep(Duration::from_millis(50));
    }
    let keeper = world.processes_like("__keeper")[0];
    println!("the keeper held {} descriptors, the runner {}", open(keeper), open(running.pid()));
    assert!(open(keeper) > 2000, "all of them run at once");
    drop(fs::File::options().read(true).write(true).open(world.path("gate")).unwrap());
    running.wait().exits(0);
    assert!(world.ledger().iter().all(|limit| limit == "256"), "the limit leaks into the commands");
    assert_eq!(world.read("secret"), "256\n");
}
