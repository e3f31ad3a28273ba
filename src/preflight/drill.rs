//! When this plan was last proved by a drill.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::checks::at_once;
use super::{Finding, Kind};
use crate::journal::{PLAN_FILE, StateDir, StateError};
use crate::model::{Millis, RunId, Timestamp};
use crate::plan::{Difference, DrillPlace, Plan};

/// Older than this, a drill proves little.
const STALE: Millis = Millis::secs(90 * 86_400);
/// So many of the newest are looked at.
const LOOKED: usize = 20;
/// The largest plan that is read, in bytes.
const LARGEST_PLAN: u64 = 256 << 20;
/// Parts of a plan that a drill shows nothing of: names and texts, people, and where on this machine everything lies.
const UNPROVED: &[&str] = &[
    "playbook",
    "roles",
    "channels",
    "channel_secrets",
    "escalation",
    "updates",
    "requires",
    "lock",
    "root",
];
/// Changed parts that are named.
const NAMED: usize = 4;

/// What is kept of a drill.
pub struct DrillRecord {
    /// Which of several drills of the playbook.
    variant: Option<String>,
    ended: Timestamp,
    /// `passed`, `failed`, `void` or `cancelled`.
    verdict: String,
    plan_hash: String,
    /// What was run. `None` if its folder was removed.
    plan: Option<Plan>,
}

/// Of drill.json, as much as is needed here.
#[derive(Deserialize)]
struct Note {
    playbook: String,
    #[serde(default)]
    variant: Option<String>,
    plan_hash: String,
    ended: Timestamp,
    verdict: String,
    faults: Vec<String>,
    run: Option<RunId>,
}

/// The drills of a playbook, the newest first. One in which the executor itself was broken says nothing of the playbook.
pub fn drills(state: PathBuf, playbook: &str, limit: Duration) -> Result<Vec<DrillRecord>, String> {
    let playbook = playbook.to_owned();
    let work = move || match StateDir::open(&state) {
        Ok(Some(state)) => read(&state, &playbook).map_err(|error| error.to_string()),
        Ok(None) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    };
    let found = at_once(vec![Box::new(work) as Box<dyn FnOnce() -> _ + Send>], limit).pop().flatten();
    found.unwrap_or_else(|| Err(format!("no answer within {} s", limit.as_secs_f32())))
}

/// There is none to be looked for.
pub fn no_drill() -> Finding {
    about(None)
        .warn("the playbook has no `drill`: nothing shows that it works", "write one; see docs/playbooks.md")
}

fn about(variant: Option<&str>) -> Finding {
    let name = variant.map_or_else(|| "last green".to_owned(), |variant| format!("last green, {variant}"));
    Finding::new(Kind::Drill, name, "a drill of this plan has passed")
}

fn read(state: &StateDir, playbook: &str) -> Result<Vec<DrillRecord>, StateError> {
    let read = |(_, json): (_, Vec<u8>)| serde_json::from_slice::<Note>(&json).ok();
    let mut notes: Vec<Note> = state.drills(playbook)?.into_iter().filter_map(read).collect();
    notes.retain(|note| note.playbook == playbook && note.faults.is_empty());
    notes.sort_by_key(|note| std::cmp::Reverse(note.ended));
    let record = |note: Note| DrillRecord {
        plan: note.run.and_then(|run| {
            let bytes = state.run(&run).ok()?.read_file(PLAN_FILE, LARGEST_PLAN).ok()?;
            let is_it = Plan::hash(&bytes) == note.plan_hash;
            if is_it { Plan::from_json(&bytes).ok() } else { None }
        }),
        variant: note.variant,
        ended: note.ended,
        verdict: note.verdict,
        plan_hash: note.plan_hash,
    };
    Ok(notes.into_iter().map(record).collect())
}

