//! The recovery report: how the recovery went as a process, in time, by its measures, with its issues.
//! Rows of names and values; Markdown and HTML lay them out.

use super::Incident;
use crate::model::{Millis, Timestamp};
use crate::report::words;

/// A part of the recovery report. An empty one is for people to write.
pub(super) struct Part {
    pub name: &'static str,
    pub rows: Vec<(String, String)>,
    /// What people are asked to write.
    pub question: Option<&'static str>,
}

impl Incident {
    /// From the start of the incident to the end, as long as the records know it.
    pub(super) fn incident_length(&self) -> Option<Millis> {
        let measured = self.rto.as_ref().and_then(|rto| rto.measured);
        let before = self.started?.since(self.incident_since?);
        Some(measured.unwrap_or_else(|| before.saturating_add(self.duration)))
    }

    pub(super) fn impact(&self) -> Vec<(&'static str, Option<String>)> {
        let back = self.rto.as_ref().is_some_and(|rto| rto.measured.is_some());
        let duration = self.incident_length().map(|length| match (back, self.incident_since) {
            (true, Some(since)) => format!("{length}, from {} UTC", since.human()),
            _ if self.outcome.is_none() => format!("{length} so far; the run is not over"),
            _ => format!("{length} up to the last record; the run did not bring the service back"),
        });
        let lost = self.rpo.as_ref().filter(|rpo| rpo.measured.is_some()).map(words::objective);
        vec![("duration", duration), ("users", None), ("revenue", None), ("data loss", lost)]
    }

    pub(super) fn recovery(&self) -> Vec<Part> {
        vec![
            self.process(),
            self.times(),
            self.measures(),
            self.issues(),
            self.follow_up(),
            Part {
                name: "Recommendations",
                rows: Vec::new(),
                question: Some("What should be decided, bought or built, beyond the action items?"),
            },
        ]
    }

    fn process(&self) -> Part {
        let counts: Vec<String> = self.counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
        let mut rows = vec![
            row("playbook", &self.playbook),
            row("outcome", self.outcome.map_or_else(|| "not over".to_owned(), |o| o.to_string())),
            row("steps", format!("{}: {}", self.steps.len(), counts.join(", "))),
        ];
        rows.extend(self.commander.as_ref().map(|name| row("led at the end by", name)));
        if let Some(rollback) = &self.rollback {
            rows.push(row("rolled back because", &rollback.because));
        }
        Part { name: "Process", rows, question: None }
    }

    fn times(&self) -> Part {
        let mut rows = Vec::new();
        if let (Some(started), Some(since)) = (self.started, self.incident_since) {
            rows.push(row("incident to the start of the run", started.since(since).to_string()));
        }
        rows.push(row("run", self.duration.to_string()));
        if let Some(projection) = &self.projection {
            rows.extend(projection.rows());
        }
        rows.push(row("waiting for people", self.time.waiting_for_people.to_string()));
        rows.push(row("everything else", self.time.machine.to_string()));
        if self.phases.len() > 1 {
            for phase in &self.phases {
                let Some(from) = phase.started_t else { continue };
                let took = phase.ended_t.unwrap_or(self.duration).saturating_sub(from);
                let limit =
                    phase.deadline.map_or_else(String::new, |d| format!(" of {}", words::target_text(d)));
                let late = if phase.late { ", late" } else { "" };
                rows.push(row(&format!("phase {}", phase.title), format!("{took}{limit}{late}")));
            }
        }
        Part { name: "Time", rows, question: None }
    }

    fn measures(&self) -> Part {
        let mut rows = Vec::new();
        for (name, objective) in [("RTO", &self.rto), ("RPO", &self.rpo)] {
            let text = objective.as_ref().map_or_else(|| "not measured".to_owned(), words::objective);
            rows.push(row(name, text));
        }
        let (held, all) = self.review.checks;
        rows.push(row("checks that held", format!("{held} of {all}")));
        rows.push(row("retries", self.review.retries.to_string()));
        Part { name: "Success metrics", rows, question: None }
    }

    fn issues(&self) -> Part {
        let mut rows: Vec<(String, String)> = self
            .failures
            .iter()
            .map(|f| {
                row(f.step.as_str(), format!("{}: {}", f.outcome, f.why.as_deref().unwrap_or("no reason")))
            })
            .collect();
        if !self.deviations.is_empty() {
            rows.push(row("deviations from the plan", format!("{}, listed above", self.deviations.len())));
        }
        if rows.is_empty() {
            rows.push(row("none", "every step went as planned"));
        }
        Part { name: "Issues", rows, question: None }
    }

    fn follow_up(&self) -> Part {
        let drafts = words::count(self.review.actions.len(), "drafted action item");
        Part {
            name: "Follow-up",
            rows: vec![row("to do", format!("{drafts}, listed below"))],
            question: None,
        }
    }

    /// When the post-mortem is due: what, when, and how that is counted.
    pub(super) fn due(&self) -> Vec<(&'static str, String)> {
        let Some(due) = self.review.deadlines else {
            return vec![(
                "meeting, draft and final version",
                "24 hours, 48 hours and a week after the end, which has not come".to_owned(),
            )];
        };
        let stamp = |at: Timestamp, how: &str| format!("{} UTC ({how} after the end)", at.human());
        vec![
            ("meeting", stamp(due.meeting, "24 hours")),
            ("draft", stamp(due.draft, "48 hours")),
            ("final version", stamp(due.finished, "a week")),
        ]
    }
}

fn row(name: &str, text: impl Into<String>) -> (String, String) {
    (name.to_owned(), text.into())
}
