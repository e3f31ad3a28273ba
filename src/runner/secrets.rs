//! Reading secrets when a run starts or resumes. No error here ever shows a value.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Secret, SecretName};
use crate::notify::Keys;
use crate::plan::{Plan, SecretSource};
use crate::preflight::read_secret;

use super::error::RunError;

/// How long a secret's command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for one that only channels read.
const CHANNEL_PATIENCE: Duration = Duration::from_secs(10);

fn read(sources: &[(SecretName, SecretSource)]) -> Result<BTreeMap<SecretName, Secret>, RunError> {
    let mut secrets = BTreeMap::new();
    for (name, source) in sources {
        let problem = |why: String| RunError::Secret { name: name.0.clone(), why };
        secrets.insert(name.clone(), read_secret(source, PATIENCE).map_err(problem)?);
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
            .map(|(name, source)| (name, scope.spawn(|| read_secret(source, CHANNEL_PATIENCE))))
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