/// What a green drill says of the playbook as it stands now.
enum Proof {
    /// Nothing that a drill shows has changed; what else has.
    Holds(Vec<&'static str>),
    Older(String),
}

/// `compile`: the plan that would be drilled now in that place. The place is a part of the plan, so that only plans for
/// the same place can be compared.
pub fn judge_drills(
    drills: &Result<Vec<DrillRecord>, String>,
    now: Timestamp,
    compile: &dyn Fn(&DrillPlace) -> Option<Plan>,
    playbook: &str,
    variant: Option<&str>,
) -> Finding {
    let about = about(variant);
    let drills = match drills {
        Ok(drills) => drills.iter().filter(|drill| drill.variant.as_deref() == variant),
        Err(why) => return about.warn(why, "see the state folder"),
    };
    let drills: Vec<&DrillRecord> = drills.take(LOOKED).collect();
    let again = match variant {
        Some(variant) => format!("runbook drill {playbook} --variant {variant}"),
        None => format!("runbook drill {playbook}"),
    };
    let ago = |drill: &DrillRecord| format!("{} ago", now.since(drill.ended));
    let later = drills.first().filter(|newest| newest.verdict != "passed");
    let unsettled =
        later.map_or_else(String::new, |newest| format!("; the newest {} {}", newest.verdict, ago(newest)));
    let mut older = None;
    for drill in drills.iter().filter(|drill| drill.verdict == "passed") {
        match proof(drill, compile) {
            Proof::Holds(changed) => {
                let changed = match changed.is_empty() {
                    true => "as it stands now".to_owned(),
                    false => format!("only {} changed since", changed.join(", ")),
                };
                let found = format!("{}, {changed}{unsettled}", ago(drill));
                return match later.is_none() && now.since(drill.ended) < STALE {
                    true => about.ok(found),
                    false => about.warn(found, again),
                };
            }
            Proof::Older(changed) if older.is_none() => {
                older = Some(format!("{}, but an older version: {changed}", ago(drill)));
            }
            Proof::Older(_) => {}
        }
    }
    match (older, drills.first()) {
        (Some(older), _) => about.warn(format!("{older}{unsettled}"), again),
        (None, Some(newest)) => {
            about.warn(format!("never; the newest {} {}", newest.verdict, ago(newest)), again)
        }
        (None, None) => about.warn("never drilled", again),
    }
}

fn proof(drill: &DrillRecord, compile: &dyn Fn(&DrillPlace) -> Option<Plan>) -> Proof {
    let Some((old, place)) = drill.plan.as_ref().and_then(|plan| Some((plan, plan.drill.as_ref()?))) else {
        return Proof::Older("what was drilled is gone with its run's folder".into());
    };
    let Some(new) = compile(place) else {
        return Proof::Older("it cannot be drilled as it stands now".into());
    };
    if Plan::hash(&new.to_json()) == drill.plan_hash {
        return Proof::Holds(Vec::new());
    }
    // Another hash may be of the same plan in another form: written by an older version of this program, say.
    let difference = Difference::between(old, &new);
    let unproved = |field: &&'static str| UNPROVED.contains(field);
    let whole: Vec<&'static str> = difference.whole.iter().map(|change| change.field).collect();
    let steps_stand =
        difference.added.is_empty() && difference.removed.is_empty() && difference.changed.is_empty();
    if steps_stand && whole.iter().all(unproved) {
        return Proof::Holds(whole);
    }
    Proof::Older(changes(&difference))
}

/// What differs, in a few words.
fn changes(difference: &Difference) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(difference.changed.iter().map(|change| format!("step {} changed", change.step)));
    parts.extend(difference.added.iter().map(|step| format!("step {step} is new")));
    parts.extend(difference.removed.iter().map(|step| format!("step {step} is gone")));
    let whole = difference.whole.iter().map(|change| change.field);
    parts.extend(whole.filter(|field| !UNPROVED.contains(field)).map(|field| format!("{field} changed")));
    let more = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", parts.join(", "))
}
