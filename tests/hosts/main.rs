//! Commands on other hosts: real sshd in network namespaces, a link that is cut, real containers, and commands that lead
//! somewhere. What needs root, or a program that is not here, says SKIPPED.

#[path = "../cli/support.rs"]
#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

mod container;
mod doctor;
mod link;
mod lost;
mod lost_back;
mod net;
mod quoting;
mod ssh;
mod via;
