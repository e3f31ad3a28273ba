//! The view on a terminal: its frames as text, and the terminal it leaves behind.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use runbook::engine::State;
use runbook::model::{Event, Millis, Record, TaskKind, Timestamp};
use runbook::plan::Plan;
use runbook::report::frame::{Size, View, frame};
use runbook::report::{Live, Look, Reporter};

use crate::fixtures;

const LOOKS: [Look; 2] =
    [Look { color: false, unicode: true, width: None }, Look { color: false, unicode: false, width: None }];

fn frame_of(plan: &Plan, records: &[Record], now: u64, look: Look, size: Size) -> Vec<String> {
    let state = crate::fold(plan, records);
    frame(&View { plan, state: &state, now: Millis(now), tails: &BTreeMap::new(), prompt: None, look, size })
}

/// The records up to and with the first that `stop` finds.
fn until(mut records: Vec<Record>, stop: impl Fn(&Event) -> bool) -> Vec<Record> {
    let at = records.iter().position(|r| stop(&r.event)).expect("there is one");
    records.truncate(at + 1);
    records
}

#[test]
fn what_runs_against_which_limits() {
    let plan = fixtures::plan();
    let size = Size { rows: 24, columns: 80 };
    let started = until(
        fixtures::recovered(),
        |e| matches!(e, Event::TaskStarted { task, .. } if task.step.as_str() == "pick" && task.attempt == 2),
    );
    let now = started.last().unwrap().t.0 + 1_300;
    assert_eq!(
        frame_of(&plan, &started, now, LOOKS[0], size),
        [
            "db-corruption-20261121T103755Z-ab1d  production",
            "RTO 1m08s of 15m ━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
            "2 of 6 steps  Restore",
            "⠧ pick  attempt 2 of 3 1s of 5m  Find the newest backup that verifies",
        ]
    );
    let waiting = until(fixtures::recovered(), |e| matches!(e, Event::RetryScheduled { .. }));
    let now = waiting.last().unwrap().t.0 + 500;
    let lines = frame_of(&plan, &waiting, now, LOOKS[1], size);
    assert_eq!(lines[3], "/ pick  attempt 1 of 3 failed, next in 1s  Find the newest backup that verifies");
    let polling = until(
        fixtures::recovered(),
        |e| matches!(e, Event::TaskStarted { task, .. } if matches!(task.kind, TaskKind::Verify { poll: 3, .. })),
    );
    let now = polling.last().unwrap().t.0;
    let lines = frame_of(&plan, &polling, now, LOOKS[1], size);
    assert!(
        lines[3].contains("healthy  verifying: The health page answers 200, poll 3, 4s of 2m"),
        "{lines:?}"
    );
    let undoing = until(
        fixtures::stuck(),
        |e| matches!(e, Event::TaskStarted { task, .. } if task.kind == TaskKind::Undo),
    );
    let lines = frame_of(&plan, &undoing, undoing.last().unwrap().t.0, LOOKS[1], size);
    assert!(
        lines[2].contains("rolling back: healthy failed") && lines[3].contains("restore  undo 0s"),
        "{lines:?}"
    );
}

#[test]
fn no_line_is_wider_and_no_frame_is_higher_than_the_terminal() {
    let plan = fixtures::plan();
    for records in [fixtures::recovered(), fixtures::stuck(), fixtures::in_doubt(), fixtures::cancelled()] {
        for n in 1..=records.len() {
            for (rows, columns) in [(1, 1), (2, 10), (4, 20), (24, 40), (50, 200)] {
                for look in LOOKS {
                    let now = records[n - 1].t.0 + 7;
                    let lines = frame_of(&plan, &records[..n], now, look, Size { rows, columns });
                    assert!(lines.len() <= rows.saturating_sub(1).max(1), "{lines:?}");
                    for line in lines {
                        let wide = unicode_width::UnicodeWidthStr::width(line.as_str());
                        assert!(wide <= columns.saturating_sub(1).max(1), "{columns}: {line:?}");
                        assert!(look.unicode || line.is_ascii(), "{line:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn many_at_once_fit_on_the_screen() {
    let mut steps: Vec<_> =
        (0..40).map(|n| fixtures::run(&format!("s{n}"), "One of many", 0, "sleep 1")).collect();
    steps.push(fixtures::run("last", "The last", 0, "true"));
    let mut plan = fixtures::plan_of(&[("steps", "")], steps);
    for step in &mut plan.steps {
        step.needs.clear();
    }
    let mut tape = fixtures::Tape::start(false);
    tape.phase("steps");
    for n in 0..40 {
        let task = runbook::model::TaskId::new(fixtures::id_of(&format!("s{n}")), TaskKind::Attempt, 1);
        tape.begin(task, "sleep 1");
    }
    let lines = frame_of(&plan, &tape.records, 10, LOOKS[1], Size { rows: 12, columns: 60 });
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10], "  and 33 more running");
}

/// A terminal that keeps what is written to it.
#[derive(Debug, Clone, Default)]
pub struct Screen(Arc<Mutex<String>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").push_str(std::str::from_utf8(bytes).expect("whole characters"));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    /// What a terminal of unlimited height shows, for the few escapes that the view may use.
    pub fn shown(&self) -> Vec<String> {
        let written = self.0.lock().expect("not poisoned").clone();
        let (mut lines, mut at, mut column) = (vec![String::new()], 0, 0);
        let mut rest = written.as_str();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\n' => {
                    (at, column) = (at + 1, 0);
                    lines.resize(lines.len().max(at + 1), String::new());
                }
                '\r' => column = 0,
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a whole escape");
                    match &rest[..=end] {
                        "[K" => lines[at].truncate(column),
                        up => at -= up[1..end].parse::<usize>().expect("a number of lines up"),
                    }
                    rest = &rest[end + 1..];
                }
                c => {
                    let line = &mut lines[at];
                    let end = line[column..].chars().next().map_or(column, |old| column + old.len_utf8());
                    line.replace_range(column..end, c.encode_utf8(&mut [0; 4]));
                    column += c.len_utf8();
                }
            }
        }
        lines
    }
}

