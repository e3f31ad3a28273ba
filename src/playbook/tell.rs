//! What can be wrong with the escalation and the updates beyond the shape of their keys.

use super::ast::{Level, Updates};
use super::diagnostic::Diagnostic;
use super::source::Text;
use crate::model::nearest;

/// What has to hold wherever it is written.
pub(super) fn check(levels: &[Level], updates: Option<&Updates>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for pair in levels.windows(2) {
        let [before, after] = pair else { continue };
        if after.level.value <= before.level.value {
            let message = format!("level {} stands after level {}", after.level.value, before.level.value);
            let help = "write the levels in their order, each once";
            found.push(Diagnostic::error("level-order", after.level.span, message).help(help));
        }
    }
    let timed: Vec<_> = levels.iter().filter_map(|level| level.after.as_ref().map(|a| (level, a))).collect();
    for pair in timed.windows(2) {
        let [(lower, before), (higher, after)] = pair else { continue };
        if after.value < before.value {
            let (low, high) = (lower.level.value, higher.level.value);
            let message = format!("level {high} would be raised before level {low}");
            let help = "give the higher level the later time";
            found.push(Diagnostic::error("level-order", after.span, message).help(help));
        }
    }
    let Some(updates) = updates else { return found };
    for (n, cadence) in updates.every.iter().enumerate() {
        if cadence.every.value.0 < 1000 {
            let message = "updates cannot follow each other faster than once a second";
            found.push(Diagnostic::error("out-of-range", cadence.every.span, message).help("write 5m"));
        }
        let last = n + 1 == updates.every.len();
        match &cadence.length {
            None if !last => {
                let message = "nothing after this is ever reached: it has no `for`";
                let help = "add `for`, which says how long this cadence is kept";
                found.push(Diagnostic::error("endless-cadence", cadence.span, message).help(help));
            }
            Some(length) if length.value.0 == 0 => {
                let message = "`for` must be longer than 0";
                found.push(Diagnostic::error("out-of-range", length.span, message).help("write 30m"));
            }
            _ => {}
        }
    }
    found
}

/// Channels that are not among the known ones.
pub fn unknown_channels<'k>(
    named: &[Text],
    known: impl Iterator<Item = &'k str> + Clone,
    place: &str,
) -> Vec<Diagnostic> {
    let unknown = named.iter().filter(|name| !known.clone().any(|k| k == name.value));
    let told = |name: &Text| {
        let help = match nearest(&name.value, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it below `channels`, {place}"),
        };
        Diagnostic::error("unknown-channel", name.span, format!("there is no channel `{}`", name.value))
            .label("not known")
            .help(help)
    };
    unknown.map(told).collect()
}
