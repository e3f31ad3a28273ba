//! One run and all kinds of channels at once, against real receivers: who gets what, and that it can be verified.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::cli::Desk;
use crate::mail::MailServer;
use crate::support::{Answer, Request, SECRET, Server, say};

const KEY: &str = "key-of-the-service";
const PASSWORD: &str = "mail-Yw72mp";

/// Slack is busy twice, PagerDuty asks for a little time with a date, the others take what comes.
fn receiver() -> Server {
    let tries = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    Server::start(move |_, request| {
        let mut tries = tries.lock().unwrap();
        let nth = tries.entry(request.line.clone()).or_default();
        *nth += 1;
        match (request.line.as_str(), *nth) {
            ("POST /slack", 1 | 2) => say("503 Service Unavailable", "busy"),
            ("POST /pager", 1) => {
                let at = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
                Answer::Say("429 Too Many Requests", vec![("Retry-After".into(), at)], String::new())
            }
            ("POST /pager", _) => say("202 Accepted", "{\"status\":\"success\"}"),
            _ => say("200 OK", "ok"),
        }
    })
}

fn desk(server: &Server, mail: &MailServer) -> Desk {
    let config = format!(
        "secrets: {{ key: {{ env: KEY }}, sign: {{ env: SIGN }}, mail: {{ env: MAIL }} }}\nchannels:\n  \
         team: {{ slack: {{ url: '{}' }} }}\n  \
         pager: {{ pagerduty: {{ routing_key: secrets.key, url: '{}' }} }}\n  \
         hook: {{ webhook: {{ url: '{}', sign: secrets.sign }} }}\n  \
         mail:\n    email: {{ smtp: 'smtp+starttls://localhost:{}', from: Runbook <runbook@example.org>, \
         to: [ops@example.org], username: mailer, password: secrets.mail }}\n    ca_file: {}\n  \
         phone: {{ command: [sh, -c, 'cat > \"phone.$RUNBOOK_NOTICE_ACTION\"'] }}\n\
         roles: {{ on-call: [ada, bo] }}\n\
         escalation:\n  - {{ level: 1, after: 0s, notify: [team, pager, hook, mail, phone], to: [on-call] }}\n\
         updates: {{ channels: hook, every: [{{ every: 1h }}] }}\n",
        server.url("/slack"),
        server.url("/pager"),
        server.url("/hook"),
        mail.port,
        mail.dir.path().join("cert.pem").display(),
    );
    let desk = Desk::new(&config, "");
    let phase = |id: &str, step: &str| {
        format!("  - {{ id: {id}, title: {id}, steps: [{{ id: {id}-it, title: {id} it, {step} }}] }}\n")
    };
    let tell = "notify: { channels: hook, message: hello }";
    let book = format!(
        "apiVersion: runbook/v1\nname: whole\ntitle: Whole\nsymptoms: [Nobody can log in]\nphases:\n{}{}{}",
        phase("look", "run: 'echo seen'"),
        phase("mend", tell),
        phase("watch", tell)
    );
    desk.write("playbooks/whole.yaml", &book);
    desk
}

/// The lines that the documentation gives, run as they stand.
fn openssl_agrees(request: &Request, key: &str) -> bool {
    let page = include_str!("../../docs/playbooks.md");
    let (_, lines) = page.split_once("```sh\nt=${header#t=}").expect("the lines");
    let lines = format!("t=${{header#t=}}{}", lines.split("```").next().unwrap());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("body"), &request.body).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euc", &lines]).current_dir(dir.path());
    let output = command.env("key", key).env("header", request.header("runbook-signature")).output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with("sent by who has the key")
}

/// The hash behind `journal head`, wherever it stands in the message.
fn head(message: &str) -> String {
    let (_, after) = message.split_once("journal head").or_else(|| message.split_once("\"head\"")).unwrap();
    let hash: String = after.chars().skip_while(|c| !c.is_ascii_hexdigit()).take(64).collect();
    assert!(hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}: {message}");
    hash
}

