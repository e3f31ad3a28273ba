//! `runbook channels`, and what channels mean for a run.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{SECRET, Server, say};

pub struct Desk {
    root: tempfile::TempDir,
}

pub struct Shown {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Desk {
    pub fn new(config: &str, channels: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("playbooks")).unwrap();
        let desk = Self { root };
        desk.write("runbook.yaml", config);
        let book = format!(
            "apiVersion: runbook/v1\nname: book\ntitle: Book\n{channels}steps:\n  \
             - id: a\n    title: A\n    run: echo \"${{OWN:-none}}\"\n"
        );
        desk.write("playbooks/book.yaml", &book);
        desk
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub fn command(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("RUNBOOK_STATE", self.path("state"))
            // For scripts/planted.
            .envs(std::env::vars_os().filter(|(name, _)| name == "RUNBOOK_PLANTED_BUG"))
            .envs(env.iter().copied())
            .current_dir(self.root.path());
        command
    }

    /// The events of the newest run with this name; none if there is no run yet.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let shown = self.run(&["log", "last", "--json"], &[]);
        let records = shown.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.filter_map(|record| record["event"].get(name).cloned()).collect()
    }

    pub fn run(&self, args: &[&str], env: &[(&str, &str)]) -> Shown {
        let output = self.command(args, env).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let shown =
            Shown { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) };
        for text in [&shown.out, &shown.err] {
            assert!(!text.contains(SECRET), "{text}");
        }
        shown
    }
}

const CONFIG: &str = "\
secrets:
  key: { env: KEY }
channels:
  pager: { pagerduty: { routing_key: secrets.key } }
  phone: { command: [./call.sh], env: { KEY: secrets.key } }
";

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn channels_are_listed_with_where_they_come_from() {
    let desk = Desk::new(CONFIG, "channels: { pager: { slack: { url: 'http://localhost:1/x' } } }\n");
    let shown = desk.run(&["channels"], &[]);
    let call = desk.path("call.sh");
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(
        shown.out,
        format!(
            "NAME   KIND       FROM          TARGET\n\
             pager  pagerduty  runbook.yaml  https://events.pagerduty.com/…\n\
             phone  command    runbook.yaml  {}\n",
            call.display()
        )
    );
    let shown = desk.run(&["channels", "list", "book"], &[]);
    assert_eq!(
        shown.out,
        format!(
            "NAME   KIND     FROM           TARGET\n\
             pager  slack    playbook book  http://localhost:1/…\n\
             phone  command  runbook.yaml   {}\n",
            call.display()
        )
    );
    let rows: Value = serde_json::from_str(&desk.run(&["channels", "list", "--json"], &[]).out).unwrap();
    assert_eq!(rows[0]["secrets"], serde_json::json!(["key"]));
    assert_eq!(rows[0]["retry_for_ms"], 120_000);
    let none = Desk::new("playbooks: [playbooks]\n", "");
    assert!(none.run(&["channels"], &[]).out.starts_with("no channels\n"));
}

