//! The table, and its place in the documentation.

use std::path::PathBuf;

use crate::Failure;
use crate::hosts::{EACH, HOSTS};
use crate::machine;
use crate::peers::Peers;
use crate::samples::Samples;
use crate::work::{MANY, STEPS, WIDTH, Work};

const BEGIN: &str = "<!-- measured: cargo bench --bench executor -- --write -->";
const END: &str = "<!-- end of what was measured -->";

/// A line: what, what it is compared with, the program, and whether that is what was aimed at.
struct Row {
    what: String,
    floor: String,
    measured: String,
    target: String,
    /// None if nothing was aimed at.
    met: Option<bool>,
}

impl Row {
    fn line(&self) -> String {
        let Self { what, floor, measured, target, met } = self;
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        format!("| {what} | {floor} | {measured} | {target} | {verdict} |\n")
    }
}

/// `absent` is why there is no figure of other hosts.
pub fn table(samples: &Samples, work: &Work, peers: &Peers, absent: Option<&str>) -> String {
    let mut text = format!("Measured on: {}.\n\n", machine::facts(&work.folder));
    text += "| what | floor | runbook | target | |\n|---|---|---|---|---|\n";
    let figures = Figures { samples };
    let mut rows = figures.times();
    rows.extend(figures.long());
    rows.extend(figures.output(work.text_mib));
    rows.extend(figures.many());
    rows.extend(figures.waiting());
    rows.extend(figures.hosts(absent));
    rows.extend(figures.program());
    text.extend(rows.iter().map(Row::line));
    text += "\nThe same chain and its first step by others. None of them syncs a record, and only Dagu keeps one:\n\n";
    text += "| | chain, seconds | to the floor | one step, ms |\n|---|---|---|---|\n";
    let row = |name: &str| {
        let (seconds, ratio) = (
            samples.median(&format!("chain.{name}"))?,
            samples.ratio(&format!("chain.{name}"), "chain.floor")?,
        );
        let one = samples.median(&format!("one.{name}"))? * 1e3;
        Some(format!("| {name} | {seconds:.2} | {ratio:.2} | {one:.0} |\n"))
    };
    text.extend(["floor", "runbook"].into_iter().filter_map(row));
    text + &peers.lines(samples, row)
}

struct Figures<'a> {
    samples: &'a Samples,
}

