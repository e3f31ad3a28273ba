//! Hosts: whether a command could run there, asked by the way that a step would go. Nothing is made or left there, and
//! the connection ends with the question.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::ask::{self, Heard, Question};
use super::command::programs;
use super::file::needs_param;
use super::{Checks, Finding, Kind, not_given};
use crate::exec::{Look, Looked};
use crate::model::{Host, Reach};
use crate::plan::{Plan, SecretSource, Where};
use crate::text::neutral;

/// Characters of what a host or its way says that are shown.
const SHOWN: usize = 200;

/// Those that `requires` names: a run cannot do without.
pub(super) fn required(checks: &mut Checks, plan: &Plan, names: &[String]) {
    let uses = Uses::of(plan);
    for name in names {
        if let Some(host) = plan.host(name) {
            let by = uses.of_host(name);
            let wanted = match by.is_some() {
                true => "a command can run there",
                false => "a command can run there, though no step surely needs it",
            };
            one(checks, host, Finding::new(Kind::Host, name, wanted), &uses);
        }
    }
}

/// The others that steps use. One that does not answer is no reason to stop: a step before may bring it up.
pub fn used_hosts(checks: &mut Checks, plan: &Plan) {
    let uses = Uses::of(plan);
    let others = plan.hosts.keys().filter(|name| !plan.requires.hosts.contains(name));
    let others = others.filter(|name| uses.late || uses.steps.contains_key(*name));
    for (name, host) in others.filter_map(|name| Some((name, plan.host(name)?))) {
        let wanted = match uses.of_host(name) {
            Some(by) => format!("a command can run there, for {by}"),
            None => "a command can run there, should a step choose it".to_owned(),
        };
        let about = Finding::new(Kind::Host, name, wanted).advisory();
        one(checks, host, about, &uses);
    }
}

/// Those that playbooks share. Relative programs are found from `root`.
pub fn shared_hosts(checks: &mut Checks, hosts: &BTreeMap<String, Reach>, root: &Path) {
    let uses = Uses { steps: BTreeMap::new(), late: false, root: root.to_owned(), secrets: Vec::new() };
    for (name, reach) in hosts {
        let about = Finding::new(Kind::Host, name, "a command can run there").advisory();
        let host = Host { name: name.clone(), reach: reach.clone(), connect_timeout: None };
        one(checks, host, about, &uses);
    }
}

/// What the steps use of each host, and what a way there must know.
struct Uses {
    /// By host: the steps, and the programs that they surely begin with.
    steps: BTreeMap<String, (Vec<String>, Vec<String>)>,
    /// Some step will choose its host only then.
    late: bool,
    root: PathBuf,
    /// Variables that hold secrets: what only leads elsewhere is not given them.
    secrets: Vec<String>,
}

impl Uses {
    fn of(plan: &Plan) -> Self {
        let mut steps: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let mut late = false;
        for step in &plan.steps {
            step.for_each_command(&mut |command| {
                let host = match plan.where_of(step, command) {
                    Where::On(host) => host,
                    Where::Here => return,
                    Where::Late => return late = true,
                };
                let (by, needs) = steps.entry(host).or_default();
                let id = step.id.to_string();
                if by.last() != Some(&id) {
                    by.push(id);
                }
                let new: Vec<String> = programs(command).into_iter().filter(|p| !needs.contains(p)).collect();
                needs.extend(new);
            });
        }
        let variable = |source: &SecretSource| match source {
            SecretSource::Env(name) => Some(name.clone()),
            _ => None,
        };
        let secrets = plan.secrets.iter().chain(&plan.channel_secrets);
        let secrets = secrets.filter_map(|(_, source)| variable(source)).collect();
        Self { steps, late, root: plan.root.clone(), secrets }
    }

    /// `step a`, `step a and 2 more`.
    fn of_host(&self, name: &str) -> Option<String> {
        let (by, _) = self.steps.get(name)?;
        super::command::by_steps(by)
    }

    fn programs(&self, name: &str) -> Vec<String> {
        self.steps.get(name).map(|(_, programs)| programs.clone()).unwrap_or_default()
    }
}

fn one(checks: &mut Checks, host: Host, about: Finding, uses: &Uses) {
    let words = host.reach.describe();
    if let Some(param) = not_given(&words) {
        let finding = needs_param(about, param);
        return checks.add_found(finding);
    }
    let programs = uses.programs(&host.name);
    let by = uses.of_host(&host.name);
    let (root, without, limit) = (uses.root.clone(), uses.secrets.clone(), checks.limit_of(&host));
    checks.add_within(limit, about, move |about| {
        let look = Look::new(&host, &programs);
        let question = Question { argv: &look.argv, folder: &root, input: look.stdin, without: &without };
        judge(about, &host.reach, ask::put(question, limit), &programs, by.as_deref())
    });
}

