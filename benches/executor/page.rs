//! The table, and its place in the documentation.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::Failure;
use crate::machine;
use crate::samples::Samples;
use crate::work::{MANY, STEPS, WIDTH, Work};

const BEGIN: &str = "<!-- measured: cargo bench --bench executor -- --write -->";
const END: &str = "<!-- end of what was measured -->";

/// A line: what, the floor, the program, and whether that is what was aimed at.
struct Row {
    what: String,
    floor: Option<String>,
    measured: String,
    target: String,
    met: bool,
}

pub fn table(samples: &Samples, work: &Work) -> String {
    let mut text = format!("Measured on: {}.\n\n", machine::facts(&work.folder));
    text += "| what | floor | runbook | target | |\n|---|---|---|---|---|\n";
    let mut rows = against_floor(samples, work);
    rows.extend(against_limits(samples));
    for Row { what, floor, measured, target, met } in rows {
        let floor = floor.unwrap_or_default();
        let verdict = if met { "met" } else { "**missed**" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {what} | {floor} | {measured} | {target} | {verdict} |");
    }
    text += "\nThe same chain by others, none of which keeps a record that is synced:\n\n";
    text += "| | seconds | to the floor |\n|---|---|---|\n";
    let own = [("floor", "chain.floor"), ("runbook", "chain.runbook")];
    let peers = work.peers.iter().map(|peer| (peer.name(), peer.chain_name()));
    for (name, case) in own.into_iter().chain(peers) {
        if let (Some(seconds), Some(ratio)) = (samples.median(case), samples.ratio(case, "chain.floor")) {
            let _ = writeln!(text, "| {name} | {seconds:.2} | {ratio:.2} |");
        }
    }
    for name in &work.absent {
        let _ = writeln!(text, "| {name} | not installed | |");
    }
    text
}

fn against_floor(samples: &Samples, work: &Work) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut ratio = |case: &str, what: String, most: f64| {
        let (run, floor) = (format!("{case}.runbook"), format!("{case}.floor"));
        let Some(ratio) = samples.ratio(&run, &floor) else { return };
        let (Some(seconds), Some(least)) = (samples.median(&run), samples.median(&floor)) else { return };
        rows.push(Row {
            what,
            floor: Some(format!("{least:.3} s")),
            measured: format!("{seconds:.3} s, {ratio:.2} x"),
            target: format!("{most} x"),
            met: ratio <= most,
        });
    };
    ratio("chain", format!("chain of {STEPS} `true` steps"), 1.25);
    ratio("wide", format!("{STEPS} independent `true` steps, {WIDTH} at once"), 1.15);
    let mut over = |case: &str, what: &str, most: f64, from_zero: bool| {
        let seconds = samples.median(&format!("{case}.runbook"));
        let floor = samples.median(&format!("{case}.floor"));
        let (Some(seconds), Some(floor)) = (seconds, floor) else { return };
        let (millis, least) = (seconds * 1e3, floor * 1e3);
        let judged = if from_zero { millis } else { millis - least };
        rows.push(Row {
            what: what.to_owned(),
            floor: Some(format!("{least:.1} ms")),
            measured: format!("{millis:.1} ms"),
            target: if from_zero { format!("{most} ms") } else { format!("{most} ms over the floor") },
            met: judged <= most,
        });
    };
    over("one", "run of one step, whole process", 12.0, false);
    over("version", "`--version`, whole process; the floor is `true`", 3.0, true);
    let output = samples.median("output.runbook");
    if let (Some(seconds), Some(floor)) = (output, samples.median("output.floor")) {
        let rate = |seconds: f64| work.text_mib as f64 * 1.048_576 / seconds;
        rows.push(Row {
            what: format!("{} MiB of output with three secrets", work.text_mib),
            floor: Some(format!("{:.0} MB/s", rate(floor))),
            measured: format!("{:.0} MB/s", rate(seconds)),
            target: "500 MB/s".into(),
            met: rate(seconds) >= 500.0,
        });
    }
    if let (Some(seconds), Some(chain)) = (samples.median("long.seconds"), samples.median("chain.runbook")) {
        let tenfold = chain * MANY as f64 / STEPS as f64;
        rows.push(Row {
            what: format!("run of {MANY} steps; the floor is {} times the chain above", MANY / STEPS),
            floor: Some(format!("{tenfold:.2} s")),
            measured: format!("{seconds:.2} s, {:.2} x", seconds / tenfold),
            target: "1.3 x".into(),
            met: seconds <= 1.3 * tenfold,
        });
    }
    rows
}

fn against_limits(samples: &Samples) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut limit = |case: &str, what: &str, unit: &str, factor: f64, bound: (f64, bool)| {
        let Some(value) = samples.median(case) else { return };
        let value = value * factor;
        let (target, is_most) = bound;
        let digits = if value < 10.0 { 1 } else { 0 };
        rows.push(Row {
            what: what.to_owned(),
            floor: None,
            measured: format!("{value:.digits$} {unit}"),
            target: format!("{} {target} {unit}", if is_most { "at most" } else { "at least" }),
            met: if is_most { value <= target } else { value >= target },
        });
    };
    let (most, least) = (|target| (target, true), |target| (target, false));
    for what in ["plan", "lint"] {
        limit(&format!("{what}.seconds"), &format!("`{what}` of {MANY} steps"), "ms", 1e3, most(300.0));
        limit(&format!("{what}.mib"), &format!("`{what}` of {MANY} steps, memory"), "MiB", 1.0, most(80.0));
    }
    limit("long.mib", &format!("run of {MANY} steps, memory of the runner"), "MiB", 1.0, most(120.0));
    limit("long.journal", "journal of a plain step", "bytes", 1.0, most(1024.0));
    limit("long.verify", "`verify`, whole process", "MB/s", 1.0, least(300.0));
    limit("long.resume", &format!("`resume` of {MANY} steps to its first act"), "ms", 1e3, most(500.0));
    limit("output.mib", "the same output, memory of all processes", "MiB", 1.0, most(40.0));
    limit("waiting.mib", "waiting, memory of all processes", "MiB", 1.0, most(12.0));
    limit("waiting.wakeups", "waiting, wake-ups a second", "", 1.0, most(0.0));
    limit("waiting.threads", "waiting, threads of both processes", "", 1.0, most(2.0));
    limit("binary.mib", "the program's file", "MiB", 1.0, most(15.0));
    rows
}

/// Puts the table between its marks.
pub fn write(table: &str) -> Result<(), Failure> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let marks = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, foot) = marks.ok_or("docs/performance.md has no place for the table")?;
    Ok(std::fs::write(&path, format!("{head}{BEGIN}\n\n{table}\n{END}{foot}"))?)
}
