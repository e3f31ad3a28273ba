//! `full-outage` on whole hosts with a real systemd and a real sshd, and a real name server.

use crate::support::{Place, have};

pub fn can() -> bool {
    let root = nix::unistd::getuid().is_root();
    if !root {
        println!("SKIPPED: the drill of full-outage needs root, for its hosts");
    }
    let parts = [
        "/lib/systemd/systemd",
        "sshd",
        "ssh",
        "ssh-keygen",
        "ip",
        "unshare",
        "named",
        "tsig-keygen",
        "nsupdate",
        "dig",
        "curl",
        "python3",
    ];
    root & have("full-outage", &parts)
}

#[test]
fn three_new_hosts_take_over() {
    if !can() {
        return;
    }
    let place = Place::new();
    let Some(drilled) = place.passes("full-outage", Some("all-come-back")) else { return };
    assert_eq!(drilled.report["outcome"], "recovered");
    let before = std::fs::read_to_string(drilled.run.join("name.before")).unwrap();
    assert_eq!(before.trim(), "10.231.7.11 10.231.7.12 10.231.7.13");
}

#[test]
fn two_of_three_are_enough_when_one_dies_in_the_restoration() {
    if !can() {
        return;
    }
    let place = Place::new();
    let Some(drilled) = place.passes("full-outage", Some("one-fails")) else { return };
    assert_eq!(drilled.report["outcome"], "degraded");
    let page = drilled.page();
    assert!(page.contains("RTO") && page.contains("restore-data"), "{page}");
}
