//! The shipped playbooks' drills on real components: PostgreSQL, container registries with podman and docker-compose, a
//! service under a supervisor, whole hosts with systemd and sshd. Each drill starts and stops what it needs in namespaces of its own; the machine is looked at
//! before and after. A component that is not here skips its drills, loudly; scripts/test installs them, and makes of a
//! skip in CI a failure.

mod kills;
mod machine;
mod outage;
mod postgres;
mod registry;
mod service;
mod support;
