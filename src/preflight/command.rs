//! Commands: where they are, how old they are, and which the steps begin with.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Checks, Finding, Kind, ask};
use crate::plan::{Action, Command, Plan, Shell, Version, VersionNumber, Where};
use crate::text::neutral;

/// Characters of what a command says that are shown.
const SHOWN: usize = 60;

/// Where a shell would find the command; a path counts from `folder`.
pub(super) fn find(command: &str, folder: &Path) -> Option<PathBuf> {
    if command.contains('/') {
        let path = folder.join(command);
        return is_executable(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(command)).find(|p| is_executable(p))
}

fn is_executable(path: &Path) -> bool {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return false };
    path.is_file() && nix::unistd::access(name.as_c_str(), nix::unistd::AccessFlags::X_OK).is_ok()
}

/// What is said of one that is not there.
pub(super) fn absent(command: &str) -> (String, String) {
    if command.contains('/') {
        ("no executable file is there".into(), "put it there, and make it executable".into())
    } else {
        ("not in PATH".into(), "install it, or add its folder to PATH".into())
    }
}

pub(super) fn required(checks: &mut Checks, command: &str, root: &Path) {
    let about = Finding::new(Kind::Command, command, "an executable file in PATH");
    let (command, root) = (command.to_owned(), root.to_owned());
    checks.add(about, move |about| match find(&command, &root) {
        Some(path) => about.ok(path.display().to_string()),
        None => {
            let (found, mend) = absent(&command);
            about.missing(found, mend)
        }
    });
}

pub(super) fn version(checks: &mut Checks, version: &Version, root: &Path) {
    let wanted = format!("version {} or newer", version.at_least);
    let about = Finding::new(Kind::Command, version.to_string(), wanted);
    let (version, root, limit) = (version.clone(), root.to_owned(), checks.limit());
    checks.add(about, move |about| {
        let Some(path) = find(&version.command, &root) else {
            let (found, mend) = absent(&version.command);
            return about.missing(found, mend);
        };
        let mut argv = version.ask.clone();
        if let Some(program) = argv.first_mut()
            && program.contains('/')
        {
            *program = root.join(&*program).display().to_string();
        }
        let asked = version.ask.join(" ");
        let said = match ask::words(&argv, limit) {
            Ok(said) => said,
            Err(why) => return about.missing(format!("`{asked}`: {why}"), "try it by hand"),
        };
        match VersionNumber::found_in(&said) {
            Some(found) if found >= version.at_least => about.ok(format!("{found}, {}", path.display())),
            Some(found) => {
                let mend = format!("install {} or newer; `{asked}` says what is there", version.at_least);
                about.missing(format!("{found}, {}", path.display()), mend)
            }
            None => {
                let line: String =
                    neutral::line(said.lines().next().unwrap_or_default()).chars().take(SHOWN).collect();
                let said = if line.is_empty() { "says nothing".to_owned() } else { format!("says {line:?}") };
                about.missing(
                    format!("`{asked}` {said}"),
                    "say how it tells its version with `ask` in `requires.versions`",
                )
            }
        }
    });
}

/// The programs that steps surely begin with and `requires` does not name. One that is absent is no reason to stop: a
/// step before may install it, or the step may be skipped.
pub fn used_commands(checks: &mut Checks, plan: &Plan) {
    let named: Vec<&str> = plan.requires.commands.iter().map(String::as_str).collect();
    let versions = || plan.requires.versions.iter().map(|v| v.command.as_str());
    for (program, steps) in used(plan) {
        if named.contains(&program.as_str()) || versions().any(|v| v == program) {
            continue;
        }
        let Some(by) = by_steps(&steps) else { continue };
        let about = Finding::new(Kind::Command, &program, format!("an executable file, for {by}")).advisory();
        let root = plan.root.clone();
        checks.add(about, move |about| match find(&program, &root) {
            Some(path) => about.ok(path.display().to_string()),
            None => {
                let (found, mend) = absent(&program);
                about.warn(format!("{found}; {by} would fail"), mend)
            }
        });
    }
}

/// `step a`, `step a and 2 more`.
pub(super) fn by_steps(steps: &[String]) -> Option<String> {
    match steps {
        [] => None,
        [step] => Some(format!("step {step}")),
        [step, rest @ ..] => Some(format!("step {step} and {} more", rest.len())),
    }
}

/// On this machine. In the order of the steps; each with the steps that begin with it.
fn used(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let mut order: Vec<String> = Vec::new();
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        let mut here = Vec::new();
        step.for_each_command(&mut |command| {
            if plan.where_of(step, command) == Where::Here {
                here.extend(programs(command));
            }
        });
        for program in here {
            let known = steps.entry(program.clone()).or_insert_with(|| {
                order.push(program);
                Vec::new()
            });
            let id = step.id.to_string();
            if known.last() != Some(&id) {
                known.push(id);
            }
        }
    }
    order.into_iter().filter_map(|program| steps.remove(&program).map(|by| (program, by))).collect()
}

/// Those that are known now. Where they are looked for is not, if the step has a `PATH` or a folder of its own.
pub(super) fn programs(command: &Command) -> Vec<String> {
    if command.env.iter().any(|(name, _)| name == "PATH") {
        return Vec::new();
    }
    match &command.action {
        Action::Script { shell: Shell::Bash, .. } => vec!["bash".to_owned()],
        Action::Script { shell: Shell::Sh, .. } => vec!["sh".to_owned()],
        Action::Exec(pipeline) => {
            let constant = |program: &&str| !program.contains("{{") && !program.contains("{%");
            let found = |program: &&str| {
                command.workdir.is_none() || !program.contains('/') || program.starts_with('/')
            };
            let first = pipeline.iter().filter_map(|argv| argv.first()).map(|program| program.src.as_str());
            first.filter(constant).filter(found).map(str::to_owned).collect()
        }
        Action::Sql { .. } | Action::Http { .. } => Vec::new(),
    }
}
