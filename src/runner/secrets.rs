//! Reading secrets when a run starts or resumes. No error here ever shows a value.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use crate::model::{Secret, SecretName};
use crate::plan::SecretSource;

use super::error::RunError;

/// The largest secret, in bytes.
const LARGEST: u64 = 1 << 20;
/// How long a secret's command may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn read(sources: &[(SecretName, SecretSource)]) -> Result<BTreeMap<SecretName, Secret>, RunError> {
    let mut secrets = BTreeMap::new();
    for (name, source) in sources {
        let problem = |why: String| RunError::Secret { name: name.0.clone(), why };
        let mut value = match source {
            SecretSource::Env(variable) => from_env(variable),
            SecretSource::File(path) => from_file(path),
            SecretSource::Command(argv) => from_command(argv),
        }
        .map_err(problem)?;
        // A file or a command ends its line; the secret does not have one.
        if value.ends_with(b"\n") {
            value.pop();
        }
        if value.ends_with(b"\r") {
            value.pop();
        }
        if value.is_empty() {
            return Err(problem("it is empty".into()));
        }
        if value.contains(&0) {
            return Err(problem("it contains a NUL byte".into()));
        }
        secrets.insert(name.clone(), Secret::new(value));
    }
    Ok(secrets)
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

fn from_command(argv: &[String]) -> Result<Vec<u8>, String> {
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
    match handle.wait_timeout(PATIENCE) {
        Ok(Some(output)) if output.status.success() => Ok(output.stdout.clone()),
        Ok(Some(output)) => Err(format!("{program} ended with {}", output.status)),
        Ok(None) => {
            // It is being ended because it hangs: how that goes changes nothing.
            let _ = handle.kill();
            Err(format!("{program} did not answer within {} s", PATIENCE.as_secs()))
        }
        Err(error) => Err(format!("{program}: {error}")),
    }
}
