//! What a playbook says it needs: for `runbook doctor`, and before the first step.

use std::path::Path;
use std::time::Duration;

use super::{Checks, Kind, Verdict, command, file, host, port, variable};
use crate::plan::{Plan, Requires};

/// What one check before a run may take. A host has its `connect_timeout`, as for a step.
const PATIENCE: Duration = Duration::from_secs(5);

/// `begun`: steps of this run were carried out already, which may have taken the ports that had to be free for them.
pub fn requires(checks: &mut Checks, plan: &Plan, begun: bool) {
    let root: &Path = &plan.root;
    // Every field by name, so that a new one is not forgotten here.
    let Requires { commands, versions, files, free_space, free_ports, open_ports, env, hosts } =
        &plan.requires;
    // A version says that the command is there, and where.
    let versioned = |command: &&String| !versions.iter().any(|version| version.command == **command);
    commands.iter().filter(versioned).for_each(|command| command::required(checks, command, root));
    versions.iter().for_each(|version| command::version(checks, version, root));
    env.iter().for_each(|name| variable::set(checks, name));
    files.iter().for_each(|path| file::exists(checks, path));
    if let Some((path, at_least)) = free_space {
        file::free_space(checks, path, *at_least);
    }
    if !begun {
        free_ports.iter().for_each(|address| port::free(checks, address));
    }
    open_ports.iter().for_each(|address| port::open(checks, address));
    host::required(checks, plan, hosts);
}

/// One line for each requirement that is not met.
pub fn unmet(plan: &Plan, begun: bool) -> Vec<String> {
    let mut checks = Checks::before_a_run(PATIENCE);
    requires(&mut checks, plan, begun);
    let missing = checks.run().into_iter().filter(|finding| finding.verdict == Verdict::Missing);
    missing
        .map(|finding| {
            let (name, found) = (finding.name, finding.found);
            match finding.kind {
                Kind::Command if found == "not in PATH" => format!("the command {name} is {found}"),
                Kind::Command => format!("the command {name}: {found}"),
                Kind::Variable => format!("the variable {name} is {found}"),
                Kind::Port => format!("port {name}: {found}"),
                Kind::Host => format!("host {name}: {found}"),
                _ => format!("{name}: {found}"),
            }
        })
        .collect()
}
