//! When the service is likely to be back, by what past runs took, in words for people.

use serde::Serialize;

use super::look::Tone;
use super::words;
use crate::engine::{Projection, RunStatus, State};
use crate::model::{Millis, StepId, Timestamp};
use crate::plan::Plan;

/// Nearer than that the seconds matter.
const SOON: Millis = Millis::secs(600);

/// What can be said of the end, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlook {
    /// Past runs of the playbook that were known at the start, drills apart.
    pub runs: u32,
    pub drills: u32,
    /// Absent without past runs, or if none of them tells of what is left.
    pub recovery: Option<Recovery>,
}

/// Spans count from the start of the incident, as the RTO does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// If each step that is left takes what it took in half of the past runs.
    pub p50: Millis,
    /// If each takes what nine of ten past runs did not exceed.
    pub p90: Millis,
    pub p50_at: Timestamp,
    pub p90_at: Timestamp,
    /// When the time of the RTO is over.
    pub rto_at: Option<Timestamp>,
    pub breach: Breach,
    /// Steps ahead of which no past run tells; their time is not in the figures.
    pub untold: usize,
    /// Steps that take clearly longer than in nine of ten past runs.
    pub overdue: Vec<OverdueRow>,
    /// By nobody knows how much: a step is overdue, or no past run tells of it.
    pub or_later: bool,
    #[serde(skip)]
    now: Timestamp,
}

/// Whether the RTO is projected to be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breach {
    /// By neither figure, or there is no RTO.
    None,
    /// By `p90`.
    Possible,
    /// By `p50` too.
    Likely,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverdueRow {
    pub step: StepId,
    /// So far, without waiting for people.
    pub takes: Millis,
    pub p90: Millis,
}

impl Outlook {
    /// None if nobody looked for past runs, or if the run does not go for recovery. `now` counts from its start.
    pub fn of(plan: &Plan, state: &State, now: Millis) -> Option<Self> {
        let start = state.start.as_ref()?;
        let past = start.past.as_deref()?;
        if !(state.status == RunStatus::Running || state.waits()) {
            return None;
        }
        let before = state.started_at.since(start.incident_since);
        let moment = |t: Millis| after(state.started_at, t);
        let recovery = Projection::of(plan, state, now).map(|projected| {
            let (p50, p90) = (projected.end.p50, projected.end.p90);
            let late = |end: Millis| plan.objectives.rto.is_some_and(|rto| before.saturating_add(end) > rto);
            Recovery {
                p50: before.saturating_add(p50),
                p90: before.saturating_add(p90),
                p50_at: moment(p50),
                p90_at: moment(p90),
                rto_at: plan.objectives.rto.map(|rto| after(start.incident_since, rto)),
                breach: match (late(p50), late(p90)) {
                    (true, _) => Breach::Likely,
                    (false, true) => Breach::Possible,
                    (false, false) => Breach::None,
                },
                untold: projected.untold,
                overdue: projected
                    .overdue
                    .iter()
                    .map(|one| OverdueRow {
                        step: plan.steps[one.step].id.clone(),
                        takes: one.takes,
                        p90: one.p90,
                    })
                    .collect(),
                or_later: projected.is_earliest(),
                now: moment(now),
            }
        });
        Some(Self { runs: past.runs, drills: past.drills, recovery })
    }

    pub fn has_past(&self) -> bool {
        self.runs > 0 || self.drills > 0
    }

    pub fn tone(&self) -> Tone {
        match self.recovery.as_ref().map(|recovery| recovery.breach) {
            Some(Breach::Likely) => Tone::Bad,
            Some(Breach::Possible) => Tone::Warn,
            Some(Breach::None) => Tone::Plain,
            None => Tone::Dim,
        }
    }

    /// `projected to recover 03:41 (p50) to 03:58 (p90) UTC, RTO 04:00`, or why nothing is projected.
    pub fn sentence(&self) -> String {
        match &self.recovery {
            Some(recovery) => format!("projected to recover {}{}", recovery.times(), recovery.objective()),
            None if self.has_past() => "not projected: no past run tells of what is left".to_owned(),
            None => "not projected: no past runs".to_owned(),
        }
    }

    /// The same in at most so many columns, if it fits with fewer words.
    pub fn sentence_within(&self, columns: usize) -> String {
        let whole = self.sentence();
        match &self.recovery {
            Some(recovery) if whole.len() > columns => {
                format!("recovery {}{}", recovery.span(), recovery.objective())
            }
            _ => whole,
        }
    }

    /// What the projection rests on; nothing without one.
    pub fn basis(&self) -> Option<String> {
        let recovery = self.recovery.as_ref()?;
        let mut text = format!("from {}", past_runs(self.runs, self.drills));
        match recovery.untold {
            0 => {}
            n => text.push_str(&format!(", without {} that no past run tells of", words::count(n, "step"))),
        }
        Some(text)
    }

    /// A line for each step that takes too long.
    pub fn overdue(&self) -> impl Iterator<Item = String> {
        let rows = self.recovery.iter().flat_map(|recovery| &recovery.overdue);
        rows.map(|row| format!("{} takes {}, in past runs {} (p90)", row.step, row.takes, row.p90))
    }
}

/// `3 past runs and 1 drill`.
pub fn past_runs(runs: u32, drills: u32) -> String {
    let drilled = words::count(drills as usize, "drill");
    match (runs, drills) {
        (runs, 0) => words::count(runs as usize, "past run"),
        (0, _) => drilled,
        (runs, _) => format!("{} and {drilled}", words::count(runs as usize, "past run")),
    }
}

impl Recovery {
    /// `03:41 (p50) to 03:58 (p90) UTC`, with what is needed to know the moment.
    pub fn times(&self) -> String {
        let later = if self.or_later { " or later" } else { "" };
        let (p50, p90) = (self.clock(self.p50_at), self.clock(self.p90_at));
        match p50 == p90 {
            true => format!("{p50} (p50, p90) UTC{later}"),
            false => format!("{p50} (p50) to {p90} (p90) UTC{later}"),
        }
    }

    fn span(&self) -> String {
        self.times().replacen(" UTC", "", 1)
    }

    fn objective(&self) -> String {
        let Some(at) = self.rto_at.map(|at| self.clock(at)) else { return String::new() };
        match self.breach {
            Breach::None => format!(", RTO {at}"),
            Breach::Possible => format!(", RTO {at} at risk"),
            Breach::Likely => format!(", RTO {at} missed"),
        }
    }

    fn clock(&self, at: Timestamp) -> String {
        let clock = at.clock();
        let clock = match self.p50_at.since(self.now) < SOON {
            true => clock.as_str(),
            false => clock.get(..5).unwrap_or(&clock),
        };
        match at.date() == self.now.date() {
            true => clock.to_owned(),
            false => format!("{} {clock}", at.date()),
        }
    }
}

fn after(at: Timestamp, span: Millis) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
}