#[test]
fn a_run_that_tells_everybody() {
    let options = json!({ "starttls": true, "user": "mailer", "password": PASSWORD });
    let Some(mail) = MailServer::start(options) else { return };
    let server = receiver();
    let desk = desk(&server, &mail);
    let shown = desk.run(&["run", "whole"], &[("KEY", KEY), ("SIGN", SECRET), ("MAIL", PASSWORD)]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);

    // What was refused came again, unchanged, and each message once.
    let of = |line: &str| -> Vec<Request> { server.seen().into_iter().filter(|r| r.line == line).collect() };
    let (slack, pager, hook) = (of("POST /slack"), of("POST /pager"), of("POST /hook"));
    assert!(slack.len() >= 3 && slack[..3].iter().all(|request| request.body == slack[0].body), "{slack:?}");
    let actions: Vec<Value> = pager.iter().map(|r| r.json()["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve"]);
    assert_eq!(pager[0].body, pager[1].body);
    assert!(pager.iter().all(|r| r.json()["dedup_key"] == pager[0].json()["dedup_key"]));
    let ends = desk.events("notice_ended");
    assert!(ends.iter().all(|end| end["delivered"] == true), "{ends:?}");
    let deliveries =
        desk.events("notice").iter().map(|n| n["channels"].as_array().unwrap().len()).sum::<usize>();
    assert_eq!(ends.len(), deliveries, "each once");
    let tries = |number: u64, channel: &str| {
        let end = ends.iter().find(|end| end["number"] == number && end["channel"] == channel);
        end.unwrap()["attempts"].as_u64().unwrap()
    };
    assert_eq!((tries(1, "team"), tries(1, "pager"), tries(1, "mail")), (3, 2, 1));

    // The page is for those who have the role, and comes to each by their way.
    assert!(slack[0].json()["text"].as_str().unwrap().contains("For: ada, bo"), "{}", slack[0].body);
    let mails = mail.mails();
    assert_eq!((&mails[0]["user"], &mails[0]["tls"]), (&json!("mailer"), &json!(true)));
    assert!(desk.read("phone.trigger").contains("For: ada, bo") && !desk.read("phone.resolve").is_empty());
    // The status goes by the phases; each update has all that the template asks for.
    let texts: Vec<String> = hook.iter().map(|r| r.json()["text"].as_str().unwrap().to_owned()).collect();
    let statuses: Vec<String> =
        hook.iter().filter_map(|r| r.json()["facts"]["status"].as_str().map(Into::into)).collect();
    assert_eq!(statuses, ["Investigating", "Identified", "Monitoring"], "of the page and the two messages");
    let updates: Vec<&String> = texts.iter().filter(|text| text.starts_with("Incident update #")).collect();
    assert!(updates.len() == 2 && updates[0].contains("Status: Investigating"), "{updates:?}");
    for part in [
        "Incident update #2\nTime: 20",
        "\nStatus: Resolved\n",
        "\nImpact: Nobody can log in\n",
        "\nCurrent situation: ",
        "\nActions taken:\n- ",
        "\nNext steps: none\n",
        "\nEstimated resolution: resolved\n",
        "\nNext update: none, this is the final update",
    ] {
        assert!(updates[1].contains(part), "{part:?} is not in\n{}", updates[1]);
    }

    // Whoever keeps a message can show later that the journal up to then was not rewritten.
    let mut heads: Vec<String> =
        [&slack, &pager, &hook].into_iter().flatten().map(|r| head(&r.body)).collect();
    // Long lines of a mail are broken.
    heads.extend(mails.iter().map(|m| head(&m["mail"].as_str().unwrap().replace("=\r\n", ""))));
    heads.extend(["phone.trigger", "phone.resolve"].map(|name| head(&desk.read(name))));
    heads.sort();
    heads.dedup();
    assert!(heads.len() >= 2, "each is of its moment: {heads:?}");
    for head in heads {
        let verified = desk.run(&["verify", "last", "--head", &head], &[]);
        assert_eq!(verified.code, 0, "{head}: {}{}", verified.out, verified.err);
    }

    if Command::new("openssl").arg("version").output().is_err() {
        println!("SKIPPED: there is no openssl here; the documentation's lines are not tried");
        return;
    }
    for request in &hook {
        assert!(openssl_agrees(request, SECRET), "{}", request.header("runbook-signature"));
        assert!(!openssl_agrees(request, "another key"));
        let changed = Request { body: request.body.replace("Whole", "Hole"), ..request.clone() };
        assert!(!openssl_agrees(&changed, SECRET));
    }
}
