//! The picture of a run: one row for each step, one bar for each attempt, as inline SVG.

use std::fmt::{self, Write as _};

use super::html::{escape, shorten};
use super::{Incident, StepReport};
use crate::model::Millis;
use crate::report::words;

/// Of more steps only the telling ones have a row.
const MAX_ROWS: usize = 120;
/// Of one step's tasks and checks.
const MAX_BARS: usize = 60;
const WIDTH: f64 = 1032.0;
const LABELS: f64 = 210.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 24.0;
const PHASE_ROW: f64 = 26.0;
const TOP: f64 = 34.0;

/// Milliseconds to the picture's units.
struct Scale {
    per_ms: f64,
}

impl Scale {
    fn x(&self, t: Millis) -> f64 {
        LABELS + t.0 as f64 * self.per_ms
    }
}

/// Writes the picture; nothing if no step ever began.
pub fn write(incident: &Incident, out: &mut String) -> fmt::Result {
    let (steps, left_out) = incident.table_steps(MAX_ROWS);
    let steps: Vec<&StepReport> =
        steps.into_iter().filter(|s| s.started_t.is_some() || !s.tasks.is_empty()).collect();
    if steps.is_empty() {
        return Ok(());
    }
    let rto = rto_at(incident);
    // A line far to the right of everything would squeeze the run into a corner.
    let shown_rto = rto.filter(|rto| rto.0 <= incident.duration.0.saturating_mul(3) / 2);
    let total = incident.duration.max(shown_rto.unwrap_or_default()).max(Millis(1));
    let scale = Scale { per_ms: (WIDTH - LABELS - RIGHT) / total.0 as f64 };
    let named = incident.phases.len() > 1;
    let mut heads = Vec::new();
    if named {
        for (n, _) in incident.phases.iter().enumerate() {
            heads.extend(steps.iter().position(|s| s.phase == n).map(|first| (n, first)));
        }
    }
    let height = TOP + ROW * steps.len() as f64 + PHASE_ROW * heads.len() as f64 + 14.0;
    writeln!(
        out,
        "<div class=\"scroll\"><svg class=\"gantt\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Steps and attempts over time\">"
    )?;
    axis(&scale, total, height, out)?;
    let mut y = TOP;
    for (n, step) in steps.iter().enumerate() {
        if let Some((phase, _)) = heads.iter().find(|(_, first)| *first == n) {
            phase_row(incident, *phase, &scale, y, out)?;
            y += PHASE_ROW;
        }
        row(step, incident, &scale, y, out)?;
        y += ROW;
    }
    if let Some(at) = shown_rto {
        let x = scale.x(at);
        writeln!(
            out,
            "<line class=\"rto\" x1=\"{x:.1}\" y1=\"20\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            height - 6.0
        )?;
        let label = incident.rto.as_ref().and_then(|o| o.target).map(words::target_text).unwrap_or_default();
        writeln!(
            out,
            "<text class=\"rto-name\" x=\"{x:.1}\" y=\"14\" text-anchor=\"middle\">RTO {label}</text>"
        )?;
    }
    writeln!(out, "</svg>")?;
    legend(rto.filter(|_| shown_rto.is_none()), left_out, out)?;
    writeln!(out, "</div>")
}

/// Where the RTO ends on the run's own clock: it began with the incident, before the run.
fn rto_at(incident: &Incident) -> Option<Millis> {
    let target = incident.rto.as_ref()?.target?;
    let before = incident.started?.since(incident.incident_since?);
    Some(target.saturating_sub(before))
}

fn axis(scale: &Scale, total: Millis, height: f64, out: &mut String) -> fmt::Result {
    const STEPS: [u64; 22] = [
        10, 50, 100, 250, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
        900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
    ];
    let step = STEPS.into_iter().find(|s| total.0 / s <= 8).unwrap_or((total.0 / 8).max(1));
    for n in 0..=total.0 / step {
        let t = Millis(n * step);
        let x = scale.x(t);
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>",
            TOP - 6.0,
            height - 6.0
        )?;
        let label = if n == 0 { "0".to_owned() } else { words::target_text(t) };
        writeln!(
            out,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            TOP - 10.0
        )?;
    }
    Ok(())
}

