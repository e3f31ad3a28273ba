//! Who is told of a run, and when.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::types::Template;
use crate::model::{Millis, Percentile};

/// A message of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    pub channels: Vec<String>,
    pub message: Template,
}

/// More people, when the incident lasts or gets worse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// At least 1, and higher than that of the level before.
    pub level: u32,
    /// From the start of the incident.
    pub after: Option<Millis>,
    /// Raised when the RTO is projected to be missed, by this figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projected_breach: Option<Percentile>,
    /// Channels.
    pub notify: Vec<String>,
    /// Roles resolved.
    pub to: Vec<String>,
}

/// Regular word of how things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    pub channels: Vec<String>,
    /// One after the other, from the start of the incident.
    pub every: Vec<Cadence>,
    /// A page for people, written anew with each update. Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cadence {
    /// None: from then on.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub length: Option<Millis>,
    pub every: Millis,
}

impl Updates {
    /// The first moment after `age` at which an update is due; both count from the start of the incident.
    pub fn next_after(&self, age: Millis) -> Option<Millis> {
        let mut begin = Millis::ZERO;
        for cadence in &self.every {
            let every = cadence.every.0.max(1);
            let end = cadence.length.map(|length| begin.saturating_add(length));
            let passed = age.saturating_sub(begin).0 / every;
            let next = begin.saturating_add(Millis(every.saturating_mul(passed.saturating_add(1))));
            match end {
                Some(end) if age >= end => {}
                // A length that is no multiple of the pause: the end is due itself.
                Some(end) => return Some(next.min(end)),
                None => return Some(next),
            }
            begin = end.unwrap_or(begin);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(every: &[(Option<u64>, u64)]) -> Updates {
        let minutes = |m: u64| Millis::secs(60 * m);
        let cadence = |(length, every): &(Option<u64>, u64)| Cadence {
            length: length.map(minutes),
            every: minutes(*every),
        };
        Updates { channels: Vec::new(), every: every.iter().map(cadence).collect(), status_file: None }
    }

    fn minutes(updates: &Updates, from: u64, count: usize) -> Vec<u64> {
        let next = |at: &Millis| updates.next_after(*at);
        let all = std::iter::successors(updates.next_after(Millis::secs(60 * from)), next);
        all.take(count).map(|at| at.0 / 60_000).collect()
    }

    #[test]
    fn the_usual_cadence_gets_slower() {
        let updates = updates(&[(Some(30), 5), (Some(30), 15), (None, 30)]);
        assert_eq!(minutes(&updates, 0, 12), [5, 10, 15, 20, 25, 30, 45, 60, 90, 120, 150, 180]);
        assert_eq!(minutes(&updates, 12, 2), [15, 20]);
        assert_eq!(minutes(&updates, 29, 2), [30, 45]);
        assert_eq!(minutes(&updates, 1000, 2), [1020, 1050]);
    }

    #[test]
    fn a_cadence_may_end_and_need_not_fit_its_length() {
        let updates = updates(&[(Some(7), 5), (Some(6), 4)]);
        assert_eq!(minutes(&updates, 0, 9), [5, 7, 11, 13]);
    }
}
