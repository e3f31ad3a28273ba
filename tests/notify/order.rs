//! The queues: order within a channel, and none between them.

use std::sync::Arc;
use std::time::Duration;

use runbook::model::Millis;
use runbook::notify::{Keys, Notifier, Sent};

use crate::support::{Answer, Server, notice, runtime, say, webhook};

/// Long enough for every machine; nothing here takes it.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_channel_keeps_the_order_and_a_dead_one_holds_up_nobody() {
    // Every message is refused once, so that one that overtakes would show.
    let busy =
        Server::start(|n, _| if n % 2 == 0 { say("503 Service Unavailable", "") } else { say("200 OK", "") });
    let quick = Server::start(|_, _| say("200 OK", ""));
    let dead = Server::start(|_, _| Answer::Silence);
    let channels = [("busy", &busy), ("quick", &quick), ("dead", &dead)].map(|(name, server)| {
        let mut channel = webhook(&server.url("/"));
        channel.name = name.into();
        channel
    });
    let sent = runtime().block_on(async {
        let (notifier, mut reports) = Notifier::start(&channels, Arc::new(Keys::default()));
        for n in 0..4 {
            for channel in ["dead", "busy", "quick"] {
                assert!(notifier.send(channel, notice(&n.to_string())));
            }
        }
        assert!(!notifier.send("nobody", notice("0")), "there is no such channel");
        assert_eq!(notifier.waiting(), 12);
        let mut sent: Vec<Sent> = Vec::new();
        while sent.len() < 8 {
            sent.push(tokio::time::timeout(PATIENCE, reports.recv()).await.unwrap().unwrap());
        }
        assert_eq!(notifier.waiting(), 4, "only those of the dead one");
        // Nobody waits longer than that for the dead one.
        let left = notifier.finish(Duration::from_millis(100)).await;
        let id = |n: usize| format!("db-corruption-20261121T103755Z-ab12/{n}");
        let said: Vec<(&str, String)> = left.iter().map(|s| (&*s.channel, s.id.clone())).collect();
        assert_eq!(said, (0..4).map(|n| ("dead", id(n))).collect::<Vec<_>>());
        // The first may have arrived; the others surely have not.
        let what = |s: &Sent| (s.delivery.unsure, s.delivery.attempts, s.delivery.why.clone().unwrap());
        assert_eq!(what(&left[0]), (true, 1, "there was no answer yet".into()));
        for sent in &left[1..] {
            assert_eq!(what(sent), (false, 0, "its turn had not come".into()));
        }
        sent
    });
    for name in ["busy", "quick"] {
        let of: Vec<&Sent> = sent.iter().filter(|s| s.channel == name).collect();
        assert!(of.iter().all(|s| s.delivery.delivered), "{of:?}");
        let ids: Vec<&str> = of.iter().map(|s| s.id.rsplit('/').next().unwrap()).collect();
        assert_eq!(ids, ["0", "1", "2", "3"]);
    }
    assert_eq!(ids_of(&quick), ["0", "1", "2", "3"], "each once");
    assert_eq!(ids_of(&busy), ["0", "0", "1", "1", "2", "2", "3", "3"], "each acknowledged once, in order");
    assert_eq!(ids_of(&dead), ["0"], "the others never left");
}

fn ids_of(server: &Server) -> Vec<String> {
    server
        .seen()
        .iter()
        .map(|r| r.json()["id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect()
}

#[test]
fn a_channel_that_has_failed_tries_the_next_notice() {
    let server = Server::start(|n, _| if n == 0 { say("403 Forbidden", "") } else { say("200 OK", "") });
    let (sent, left) = runtime().block_on(async {
        let (notifier, mut reports) =
            Notifier::start(&[webhook(&server.url("/"))], Arc::new(Keys::default()));
        assert!(notifier.send("hook", notice("0")) && notifier.send("hook", notice("1")));
        let left = notifier.finish(PATIENCE).await;
        let mut sent = Vec::new();
        while let Some(one) = reports.recv().await {
            sent.push(one.delivery.delivered);
        }
        (sent, left)
    });
    assert_eq!((sent, left), (vec![false, true], vec![]));
}

/// Whoever stops waiting leaves nothing running that could still send.
#[test]
fn a_notifier_that_is_dropped_sends_nothing_more() {
    let server = Server::start(|_, _| say("503 Service Unavailable", ""));
    let mut channel = webhook(&server.url("/"));
    channel.retry_for = Millis::secs(600);
    runtime().block_on(async {
        let (notifier, mut reports) = Notifier::start(&[channel], Arc::new(Keys::default()));
        assert!(notifier.send("hook", notice("0")));
        while server.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(notifier);
        assert!(reports.recv().await.is_none(), "the worker is gone");
        let before = server.seen().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(server.seen().len() <= before + 1, "at most the one that was on its way");
    });
}