fn judge(
    about: Finding,
    reach: &Reach,
    heard: Result<Heard, String>,
    programs: &[String],
    by: Option<&str>,
) -> Finding {
    let unfit = |about: Finding, found: String, mend: String| match about.verdict {
        super::Verdict::Warn => about.warn(found, mend),
        _ => about.missing(found, mend),
    };
    let way = reach.describe();
    let heard = match heard {
        Ok(heard) => heard,
        Err(why) => {
            let program = Look::by_hand(reach).into_iter().next().unwrap_or_default();
            return unfit(about, format!("{program}: {why}"), format!("install {program} here, or see PATH"));
        }
    };
    let looked = Looked::read(&heard.stdout);
    if !looked.answers {
        let (found, mend) = no_answer(reach, &heard);
        return unfit(about, found, mend);
    }
    if !looked.whole {
        let found = match heard.late {
            Some(limit) => format!("it answers, and says no more within {} s", limit.as_secs_f32()),
            None => format!("it answers, and breaks off: {}", complaint(&heard)),
        };
        return unfit(about, found, format!("try it by hand: `{}`", by_hand(reach)));
    }
    if !looked.lacks.is_empty() {
        let found =
            format!("it answers, but {} is not there, which every command needs", looked.lacks.join(", "));
        return unfit(about, found, "install it there".into());
    }
    if let Some(places) = looked.no_room {
        let found = format!("it answers, but none of these can be made or used there: {places}");
        return unfit(about, found, "see whose they are, and whether the disk is read-only".into());
    }
    if !looked.absent.is_empty() {
        let (absent, by) = (looked.absent.join(", "), by.unwrap_or("a step"));
        let found = format!("it answers, but {absent} is not in PATH there; {by} would fail");
        return about.warn(found, "install it there, or see the PATH that commands have there");
    }
    match programs {
        [] => about.ok(format!("answers ({way})")),
        programs => about.ok(format!("answers ({way}); has {}", programs.join(", "))),
    }
}

fn by_hand(reach: &Reach) -> String {
    let quoted =
        |word: String| match word.chars().all(|c| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c)) {
            true => word,
            false => format!("'{}'", word.replace('\'', "'\\''")),
        };
    Look::by_hand(reach).into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// What the way said last, or how it ended.
fn complaint(heard: &Heard) -> String {
    let said = Looked::complaint(&heard.stderr);
    let line = said.map(|line| neutral::line(&line).chars().take(SHOWN).collect::<String>());
    line.unwrap_or_else(|| match heard.status.and_then(|status| code(&status)) {
        Some(code) => format!("it ended with exit {code} and said nothing"),
        None => "it was ended and said nothing".to_owned(),
    })
}

fn code(status: &ExitStatus) -> Option<i32> {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal))
}

/// What is wrong, and what to do about it.
fn no_answer(reach: &Reach, heard: &Heard) -> (String, String) {
    let hand = by_hand(reach);
    if let Some(limit) = heard.late {
        let found = format!("no answer within {} s", limit.as_secs_f32());
        return (
            found,
            format!("see whether it is up, and the way to it: `{hand}`; --timeout gives it more time"),
        );
    }
    let last = complaint(heard);
    let all = String::from_utf8_lossy(&heard.stderr);
    let mend = MENDS.iter().find(|mend| {
        mend.of.contains(&kind(reach))
            && mend.signs.iter().any(|sign| all.contains(sign) || last.contains(sign))
    });
    let found = mend.and_then(|mend| mend.found).map_or(last, str::to_owned);
    let advice = mend.map_or("try it by hand", |mend| mend.advice);
    (found, format!("{advice}: `{hand}`"))
}

fn kind(reach: &Reach) -> &'static str {
    match reach {
        Reach::Ssh(_) => "ssh",
        Reach::Container { .. } => "container",
        Reach::Kubectl { .. } => "kubectl",
        Reach::Via(_) => "via",
    }
}

/// What ways say, and what it means. The first that fits counts.
struct Mend {
    of: &'static [&'static str],
    signs: &'static [&'static str],
    /// In plainer words; none: as it was said.
    found: Option<&'static str>,
    /// The command to try by hand follows.
    advice: &'static str,
}