#[test]
fn a_test_says_what_became_of_it() {
    let desk = Desk::new(CONFIG, "");
    executable(&desk.path("call.sh"), "#!/bin/sh\ncat > got\necho \"called with $KEY\"\n");
    let shown = desk.run(&["channels", "test", "phone"], &[("KEY", SECRET)]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(shown.out.contains("\n  delivered: called with *** (1 try, "), "{}", shown.out);
    let got = desk.read("got");
    assert!(got.starts_with("[test] runbook: this is only a test\n"), "{got}");
    assert!(got.contains("There is no incident"), "{got}");

    let shown = desk.run(&["channels", "test", "phone"], &[]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.out.contains(
            "not delivered: secret key: the environment variable KEY is not set; set it and start again (nothing was sent"
        ),
        "{}",
        shown.out
    );
    let shown = desk.run(&["channels", "test", "phon"], &[]);
    assert_eq!(
        (shown.code, &*shown.err),
        (2, "error: there is no channel \"phon\"\n  did you mean phone?\n")
    );
}

#[test]
fn a_test_leaves_no_alert_open() {
    let server = Server::start(|_, _| say("202 Accepted", "fine"));
    let channels = format!(
        "channels: {{ pager: {{ pagerduty: {{ routing_key: secrets.key, url: {} }} }} }}\n",
        server.url("/v2/enqueue")
    );
    let desk = Desk::new(CONFIG, &channels);
    let shown = desk.run(&["channels", "test", "pager", "book"], &[("KEY", SECRET)]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let seen: Vec<Value> = server.seen().iter().map(crate::support::Request::json).collect();
    let actions: Vec<&str> = seen.iter().map(|e| e["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(seen[0]["dedup_key"], seen[1]["dedup_key"]);
    assert_eq!(seen[0]["payload"]["severity"], "info");
    assert_eq!(seen[0]["routing_key"], SECRET);
}

/// A channel that cannot be used costs its notices, never the recovery.
#[test]
fn a_run_starts_without_the_secrets_of_its_channels() {
    let desk = Desk::new(
        CONFIG,
        "secrets: { own: { env: OWN } }\nchannels: { team: { slack: { url: secrets.own } } }\n",
    );
    let shown = desk.run(&["run", "book", "--yes"], &[]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let plan = desk.run(&["plan", "book"], &[]).out;
    assert!(plan.contains("team (slack, ‹secret own›)") && plan.contains("pager (pagerduty, "), "{plan}");
    // One that is there is masked like any other, although no step reads it by name: `run` asserts it of what is shown.
    let shown = desk.run(&["run", "book", "--yes"], &[("OWN", SECRET)]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let log = desk.run(&["log", "last", "--json"], &[]);
    assert_eq!(log.code, 0);
    let mut found = 0;
    for run in std::fs::read_dir(desk.path("state/runs")).unwrap() {
        let run = run.unwrap().path();
        let plan = std::fs::read_to_string(run.join("plan.json")).unwrap();
        assert!(plan.contains("channel_secrets") && !plan.contains(SECRET));
        for file in std::fs::read_dir(run.join("output")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains(SECRET), "{text}");
            found += usize::from(text.contains("***"));
        }
    }
    assert_eq!(found, 1, "the second run's output is masked");
}

#[test]
fn mistakes_and_warnings_of_the_shared_file_are_told() {
    let desk = Desk::new("channels: { team: { slack: { url: secrets.nowhere } } }\n", "");
    let shown = desk.run(&["lint", "book"], &[]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.err.contains("runbook.yaml:1") && shown.err.contains("there is no secret `nowhere`"),
        "{}",
        shown.err
    );
    desk.write(
        "runbook.yaml",
        "channels: { team: { slack: { url: 'https://hooks.slack.com/services/x' } } }\n",
    );
    let shown = desk.run(&["lint", "book"], &[]);
    assert_eq!(shown.code, 0);
    assert!(shown.out.contains("literal-secret") && shown.out.contains("runbook.yaml:1"), "{}", shown.out);
    assert_eq!(desk.run(&["lint", "--strict", "book"], &[]).code, 2);
}

#[test]
fn a_step_that_tells_a_pager_calls_people() {
    let server = Server::start(|_, _| say("202 Accepted", "fine"));
    let head = format!(
        "severity: critical\nchannels:\n  pager: {{ pagerduty: {{ routing_key: secrets.key, url: {} }} }}\n  \
         news: {{ webhook: {{ url: {} }} }}\n",
        server.url("/v2/enqueue"),
        server.url("/news"),
    );
    let desk = Desk::new(CONFIG, &head);
    let book = desk.read("playbooks/book.yaml");
    let step = "  - id: call\n    notify: { channels: [pager, news], message: come }\n";
    desk.write("playbooks/book.yaml", &(book + step));
    let shown = desk.run(&["run", "book"], &[("KEY", SECRET)]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    let pages: Vec<Value> = server
        .seen()
        .iter()
        .filter(|r| r.line.ends_with(" /v2/enqueue"))
        .map(crate::support::Request::json)
        .collect();
    let told: Vec<(&str, &str)> = pages
        .iter()
        .map(|page| (page["event_action"].as_str().unwrap(), page["payload"]["severity"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("trigger", "critical"), ("resolve", "critical")]);
    assert_eq!(pages[0]["dedup_key"], pages[1]["dedup_key"]);
}