fn phase_row(incident: &Incident, n: usize, scale: &Scale, y: f64, out: &mut String) -> fmt::Result {
    let phase = &incident.phases[n];
    writeln!(
        out,
        "<rect class=\"band\" x=\"0\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"{:.1}\"/>",
        y + 2.0,
        PHASE_ROW - 4.0
    )?;
    let late = if phase.late { ", late" } else { "" };
    let name = escape(&shorten(&phase.title, 60));
    writeln!(out, "<text class=\"phase\" x=\"12\" y=\"{:.1}\">{name}{late}</text>", y + 17.0)?;
    if let Some(started) = phase.started_t {
        let ended = phase.ended_t.unwrap_or(incident.duration);
        let (a, b, y) = (scale.x(started), scale.x(ended), y + PHASE_ROW / 2.0);
        writeln!(out, "<line class=\"span\" x1=\"{a:.1}\" y1=\"{y:.1}\" x2=\"{b:.1}\" y2=\"{y:.1}\"/>")?;
    }
    Ok(())
}

fn row(step: &StepReport, incident: &Incident, scale: &Scale, y: f64, out: &mut String) -> fmt::Result {
    let middle = y + ROW / 2.0;
    let name = escape(&shorten(step.id.as_str(), 30));
    let title = escape(&shorten(&step.title, 200));
    writeln!(out, "<g><title>{name}: {title} ({})</title>", step.state)?;
    writeln!(out, "<text x=\"12\" y=\"{:.1}\">{name}</text>", middle + 4.0)?;
    let end = step.ended_t.unwrap_or(incident.duration);
    if let Some(start) = step.started_t {
        let (a, b) = (scale.x(start), scale.x(end));
        writeln!(
            out,
            "<line class=\"span\" x1=\"{a:.1}\" y1=\"{middle:.1}\" x2=\"{b:.1}\" y2=\"{middle:.1}\"/>"
        )?;
    }
    if let Some((at, length)) = step.wait {
        bar("wait", at, at.saturating_add(length).min(end), "wait", scale, middle, out)?;
    }
    for check in step.checks.iter().take(MAX_BARS) {
        let class = format!("{} check", class(check.verdict));
        let about = format!("{}: {}", check.title, check.verdict);
        bar(&class, check.started_t, check.ended_t.unwrap_or(end), &about, scale, middle, out)?;
    }
    for task in step.tasks.iter().take(MAX_BARS) {
        let class = match class(task.verdict) {
            "passed" if task.undo => "undo",
            class => class,
        };
        let about = format!("{}: {}", task.what, task.end.as_deref().unwrap_or(task.verdict));
        let ended = task.ended_t.unwrap_or(incident.duration);
        bar(class, task.started_t, ended, &about, scale, middle, out)?;
    }
    if let Some(took) = super::markdown::took(step) {
        let x = (scale.x(end) + 7.0).min(WIDTH - RIGHT + 6.0);
        writeln!(out, "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\">{took}</text>", middle + 4.0)?;
    }
    writeln!(out, "</g>")
}

fn bar(
    class: &str,
    from: Millis,
    to: Millis,
    about: &str,
    scale: &Scale,
    middle: f64,
    out: &mut String,
) -> fmt::Result {
    let x = scale.x(from);
    let width = (scale.x(to) - x).max(2.5);
    let about = escape(&shorten(about, 200));
    writeln!(
        out,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"12\" rx=\"2.5\"><title>{about}</title></rect>",
        middle - 6.0
    )
}

fn class(verdict: &str) -> &'static str {
    match verdict {
        "passed" => "passed",
        "failed" => "failed",
        "unknown" => "unknown",
        "cancelled" => "cancelled",
        _ => "open",
    }
}

fn legend(rto_beyond: Option<Millis>, left_out: usize, out: &mut String) -> fmt::Result {
    write!(out, "<div class=\"legend\">")?;
    for (color, name) in [
        ("good", "passed"),
        ("bad", "failed"),
        ("warn", "unknown"),
        ("off", "cancelled or no end recorded"),
        ("calm", "undo"),
    ] {
        write!(out, "<span><i style=\"background:var(--{color})\"></i>{name}</span>")?;
    }
    write!(out, "<span><i style=\"background:var(--good);opacity:.45\"></i>checks</span>")?;
    if let Some(at) = rto_beyond {
        write!(out, "<span>the RTO ends at +{}, far to the right</span>", words::target_text(at))?;
    }
    if left_out > 0 {
        write!(out, "<span>{left_out} steps that went as planned have no row</span>")?;
    }
    writeln!(out, "</div>")
}
