//! People who are to answer: whether this machine knows their accounts, and whether they are enough.

use std::collections::{BTreeMap, BTreeSet};

use super::{Checks, Finding, Kind};
use crate::model::OnTimeout;
use crate::plan::{Ask, Body, Plan};

/// Every question whose answer is not anybody's.
pub fn questions(checks: &mut Checks, plan: &Plan, operator: &str) {
    let accounts = Accounts::of_machine();
    for step in &plan.steps {
        let mut asks: Vec<(&Ask, &str)> =
            step.approval.as_deref().map(|ask| (ask, "agree")).into_iter().collect();
        match &step.body {
            Body::Choose(choose) => asks.push((&choose.ask, "choose")),
            Body::Manual(ask) => asks.push((ask, "do it")),
            _ => {}
        }
        for (ask, what) in asks.into_iter().filter(|(ask, _)| !ask.approvers.is_empty()) {
            checks.add_found(question(&format!("step {}", step.id), what, ask, operator, &accounts));
        }
    }
}

fn question(name: &str, what: &str, ask: &Ask, operator: &str, accounts: &Accounts) -> Finding {
    let named = ask.approvers.join(", ");
    let wanted = match (ask.count, ask.approvers.len()) {
        (1, 1) => format!("{named} to {what}"),
        (count, _) => format!("{count} of {named} to {what}"),
    };
    let about = Finding::new(Kind::People, name, wanted.clone());
    let unknown: Vec<&String> = ask.approvers.iter().filter(|name| !accounts.has(name)).collect();
    let excluded = |name: &str| ask.exclude_operator && name == operator;
    let able = ask.approvers.iter().filter(|name| accounts.has(name) && !excluded(name)).count();
    let mut why: Vec<String> = unknown.iter().map(|name| accounts.why_not(name)).collect();
    if ask.approvers.iter().any(|name| excluded(name)) {
        why.push(format!("{operator} starts the run and does not count"));
    }
    if (able as u64) < u64::from(ask.count) {
        let found = format!("{wanted}: {}", why.join("; "));
        let mend = "name others in `approvers` or in the role, or make the account";
        let goes_on =
            ask.timeout.is_some() && matches!(ask.on_timeout, OnTimeout::Proceed | OnTimeout::Suggest);
        return if goes_on { about.warn(found, mend) } else { about.missing(found, mend) };
    }
    match unknown.is_empty() {
        true => about.ok(wanted),
        false => about.warn(
            format!("{wanted}: {}", why.join("; ")),
            "make the account, or take the name out of the role",
        ),
    }
}

/// Whether somebody holds each role, and has an account here. A role that nobody is asked by may hold other names.
pub fn roles(checks: &mut Checks, roles: &BTreeMap<String, Vec<String>>) {
    let accounts = Accounts::of_machine();
    for (role, members) in roles {
        let about = Finding::new(Kind::People, format!("role {role}"), "accounts of this machine");
        let unknown: Vec<String> =
            members.iter().filter(|name| !accounts.has(name)).map(|name| accounts.why_not(name)).collect();
        checks.add_found(match (members.is_empty(), unknown.is_empty()) {
            (true, _) => about.warn("nobody holds it", "name somebody below `roles`"),
            (false, true) => about.ok(members.join(", ")),
            (false, false) => about.warn(
                match unknown.len() == members.len() {
                    true => unknown.join("; "),
                    false => format!("{}: {}", members.join(", "), unknown.join("; ")),
                },
                "make the account, or take the name out of the role",
            ),
        });
    }
}

/// The accounts by which a run knows who speaks to it: those of /etc/passwd.
struct Accounts(BTreeSet<String>);

impl Accounts {
    fn of_machine() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/passwd").unwrap_or_default())
    }

    fn parse(passwd: &str) -> Self {
        Self(
            passwd.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect(),
        )
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn why_not(&self, name: &str) -> String {
        // A directory server may know it. A run asks none, so that the answer would count as a stranger's.
        match nix::unistd::User::from_name(name) {
            Ok(Some(_)) => format!("{name} is no account of /etc/passwd, only of a directory"),
            _ => format!("{name} has no account here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Millis;
    use crate::preflight::Verdict;

    fn ask(approvers: &[&str], count: u32) -> Ask {
        Ask {
            prompt: crate::plan::Template::default(),
            approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
            count,
            exclude_operator: false,
            timeout: None,
            on_timeout: OnTimeout::Wait,
            evidence: false,
        }
    }

    fn accounts() -> Accounts {
        Accounts::parse("alice:x:1000:1000::/home/alice:/bin/bash\nbob:x:1001:1001::/:/bin/sh\nnonsense\n")
    }

    #[test]
    fn enough_people_must_be_left() {
        let judge = |ask: &Ask| question("cut-over", "agree", ask, "alice", &accounts());
        let both = ask(&["alice", "bob"], 2);
        assert_eq!(judge(&both).verdict, Verdict::Ok);
        assert_eq!(judge(&both).found, "2 of alice, bob to agree");
        let excluded = Ask { exclude_operator: true, ..both.clone() };
        assert_eq!(judge(&excluded).verdict, Verdict::Missing);
        assert_eq!(
            judge(&excluded).found,
            "2 of alice, bob to agree: alice starts the run and does not count"
        );
        assert_eq!(judge(&Ask { count: 1, ..excluded.clone() }).verdict, Verdict::Ok);
        let goes_on = Ask { timeout: Some(Millis::secs(60)), on_timeout: OnTimeout::Proceed, ..excluded };
        assert_eq!(judge(&goes_on).verdict, Verdict::Warn);
    }

    #[test]
    fn an_account_that_is_not_there_does_not_count() {
        let judge = |ask: &Ask| question("cut-over", "choose", ask, "alice", &accounts());
        let one_left = judge(&ask(&["no-such-account-zq", "bob"], 1));
        assert_eq!(one_left.verdict, Verdict::Warn);
        assert_eq!(
            one_left.found,
            "1 of no-such-account-zq, bob to choose: no-such-account-zq has no account here"
        );
        let nobody = judge(&ask(&["no-such-account-zq"], 1));
        assert_eq!(nobody.verdict, Verdict::Missing);
        assert_eq!(nobody.found, "no-such-account-zq to choose: no-such-account-zq has no account here");
    }
}
