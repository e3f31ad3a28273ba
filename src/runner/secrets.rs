//! Reading secrets when a run starts or resumes. No error here ever shows a value.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use crate::model::{Secret, SecretName};
use crate::notify::Keys;
use crate::plan::{Plan, SecretSource};

use super::error::RunError;

/// The largest secret, in bytes.
const LARGEST: u64 = 1 << 20;
/// How long a secret's command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for one that only channels read.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(10);

fn read(sources: &[(SecretName, SecretSource)]) -> Result<BTreeMap<SecretName, Secret>, RunError> {
    let mut secrets = BTreeMap::new();
    for (name, source) in sources {
        let problem = |why: String| RunError::Secret { name: name.0.clone(), why };
        secrets.insert(name.clone(), one(source, PATIENCE).map_err(problem)?);
    }
    Ok(secrets)
}

/// Everything that a run needs: its own secrets, without which it does not start, with those of its channels, as commands
/// may print any of them; and the same for the channels.
pub fn read_all(plan: &Plan) -> Result<(BTreeMap<SecretName, Secret>, Keys), RunError> {
    Ok(keys(&read(&plan.secrets)?, &plan.channel_secrets))
}

/// What the channels need besides the run's own secrets, `known`. All at once and without much patience: no channel is
/// worth keeping a recovery waiting. What cannot be had is a problem of its channel alone.
pub fn keys(
    known: &BTreeMap<SecretName, Secret>,
    sources: &[(SecretName, SecretSource)],
) -> (BTreeMap<SecretName, Secret>, Keys) {
    let read = std::thread::scope(|scope| {
        let readers: Vec<_> = sources
            .iter()
            .map(|(name, source)| (name, scope.spawn(|| one(source, CHANNEL_PATIENCE))))
            .collect();
        let read = readers.into_iter().map(|(name, reader)| {
            (name, reader.join().unwrap_or_else(|_| Err("a fault of this program; please report it".into())))
        });
        read.collect::<Vec<_>>()
    });
    let (mut all, mut problems) = (known.clone(), BTreeMap::new());
    for (name, read) in read {
        match read {
            Ok(secret) => drop(all.insert(name.clone(), secret)),
            Err(why) => drop(problems.insert(name.clone(), why)),
        }
    }
    (all.clone(), Keys::new(all, problems))
}

fn one(source: &SecretSource, patience: Duration) -> Result<Secret, String> {
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
        .ok_or_else(|| format!("the environment variable {variable} is not set; set it and start again"))
}

fn from_file(path: &std::path::Path) -> Result<Vec<u8>, String> {
    let problem = |error: std::io::Error| format!("{}: {error}", path.display());
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
        .map_err(|error| format!("{program}: {error}"))?;
    match handle.wait_timeout(patience) {
        Ok(Some(output)) if output.status.success() => Ok(output.stdout.clone()),
        Ok(Some(output)) => Err(format!("{program} ended with {}", output.status)),
        Ok(None) => {
            // It is being ended because it hangs: how that goes changes nothing.
            let _ = handle.kill();
            Err(format!("{program} did not answer within {} s", patience.as_secs()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}
