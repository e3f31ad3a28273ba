//! `registry-failure` on two real registries, podman behind the docker socket, and docker-compose.

use crate::support::{Place, have, refused};

pub fn can() -> bool {
    let root = nix::unistd::getuid().is_root();
    if !root {
        println!("SKIPPED: the drill of registry-failure needs root, for the engine's mounts");
    }
    let parts =
        ["podman", "crun", "docker", "docker-compose", "docker-registry", "busybox", "python3", "setsid"];
    root & have("registry-failure", &parts)
}

#[test]
fn the_backup_registry_takes_over() {
    if !can() {
        return;
    }
    let place = Place::new();
    let Some(drilled) = place.passes("registry-failure", Some("rebuilt")) else { return };
    let kept = std::fs::read_to_string(drilled.run.join("compose.before")).unwrap();
    assert!(kept.contains("# Kept as it is but for one line.") && !kept.contains("@sha256:"), "{kept}");
    assert!(drilled.page().contains("RTO"));
}

#[test]
fn what_is_rebuilt_and_sick_is_taken_back() {
    if !can() {
        return;
    }
    let place = Place::new();
    let Some(drilled) = place.passes("registry-failure", Some("sick")) else { return };
    assert_eq!(drilled.report["outcome"], "rolled-back");
    let undone: Vec<_> =
        drilled.events.iter().filter_map(|e| e.get("step_undone")?["step"].as_str()).collect();
    assert_eq!(undone, ["restart", "point", "build"], "in reverse order");
    let page = drilled.page();
    assert!(page.contains("is not healthy: answers 404"), "why, for whoever reads it later: {page}");
}

#[test]
fn a_recovery_that_fails_is_told_and_leaves_nothing() {
    if !can() {
        return;
    }
    let place = Place::new();
    let (code, shown) = place
        .start(place.drill("registry-failure", &["--variant", "rebuilt", "--fault", "step=restart:fail"]))
        .wait();
    if refused(code, &shown) {
        return;
    }
    assert_eq!(code, 1, "{shown}");
    let drilled = place.drilled();
    assert_eq!(drilled.report["outcome"], "rolled-back", "{shown}");
    assert!(shown.contains("point") && shown.contains("undone"), "the compose file is as it was: {shown}");
    place.assert_as_before();
}
