//! `postgres-corruption` on a real cluster with a replica, an archive and dumps: one drill for each strategy, and one in
//! which the first fails, and one in which a moment before a bad statement comes back.

use crate::support::{Drilled, Place, have};

/// Its programs lie outside of the search path, in a folder for each version.
fn is_there() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/postgres").exists())
}

pub fn can() -> bool {
    let name = "postgres-corruption";
    if !is_there() {
        println!("SKIPPED: there is no postgres here, so the drill of {name} was not shown");
        return false;
    }
    have(name, &["bash", "runuser", "sha256sum", "setsid", "python3"])
}

fn drilled(variant: &str) -> Option<Drilled> {
    if !can() {
        return None;
    }
    let place = Place::new();
    let drilled = place.passes("postgres-corruption", Some(variant))?;
    let page = drilled.page();
    assert!(page.contains("RTO") && page.contains("RPO"), "{page}");
    assert_eq!(drilled.of("step_ended", "isolate").count(), 1);
    // The drill's own proof has counted them; here is what the run says of it.
    let told = drilled.events.iter().filter_map(|event| event.get("notice_ended"));
    assert!(
        told.inspect(|told| assert_eq!(told["delivered"], true, "{told}")).count() >= 2,
        "paged, resolved"
    );
    Some(drilled)
}

/// How long data went back, in milliseconds.
fn lost(drilled: &Drilled) -> u64 {
    drilled.report["rpo"]["measured"].as_u64().unwrap_or_else(|| panic!("{}", drilled.report["rpo"]))
}

#[test]
fn the_replica_is_promoted() {
    let Some(drilled) = drilled("replica") else { return };
    assert!(lost(&drilled) < 60_000);
}

#[test]
fn a_point_in_time_is_gone_back_to() {
    let Some(drilled) = drilled("pitr") else { return };
    assert!(lost(&drilled) < 60_000);
}

/// The drill's proof counts the rows.
#[test]
fn what_came_before_a_bad_statement_comes_back_and_nothing_from_then_on() {
    let Some(drilled) = drilled("pitr-to") else { return };
    assert!(lost(&drilled) < 60_000);
    let proofs: Vec<_> = drilled.report["stages"].as_array().unwrap().iter().collect();
    assert!(proofs.iter().any(|s| s["stage"] == "proof" && s["outcome"] == "recovered"), "{proofs:?}");
    let question = drilled.events.iter().filter_map(|e| e.get("asked")).map(ToString::to_string);
    let question: String = question.collect();
    assert!(question.contains("deleted or overwrote 2510 rows of orders"), "who chooses knows: {question}");
}

/// The same when nothing of the table is left, neither rows nor, by its name, the table.
#[test]
fn a_table_that_was_emptied_or_removed_comes_back() {
    for (variant, what) in [("pitr-emptied", " emptied notes"), ("pitr-removed", " removed notes")] {
        let Some(drilled) = drilled(variant) else { return };
        let question: String =
            drilled.events.iter().filter_map(|e| e.get("asked")).map(ToString::to_string).collect();
        assert!(question.contains(what), "who chooses knows: {question}");
    }
}

#[test]
fn the_newest_dump_that_verifies_is_restored() {
    let Some(drilled) = drilled("backup") else { return };
    assert!(lost(&drilled) >= 30 * 60_000);
}

#[test]
fn when_the_log_has_rotted_the_dump_serves() {
    let Some(drilled) = drilled("pitr-fails") else { return };
    assert!(lost(&drilled) >= 30 * 60_000);
    let outcome = |step| drilled.of("step_ended", step).last().map(|body| body["outcome"].clone());
    assert_eq!(outcome("recover/pitr"), Some("failed".into()), "it was tried");
    assert_eq!(outcome("recover/backup"), Some("succeeded".into()));
}

#[test]
fn an_ordinary_user_drills_a_cluster_of_their_own() {
    if !nix::unistd::getuid().is_root() {
        println!("SKIPPED: only root can become another user; the other drills here ran as an ordinary one");
        return;
    }
    if !can() {
        return;
    }
    let user = 65534;
    let place = Place::of_user(user);
    place.passes("postgres-corruption", Some("replica"));
}
