//! Where word of the run can be sent, and which secrets only that needs.

use std::path::Path;

use super::base::join;
use super::build::Builder;
use crate::model::SecretName;
use crate::plan::SecretSource;
use crate::playbook::{ast, channels, rules};

/// Those a run cannot do without, and those that only channels read.
type Secrets = Vec<(SecretName, SecretSource)>;

impl Builder<'_> {
    /// The channels of every book, then those of `runbook.yaml`; of two with one name the first is meant, so that a playbook
    /// can set aside what it shares, and what it includes.
    pub(super) fn merge_channels(&mut self, books: &[usize]) {
        let shared = &self.loaded.shared;
        let shared_names = || shared.secrets.iter().map(|s| s.name.value.as_str());
        for &book in books {
            let of = &self.loaded.books[book];
            let known = || of.playbook.secrets.iter().map(|s| s.name.value.as_str()).chain(shared_names());
            let root = self.base.root_of(of);
            for typed in &of.playbook.channels {
                // What else is wrong with it, the parser has said.
                let read = channels::read(typed);
                for (name, span) in read.secrets {
                    if known().any(|k| k == name) {
                        self.told.insert((book, format!("secrets.{name}")));
                    } else {
                        let help = "declare it below `secrets`, here or in runbook.yaml";
                        self.diagnostics.push(rules::unknown_secret(&name, span, known(), help));
                    }
                }
                self.add_channel(read.channel, &root);
            }
        }
        for typed in &shared.channels {
            self.add_channel(channels::read(typed).channel, &shared.folder);
        }
    }

    fn add_channel(&mut self, channel: Option<crate::model::Channel>, root: &Path) {
        let Some(mut channel) = channel else { return };
        if !self.channels.iter().any(|known| known.name == channel.name) {
            channel.root(root);
            self.channels.push(channel);
        }
    }

    /// A secret that only channels read must not keep a run from starting: it stands apart.
    pub(super) fn split_secrets(&self) -> (Secrets, Secrets) {
        let told: Vec<&SecretName> = self.channels.iter().flat_map(|channel| channel.secrets()).collect();
        let by_steps = |name: &SecretName| {
            let key = format!("secrets.{}", name.0);
            self.used.iter().any(|(_, used)| *used == key)
        };
        let (mut apart, needed): (Secrets, Secrets) =
            self.secrets.iter().cloned().partition(|(name, _)| told.contains(&name) && !by_steps(name));
        let shared = &self.loaded.shared;
        for secret in &shared.secrets {
            let name = SecretName(secret.name.value.clone());
            if told.contains(&&name) && !self.secrets.iter().any(|(known, _)| *known == name) {
                apart.push((name, source(&secret.source, &shared.folder)));
            }
        }
        (needed, apart)
    }
}

/// Where a secret is read from; a relative path counts from `root`.
pub(super) fn source(source: &ast::SecretSource, root: &Path) -> SecretSource {
    match source {
        ast::SecretSource::Env(name) => SecretSource::Env(name.value.clone()),
        ast::SecretSource::File(path) => SecretSource::File(join(root, Path::new(&path.value))),
        ast::SecretSource::Command(argv) => {
            SecretSource::Command(argv.iter().map(|a| a.value.clone()).collect())
        }
    }
}
