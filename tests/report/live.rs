//! The view on a terminal: its frames as text, and the terminal it leaves behind.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use indicatif::{ProgressDrawTarget, TermLike};
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
    frame(&View { plan, state: &state, now: Millis(now), tails: &BTreeMap::new(), look, size })
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
struct Screen(Arc<Mutex<String>>);

impl TermLike for Screen {
    fn width(&self) -> u16 {
        60
    }
    fn height(&self) -> u16 {
        20
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.write_str("\n")
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.lock().expect("not poisoned").push_str(text);
        Ok(())
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails at every write, as a terminal does that was closed.
#[derive(Debug)]
struct Gone;

impl TermLike for Gone {
    fn width(&self) -> u16 {
        60
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn write_line(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn write_str(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn clear_line(&self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&self) -> io::Result<()> {
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
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 250);
    let mut live = Live::new(target, LOOKS[0], Box::new(|| Size { rows: 20, columns: 60 }));
    drive(&mut live, &plan, &fixtures::rolled_back());
    let text = screen.0.lock().expect("not poisoned").clone();
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
    assert!(!text.contains("\x1b[2J"), "a command's escape reached the terminal");
}

#[test]
fn a_terminal_that_is_gone_is_no_crash() {
    let plan = fixtures::plan();
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Gone), 250);
    let mut live = Live::new(target, LOOKS[0], Box::new(|| Size { rows: 0, columns: 0 }));
    drive(&mut live, &plan, &fixtures::stuck());
}