impl Figures<'_> {
    fn pair(&self, case: &str) -> Option<(f64, f64)> {
        let median = |side: &str| self.samples.median(&format!("{case}.{side}"));
        Some((median("runbook")?, median("floor")?))
    }

    /// So many times what the floor takes.
    fn ratio(&self, case: &str, what: String, most: Option<f64>) -> Option<Row> {
        let (seconds, least) = self.pair(case)?;
        let ratio = self.samples.ratio(&format!("{case}.runbook"), &format!("{case}.floor"))?;
        Some(Row {
            what,
            floor: format!("{least:.3} s"),
            measured: format!("{seconds:.3} s, {ratio:.2} x"),
            target: most.map_or_else(String::new, |most| format!("{most} x")),
            met: most.map(|most| ratio <= most),
        })
    }

    /// At most (or least) so much, whatever the machine.
    fn limit(&self, case: &str, what: String, unit: &str, factor: f64, bound: Bound) -> Option<Row> {
        let value = self.samples.median(case)? * factor;
        let digits = if value < 100.0 { 1 } else { 0 };
        let (word, target, met) = match bound {
            Bound::Most(most) => ("at most", most, value <= most),
            Bound::Least(least) => ("at least", least, value >= least),
        };
        Some(Row {
            what,
            floor: String::new(),
            measured: format!("{value:.digits$} {unit}"),
            target: format!("{word} {target} {unit}"),
            met: Some(met),
        })
    }

    fn times(&self) -> Vec<Row> {
        let mut rows =
            vec![self.ratio("chain", format!("chain of {STEPS} steps of `sh -c true`"), Some(1.25))];
        for peer in ["just", "go-task"] {
            let measured =
                self.samples.median("chain.runbook").zip(self.samples.median(&format!("chain.{peer}")));
            rows.push(measured.map(|(seconds, other)| Row {
                what: format!("the same; the floor is {peer}, which keeps no record"),
                floor: format!("{other:.3} s"),
                measured: format!("{seconds:.3} s, {:.2} x", seconds / other),
                target: "less".into(),
                met: Some(seconds < other),
            }));
        }
        rows.push(self.ratio("bare", format!("chain of {STEPS} steps of `true`, without a shell"), None));
        rows.push(self.ratio("wide", format!("{STEPS} independent steps, {WIDTH} at once"), Some(1.15)));
        let millis = |case: &str, what: &str, most: f64, over: bool| {
            let (millis, least) = self.pair(case).map(|(run, floor)| (run * 1e3, floor * 1e3))?;
            Some(Row {
                what: what.to_owned(),
                floor: format!("{least:.1} ms"),
                measured: format!("{millis:.1} ms"),
                target: format!("{most} ms{}", if over { " over the floor" } else { "" }),
                met: Some(millis - if over { least } else { 0.0 } <= most),
            })
        };
        rows.push(millis("one", "run of one step, whole process", 12.0, true));
        rows.push(millis("version", "`--version`, whole process; the floor is `true`", 3.0, false));
        rows.into_iter().flatten().collect()
    }

    fn long(&self) -> Vec<Row> {
        let median = |case: &str| self.samples.median(case);
        let mut rows = Vec::new();
        if let (Some(lint), Some(plan)) = (median("lint.seconds"), median("plan.seconds")) {
            let millis = (lint + plan) * 1e3;
            rows.push(Some(Row {
                what: format!("`lint` and `plan` of {MANY} steps, together"),
                floor: String::new(),
                measured: format!("{:.0} ms and {:.0} ms", lint * 1e3, plan * 1e3),
                target: "at most 300 ms".into(),
                met: Some(millis <= 300.0),
            }));
        }
        for what in ["lint", "plan"] {
            let text = format!("`{what}` of {MANY} steps, memory");
            rows.push(self.limit(&format!("{what}.mib"), text, "MiB", 1.0, Bound::Most(80.0)));
        }
        if let (Some(seconds), Some(chain)) = (median("long.seconds"), median("chain.runbook")) {
            let tenfold = chain * MANY as f64 / STEPS as f64;
            rows.push(Some(Row {
                what: format!("run of {MANY} steps; the floor is {} times the chain above", MANY / STEPS),
                floor: format!("{tenfold:.2} s"),
                measured: format!("{seconds:.2} s, {:.2} x", seconds / tenfold),
                target: "1.3 x".into(),
                met: Some(seconds <= 1.3 * tenfold),
            }));
        }
        let text = format!("run of {MANY} steps, memory of the runner");
        rows.push(self.limit("long.mib", text, "MiB", 1.0, Bound::Most(120.0)));
        rows.push(self.limit(
            "long.journal",
            "journal, a plain step".into(),
            "bytes",
            1.0,
            Bound::Most(1024.0),
        ));
        let text = format!("`verify` of {MANY} steps, whole process");
        rows.push(self.limit("long.verify", text, "MB/s", 1.0, Bound::Least(300.0)));
        let text = format!("`resume` of {MANY} steps to its first act");
        rows.push(self.limit("long.resume", text, "ms", 1e3, Bound::Most(500.0)));
        rows.into_iter().flatten().collect()
    }

    fn output(&self, mib: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some((seconds, floor)) = self.pair("output") {
            let rate = |seconds: f64| mib as f64 * 1.048_576 / seconds;
            rows.push(Some(Row {
                what: format!("{mib} MiB of output with three secrets; the floor is a copy"),
                floor: format!("{:.0} MB/s", rate(floor)),
                measured: format!("{:.0} MB/s", rate(seconds)),
                target: "at least 500 MB/s".into(),
                met: Some(rate(seconds) >= 500.0),
            }));
        }
        let text = "the same, memory of runner and keeper".into();
        rows.push(self.limit("output.mib", text, "MiB", 1.0, Bound::Most(40.0)));
        rows.into_iter().flatten().collect()
    }

    fn many(&self) -> Vec<Row> {
        let text = "the same, memory of runner and keeper".into();
        let rows = [
            self.ratio("sleeps", format!("{STEPS} steps of `sleep 1` at once"), Some(2.0)),
            self.limit("sleeps.mib", text, "MiB", 1.0, Bound::Most(100.0)),
        ];
        rows.into_iter().flatten().collect()
    }

    fn waiting(&self) -> Vec<Row> {
        let what = |what: &str| format!("waiting for a person, {what}");
        let once = what("memory of both, shared pages counted once");
        let rows = [
            self.limit("waiting.wakeups", what("wake-ups a second"), "", 1.0, Bound::Most(0.0)),
            self.limit("waiting.mib", once, "MiB", 1.0, Bound::Most(12.0)),
            self.limit("waiting.threads", what("threads of both"), "", 1.0, Bound::Most(2.0)),
        ];
        rows.into_iter().flatten().collect()
    }

    fn hosts(&self, absent: Option<&str>) -> Option<Row> {
        let what = format!("{HOSTS} hosts by ssh, {EACH} steps on each; the floor is ansible-core");
        let seconds = self.samples.median("hosts.runbook");
        let Some(why) = absent else { return self.ratio("hosts", what, Some(0.2)) };
        let measured = seconds.map_or_else(|| "not measured".to_owned(), |seconds| format!("{seconds:.3} s"));
        Some(Row { what, floor: why.to_owned(), measured, target: "0.2 x".into(), met: None })
    }

    fn program(&self) -> Vec<Row> {
        let rows = [
            self.limit("binary.mb", "the program's file".into(), "MB", 1.0, Bound::Most(15.0)),
            self.limit("build.seconds", "a clean release build".into(), "s", 1.0, Bound::Most(240.0)),
        ];
        rows.into_iter().flatten().collect()
    }
}

enum Bound {
    Most(f64),
    Least(f64),
}

/// Puts the table between its marks.
pub fn write(table: &str) -> Result<(), Failure> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let marks = page.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, foot) = marks.ok_or("docs/performance.md has no place for the table")?;
    Ok(std::fs::write(&path, format!("{head}{BEGIN}\n\n{table}\n{END}{foot}"))?)
}
