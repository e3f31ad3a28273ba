//! Secrets: read when a run starts or resumes, and tried by `runbook doctor`. No error here ever shows a value.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::checks::at_once;
use super::{Finding, Kind, command, plain};
use crate::model::{Secret, SecretName};
use crate::plan::SecretSource;

/// The largest secret, in bytes.
const LARGEST: u64 = 1 << 20;
/// For whoever starts a run; a doctor says what to do in a line of its own.
const AGAIN: &str = "; set it and start again";

/// Tries those a run needs (`needed`) and those that only channels read (`apart`): all at once, each within `limit`. With
/// what was found, the values, for the channels.
pub fn secrets(
    needed: &[(SecretName, SecretSource)],
    apart: &[(SecretName, SecretSource)],
    limit: Duration,
    by_command: bool,
) -> (Vec<Finding>, BTreeMap<SecretName, Secret>) {
    let all = || needed.iter().map(|s| (s, true)).chain(apart.iter().map(|s| (s, false)));
    let works = all().map(|((_, source), _)| {
        let source = source.clone();
        let work = move || match source {
            SecretSource::Command(argv) if !by_command => Err(unasked(&argv)),
            source => read_secret(&source, limit).map_err(Unread::Failed),
        };
        Box::new(work) as Box<dyn FnOnce() -> Result<Secret, Unread> + Send>
    });
    // The same moment more that a command has which is being ended.
    let read = at_once(works.collect(), limit + Duration::from_secs(1));
    let (mut findings, mut values) = (Vec::new(), BTreeMap::new());
    for (((name, source), needed), read) in all().zip(read) {
        let about = Finding::new(Kind::Secret, &name.0, shown(source));
        let failed = |about: Finding, why: String| match needed {
            true => about.missing(why, mend(source)),
            false => about.warn(format!("{why}; its channels are silent"), mend(source)),
        };
        findings.push(match read {
            Some(Ok(secret)) => {
                values.insert(name.clone(), secret);
                open_to_others(about, source)
            }
            Some(Err(Unread::NotTried)) => about.skipped(format!("not asked: {}", shown(source))),
            Some(Err(Unread::Failed(why))) => {
                failed(about, why.strip_suffix(AGAIN).unwrap_or(&why).to_owned())
            }
            None => failed(about, format!("no answer within {} s", limit.as_secs_f32())),
        });
    }
    (findings, values)
}

enum Unread {
    NotTried,
    Failed(String),
}

/// A command that is not to be run: whether it could be.
fn unasked(argv: &[String]) -> Unread {
    match argv.first() {
        Some(program) if command::find(program, Path::new(".")).is_none() => {
            Unread::Failed(format!("{program}: {}", command::absent(program).0))
        }
        _ => Unread::NotTried,
    }
}

fn shown(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("variable {name}"),
        SecretSource::File(path) => format!("file {}", path.display()),
        // Its arguments are no secret, but long.
        SecretSource::Command(argv) => format!("command {}", argv.first().map_or("", String::as_str)),
    }
}

fn mend(source: &SecretSource) -> String {
    match source {
        SecretSource::Env(name) => format!("export {name}=VALUE"),
        SecretSource::File(path) => format!("write it to {}, mode 600", path.display()),
        SecretSource::Command(argv) => format!("try it by hand: {}", argv.join(" ")),
    }
}

fn open_to_others(about: Finding, source: &SecretSource) -> Finding {
    if let SecretSource::File(path) = source
        && let Ok(meta) = std::fs::metadata(path)
        && meta.is_file()
        && meta.permissions().mode() & 0o077 != 0
    {
        let mode = meta.permissions().mode() & 0o777;
        let (found, mend) =
            (format!("there; others may read it (mode {mode:03o})"), format!("chmod 600 {}", path.display()));
        return about.warn(found, mend);
    }
    let found = format!("there ({})", about.wanted);
    about.ok(found)
}

/// Reads one. `patience`: how long its command may take.
pub fn read_secret(source: &SecretSource, patience: Duration) -> Result<Secret, String> {
    let mut value = match source {
        SecretSource::Env(variable) => from_env(variable),
        SecretSource::File(path) => from_file(path),
        SecretSource::Command(argv) => from_command(argv, patience),
    }?;
    // A file or a command ends its line; the secret does not have one.
    if value.ends_with(b"\n") {
        value.pop();
    }
    if value.ends_with(b"\r") {
        value.pop();
    }
    if value.is_empty() {
        return Err("it is empty".into());
    }
    if value.contains(&0) {
        return Err("it contains a NUL byte".into());
    }
    Ok(Secret::new(value))
}

fn from_env(variable: &str) -> Result<Vec<u8>, String> {
    use std::os::unix::ffi::OsStringExt;
    let value = std::env::var_os(variable);
    value
        .map(OsStringExt::into_vec)
        .ok_or_else(|| format!("the environment variable {variable} is not set{AGAIN}"))
}

fn from_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let problem = |error: std::io::Error| format!("{}: {}", path.display(), plain(&error));
    let file = std::fs::File::open(path).map_err(problem)?;
    let mut value = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut value).map_err(problem)?;
    if value.len() as u64 > LARGEST {
        return Err(format!("{} is larger than 1 MiB", path.display()));
    }
    Ok(value)
}

fn from_command(argv: &[String], patience: Duration) -> Result<Vec<u8>, String> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err("its command is empty".into());
    };
    // What the command says on stderr goes to the terminal: it may ask for a touch of a key.
    let handle = duct::cmd(program, arguments)
        .stdin_null()
        .stdout_capture()
        .unchecked()
        .before_spawn(|command| {
            crate::exec::give_limit_back(command);
            Ok(())
        })
        .start()
        .map_err(|error| format!("{program}: {}", plain(&error)))?;
    match handle.wait_timeout(patience) {
        Ok(Some(output)) if output.status.success() => Ok(output.stdout.clone()),
        Ok(Some(output)) => Err(format!("{program} ended with {}", output.status)),
        Ok(None) => {
            // It is being ended because it hangs: how that goes changes nothing.
            handle.pids().into_iter().for_each(crate::exec::kill_with_children);
            let _ = handle.kill();
            Err(format!("{program} did not answer within {} s", patience.as_secs_f32()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}
