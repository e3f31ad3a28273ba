//! Where a command is carried out: another host, a container, or whatever a command leads to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Millis;

/// The name that means this machine; no host can have it.
pub const HERE: &str = "local";

/// A host by name, and the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    pub reach: Reach,
    /// How long it may take until it answers; none: see [`Host::patience`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Millis>,
}

impl Host {
    /// How long it may take until the other side answers. Longer than ssh itself waits for a connection, for a login takes
    /// its time as well; and on a machine in trouble everything does.
    pub fn patience(&self) -> Millis {
        const LEAST: Millis = Millis::secs(30);
        const BEYOND: Millis = Millis::secs(20);
        let own = match &self.reach {
            Reach::Ssh(ssh) => {
                ssh.options.iter().find(|(name, _)| name.eq_ignore_ascii_case("ConnectTimeout"))
            }
            _ => None,
        };
        let own = own.and_then(|(_, value)| value.parse().ok()).map(Millis::secs);
        let needed = own.map_or(LEAST, |own| own.saturating_add(BEYOND).max(LEAST));
        self.connect_timeout.unwrap_or(needed)
    }
}

/// How a host is reached. Nothing in it is secret: it stands in argument lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reach {
    /// By the system's ssh, with the user's configuration and agent.
    Ssh(Ssh),
    Container {
        /// `docker` or `podman`.
        engine: String,
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    Kubectl {
        /// A pod, or `deploy/NAME`.
        target: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
    },
    /// A command that runs the command put behind it somewhere else: `[nsenter, -t, "1", -n]`.
    Via(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ssh {
    /// `[USER@]HOST`, or a name of the ssh configuration.
    pub to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<PathBuf>,
    /// As for `ssh -o`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<(String, String)>,
}

impl Reach {
    /// For people.
    pub fn describe(&self) -> String {
        match self {
            Self::Ssh(ssh) => format!("ssh {}", ssh.to),
            Self::Container { engine, name, .. } => format!("{engine} {name}"),
            Self::Kubectl { target, .. } => format!("kubectl {target}"),
            Self::Via(argv) => format!("via {}", argv.join(" ")),
        }
    }

    /// What cannot be handed to the command that leads there: an empty name, or one that would be taken for an option.
    pub fn problem(&self) -> Option<String> {
        let (what, words): (&str, Vec<&str>) = match self {
            Self::Ssh(ssh) => {
                let more = [&ssh.port, &ssh.user].into_iter().flatten().map(String::as_str);
                ("ssh", [ssh.to.as_str()].into_iter().chain(more).collect())
            }
            Self::Container { name, user, .. } => {
                ("container", [name.as_str()].into_iter().chain(user.as_deref()).collect())
            }
            Self::Kubectl { target, container, namespace, context } => {
                let more = [container, namespace, context].into_iter().flatten().map(String::as_str);
                ("kubectl", [target.as_str()].into_iter().chain(more).collect())
            }
            Self::Via(argv) => ("via", argv.first().map(String::as_str).into_iter().collect()),
        };
        words.into_iter().find_map(|word| match word {
            "" => Some(format!("`{what}` names nothing: the text is empty")),
            word if word.starts_with('-') => Some(format!("{word:?} would be taken for an option")),
            word if word.contains('\0') => Some(format!("{word:?} holds a NUL character")),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_ssh_more_time_has_to_wait_longer() {
        let host = |options: &[(&str, &str)], connect_timeout| {
            let options = options.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let reach = Reach::Ssh(Ssh { to: "web1".into(), options, ..Ssh::default() });
            Host { name: "web1".into(), reach, connect_timeout }.patience()
        };
        assert_eq!(host(&[], None), Millis::secs(30));
        assert_eq!(host(&[("ConnectTimeout", "3")], None), Millis::secs(30));
        assert_eq!(host(&[("connecttimeout", "60")], None), Millis::secs(80));
        assert_eq!(host(&[("ConnectTimeout", "60")], Some(Millis::secs(5))), Millis::secs(5));
    }

    #[test]
    fn a_name_that_would_be_an_option_is_refused() {
        let ssh = |to: &str| Reach::Ssh(Ssh { to: to.into(), ..Ssh::default() });
        assert_eq!(ssh("deploy@web1").problem(), None);
        assert_eq!(
            ssh("-oProxyCommand=x").problem().as_deref(),
            Some("\"-oProxyCommand=x\" would be taken for an option")
        );
        assert!(ssh("").problem().is_some_and(|why| why.contains("empty")));
        let pod = Reach::Kubectl {
            target: "web-0".into(),
            container: Some("--all".into()),
            namespace: None,
            context: None,
        };
        assert!(pod.problem().is_some());
        assert_eq!(Reach::Via(vec!["env".into(), "-i".into()]).problem(), None);
    }
}