static MENDS: [Mend; 12] = [
    Mend {
        of: &["ssh"],
        signs: &["HOST IDENTIFICATION HAS CHANGED"],
        found: Some("its host key is another one than before"),
        advice: "find out why before anything is sent there; then mend known_hosts (`ssh-keygen -R`) and compare the new key",
    },
    Mend {
        of: &["ssh"],
        signs: &["Host key verification failed"],
        found: Some("its host key is not known"),
        advice: "compare its key with one from a safe source, and add it to known_hosts; this shows it",
    },
    Mend {
        of: &["ssh"],
        signs: &["Permission denied", "Too many authentication failures"],
        found: None,
        advice: "it takes none of the keys: see `user` and `identity`, and `ssh-add -l` for the agent",
    },
    Mend {
        of: &["ssh"],
        signs: &["Could not resolve hostname"],
        found: None,
        advice: "see its spelling, the name server and the ssh configuration",
    },
    Mend {
        of: &["ssh"],
        signs: &["Connection refused"],
        found: None,
        advice: "nobody listens there: start sshd there, or see `port`",
    },
    Mend {
        of: &["ssh"],
        signs: &["timed out", "No route to host", "Network is unreachable"],
        found: None,
        advice: "see whether it is up, and the network and firewalls between",
    },
    Mend {
        of: &["container"],
        signs: &["permission denied", "Permission denied"],
        found: None,
        advice: "this account may not speak to the container engine: see the rights on its socket",
    },
    Mend {
        of: &["container"],
        signs: &[
            "Cannot connect to",
            "cannot connect to",
            "unable to connect to",
            "Is the docker daemon running",
        ],
        found: None,
        advice: "the container engine does not run, or is elsewhere: start it, or see DOCKER_HOST",
    },
    Mend {
        of: &["container"],
        signs: &["o such container", "no container with name"],
        found: Some("there is no such container"),
        advice: "see its name, or make it",
    },
    Mend {
        of: &["container"],
        signs: &["is not running", "container state improper", "is paused"],
        found: None,
        advice: "start it",
    },
    Mend {
        of: &["container", "kubectl", "via"],
        signs: &["executable file not found", "executable file `sh` not found", "sh: no such file"],
        found: Some("there is no `sh` in it"),
        advice: "commands need a POSIX shell there",
    },
    Mend {
        of: &["kubectl"],
        signs: &["not found", "NotFound"],
        found: None,
        advice: "see its name, `namespace` and `context`",
    },
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Ssh;
    use crate::preflight::Verdict;

    fn heard(stdout: &str, stderr: &str) -> Heard {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        Heard { stdout, stderr, status: Some(ExitStatus::from_raw(255 << 8)), late: None }
    }

    fn judged(reach: &Reach, heard: Heard) -> (String, String) {
        let finding = judge(Finding::new(Kind::Host, "h", ""), reach, Ok(heard), &[], None);
        assert_eq!(finding.verdict, Verdict::Missing);
        (finding.found, finding.mend.unwrap_or_default())
    }

    #[test]
    fn what_is_wrong_is_told_in_words_with_what_to_try() {
        let ssh = Reach::Ssh(Ssh { to: "deploy@web 1".into(), port: Some("22".into()), ..Ssh::default() });
        let (found, mend) =
            judged(&ssh, heard("", "No ED25519 host key is known.\r\nHost key verification failed.\r\n"));
        assert_eq!(found, "its host key is not known");
        assert!(mend.ends_with("`ssh -p 22 'deploy@web 1' true`"), "{mend}");
        let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.\n";
        assert_eq!(judged(&ssh, heard("", changed)).0, "its host key is another one than before");
        let (found, mend) = judged(&ssh, heard("", "a@b: Permission denied (publickey).\n"));
        assert_eq!(found, "a@b: Permission denied (publickey).");
        assert!(mend.contains("ssh-add -l"), "{mend}");
        let container = Reach::Container { engine: "podman".into(), name: "pg".into(), user: None };
        let (found, mend) = judged(
            &container,
            heard("", "Error: no container with name or ID \"pg\" found: no such container\n"),
        );
        assert_eq!(
            (found.as_str(), mend.as_str()),
            ("there is no such container", "see its name, or make it: `podman exec -i pg true`")
        );
        let via = Reach::Via(vec!["./enter".into(), "a\u{1b}b".into()]);
        assert_eq!(judged(&via, heard("", "")).0, "it ended with exit 255 and said nothing");
        let late = Heard { late: Some(Duration::from_secs(5)), ..heard("", "x\n") };
        assert_eq!(judged(&via, late).0, "no answer within 5 s");
    }
}