/// Fails at every write, as a terminal does that was closed.
#[derive(Debug)]
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn drive(live: &mut Live, plan: &Plan, records: &[Record]) {
    let mut state = State::new(plan);
    for record in records {
        state.apply(plan, record).expect("a legal run");
        live.record(plan, &state, record);
        if let Event::TaskStarted { task, .. } = &record.event {
            live.output(task, false, b"progress 10%\rprogress 20%\r");
            live.output(task, true, b"\x1b[2Jboo\n");
        }
        live.tick(plan, &state, record.t, Timestamp(0));
    }
    live.finish(plan, &state);
}

#[test]
fn finished_steps_stay_on_the_scrollback() {
    let plan = fixtures::plan();
    let screen = Screen::default();
    let mut live = Live::new(Box::new(screen.clone()), LOOKS[0], Box::new(|| Size { rows: 20, columns: 60 }));
    drive(&mut live, &plan, &fixtures::rolled_back());
    let lines = screen.shown();
    let text = lines.join("\n");
    // Nothing of a frame is left, and no line is filled up with blanks.
    assert!(!text.contains("RTO") && !text.contains(" steps"), "{text}");
    assert!(lines.iter().all(|line| line.trim_end() == line), "{text}");
    for line in [
        "✔ stop-app  3.2s  Stop the application",
        "✔ pick  6.2s, 2 attempts  Find the newest backup",
        "  retry pick  attempt 1 did not serve",
        "✘ healthy  8.1s, failed  The application answers",
        "    The health page answers 200: not within 2m: status 503",
        "  rollback  healthy failed",
        "  undone restore",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    let written = screen.0.lock().expect("not poisoned").clone();
    assert!(!written.contains("\x1b[2J"), "a command's escape reached the terminal");
}

#[test]
fn a_terminal_that_is_gone_is_no_crash() {
    let plan = fixtures::plan();
    let mut live = Live::new(Box::new(Gone), LOOKS[0], Box::new(|| Size { rows: 0, columns: 0 }));
    drive(&mut live, &plan, &fixtures::stuck());
}

#[test]
fn a_frame_is_found_again_when_the_terminal_became_narrower() {
    let plan = fixtures::plan();
    let records = until(fixtures::recovered(), |e| matches!(e, Event::RetryScheduled { .. }));
    let state = crate::fold(&plan, &records);
    let screen = Screen::default();
    let columns = Arc::new(AtomicUsize::new(80));
    let size = {
        let columns = Arc::clone(&columns);
        move || Size { rows: 24, columns: columns.load(Ordering::Relaxed) }
    };
    let mut live = Live::new(Box::new(screen.clone()), LOOKS[0], Box::new(size));
    let now = records.last().expect("there are some").t;
    live.tick(&plan, &state, now, Timestamp(0));
    columns.store(30, Ordering::Relaxed);
    screen.0.lock().expect("not poisoned").clear();
    live.tick(&plan, &state, now, Timestamp(0));
    // Drawn at 80: an empty line, 44, 40 and 21 columns, and the step's 77: now 1 + 2 + 2 + 1 + 3 rows of 30.
    let written = screen.0.lock().expect("not poisoned").clone();
    assert!(written.starts_with("\r\x1b[9A\x1b[K\n"), "{written:?}");
    // Stopped and gone on: what the shell wrote since is not wiped.
    screen.0.lock().expect("not poisoned").clear();
    live.continued();
    live.tick(&plan, &state, now, Timestamp(0));
    let written = screen.0.lock().expect("not poisoned").clone();
    assert!(written.starts_with("\r\x1b[K\n"), "{written:?}");
}
