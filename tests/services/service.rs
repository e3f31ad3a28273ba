//! `service-recovery` on a service under runit: which remedy helps, and that none is called a success that was none.

use crate::support::{Drilled, Place, have};

pub fn can() -> bool {
    have("service-recovery", &["runsv", "sv", "busybox", "curl", "setsid"])
}

fn drilled(variant: &str) -> Option<(Place, Drilled)> {
    let place = can().then(Place::new)?;
    let drilled = place.passes("service-recovery", Some(variant))?;
    Some((place, drilled))
}

/// What was begun for the recovery, in order: attempts, and the remedies after them.
fn course(drilled: &Drilled) -> Vec<String> {
    let tasks = drilled.events.iter().filter_map(|event| event.get("task_started")?["task"].as_str());
    tasks.filter_map(|task| Some(task.strip_prefix("recover.")?.to_owned())).collect()
}

const ALL: [&str; 8] = ["unless", "1", "1.remedy", "2", "2.remedy", "3", "3.remedy", "4"];

#[test]
fn a_stale_cache_is_cleared() {
    let Some((_place, drilled)) = drilled("cache") else { return };
    assert!(course(&drilled).len() >= 4, "{:?}", course(&drilled));
}

#[test]
fn a_broken_configuration_is_reset() {
    let Some((_place, drilled)) = drilled("config") else { return };
    assert!(course(&drilled).len() >= 6, "the remedy before it was tried: {:?}", course(&drilled));
    let kept = std::fs::read_to_string(drilled.run.join("config.before")).unwrap();
    assert_eq!(kept, "prot=80\n", "what was reset is kept");
}

#[test]
fn success_after_the_last_remedy_is_success() {
    let Some((_place, drilled)) = drilled("wedged") else { return };
    assert_eq!(course(&drilled), ALL, "active but not healthy was not taken for recovered");
    assert_eq!(drilled.report["outcome"], "recovered");
}

#[test]
fn what_nothing_helps_has_failed() {
    let Some((_place, drilled)) = drilled("hopeless") else { return };
    assert_eq!(course(&drilled), ALL);
    assert_eq!(drilled.report["outcome"], "failed");
}
