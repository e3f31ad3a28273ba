//! Hands notices to the channels and hears what became of them. The run never waits for either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::engine::{Input, Outgoing};
use crate::model::{Cause, Delivery, Event, Millis, Notice, Record, STATUS_FILE, Timestamp};
use crate::notify::{Keys, Notifier, Sent};
use crate::plan::Plan;
use crate::planted::{self, Bug};
use crate::report::{History, notice};

use super::drive::{Driver, Signals};
use super::status_file::{StatusFile, Written};

/// How long a process that has nothing else to do waits for what is under way.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a notice on one of its channels.
pub(super) type Told = (u32, String, Delivery);

pub(super) struct Teller {
    notifier: Notifier,
    sent: UnboundedReceiver<Sent>,
    status_file: StatusFile,
    written: UnboundedReceiver<Written>,
    /// What the texts are written from.
    history: History,
    /// What the notices say that are recorded and not handed over yet.
    said: BTreeMap<u32, Words>,
    /// Numbers of notices under way, by id.
    numbers: BTreeMap<String, u32>,
}

/// A notice in words: for each channel, and for the page if it goes there.
struct Words {
    notices: Vec<(String, Notice)>,
    page: Option<String>,
}

impl Teller {
    /// Inside of the runtime.
    pub fn start(plan: &Plan, keys: Keys, before: &[Record]) -> Self {
        let (notifier, sent) = Notifier::start(&plan.channels, Arc::new(keys));
        let (status_file, written) = StatusFile::new();
        let history = History::of(plan, before);
        Self {
            notifier,
            sent,
            status_file,
            written,
            history,
            said: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    /// Follows the records. What a notice says is of the moment of its record: much may be decided, and even the run be over,
    /// before the acts of one decision are performed. Only what says how the run ended is written when that is known.
    pub fn record(&mut self, plan: &Plan, record: &Record) {
        self.history.apply(plan, record);
        let Event::Notice { number, cause, channels, to, text } = &record.event else { return };
        let of_the_end = matches!(cause, Cause::Update { last: true, .. } | Cause::Recovered);
        if of_the_end || planted::is(Bug::WordsOfTheEnd) {
            return;
        }
        let out = Outgoing {
            number: *number,
            cause: cause.clone(),
            channels: channels.clone(),
            to: to.clone(),
            text: text.clone(),
        };
        self.said.insert(*number, self.words(plan, &out, record.at));
    }

    fn words(&self, plan: &Plan, out: &Outgoing, at: Timestamp) -> Words {
        let page = out.channels.iter().any(|channel| channel == STATUS_FILE);
        let others = out.channels.iter().filter(|channel| *channel != STATUS_FILE);
        let notices = others.filter_map(|channel| {
            Some((channel.clone(), notice::compose(plan, &self.history, out, channel, at)?))
        });
        Words {
            notices: notices.collect(),
            page: notice::status_page(plan, &self.history, out, at).filter(|_| page),
        }
    }

    /// Gives the notice to each of its channels; what comes back at once is that there is no such channel.
    pub fn send(&mut self, plan: &Plan, out: &Outgoing, head: &str, at: Timestamp) -> Vec<Told> {
        let words = self.said.remove(&out.number).unwrap_or_else(|| self.words(plan, out, at));
        let file = plan.updates.as_ref().and_then(|updates| updates.status_file.as_ref());
        if let (Some(file), Some(page)) = (file, words.page) {
            self.status_file.write(out.number, file, page);
        }
        let mut refused = Vec::new();
        for (channel, mut notice) in words.notices {
            notice.head = Some(head.to_owned());
            self.numbers.insert(notice.id.clone(), out.number);
            if !self.notifier.send(&channel, notice) {
                let why = "there is no such channel".to_owned();
                refused.push((out.number, channel, failed(false, why)));
            }
        }
        refused
    }

    /// What became of the next one.
    pub async fn next(&mut self) -> Told {
        loop {
            tokio::select! {
                Some(Sent { channel, id, delivery }) = self.sent.recv() => {
                    if let Some(number) = self.numbers.remove(&id) {
                        return (number, channel, delivery);
                    }
                }
                Some(Written { number, why_not }) = self.written.recv() => {
                    return (number, STATUS_FILE.to_owned(), written(why_not));
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Breaks off what is under way. `open` is what nobody has heard of yet: each gets a word, as true as can be had.
    pub fn leave(&mut self, open: impl Iterator<Item = (u32, String)>) -> Vec<Told> {
        let mut known: BTreeMap<(u32, String), Delivery> = BTreeMap::new();
        // What came in the last moment is not under way any more.
        while let Ok(Sent { channel, id, delivery }) = self.sent.try_recv() {
            self.numbers.get(&id).map(|number| known.insert((*number, channel), delivery));
        }
        while let Ok(Written { number, why_not }) = self.written.try_recv() {
            known.insert((number, STATUS_FILE.to_owned()), written(why_not));
        }
        for Sent { channel, id, delivery } in self.notifier.leave() {
            if let Some(number) = self.numbers.get(&id) {
                let why = delivery.why.map(|why| format!("{why} when the process left the run"));
                known.entry((*number, channel)).or_insert(Delivery { why, ..delivery });
            }
        }
        let unknown = || failed(true, "there was no answer yet when the process left the run".to_owned());
        let told = open.map(|(number, channel)| {
            let delivery = known.remove(&(number, channel.clone())).unwrap_or_else(unknown);
            (number, channel, delivery)
        });
        told.collect()
    }
}

pub(super) fn told((number, channel, delivery): Told) -> Input {
    Input::Told { number, channel, delivery }
}

fn failed(unsure: bool, why: String) -> Delivery {
    Delivery { delivered: false, unsure, attempts: 0, why: Some(why), answered: None, duration: Millis::ZERO }
}

fn written(why_not: Option<String>) -> Delivery {
    Delivery {
        delivered: why_not.is_none(),
        unsure: false,
        attempts: 1,
        why: why_not,
        answered: None,
        duration: Millis::ZERO,
    }
}

impl Driver<'_> {
    /// The run has ended. What is still under way gets a little time; whoever does not want to wait for it need not.
    pub(super) async fn wait_for_notices(&mut self, signals: &mut Signals) {
        let began = tokio::time::Instant::now();
        // Most channels answer before anybody wonders.
        let (mut word, until) = (Some(began + Duration::from_secs(1)), began + PATIENCE);
        loop {
            let mut inputs = std::mem::take(&mut self.refused);
            if inputs.is_empty() {
                let open = self.engine.state().told.open.len();
                if open == 0 {
                    return;
                }
                tokio::select! {
                    next = self.teller.next() => inputs.push(told(next)),
                    () = tokio::time::sleep_until(word.unwrap_or(until)) => {
                        if word.take().is_none() {
                            break;
                        }
                        let within = Millis::secs(PATIENCE.as_secs());
                        self.reporters.iter_mut().for_each(|reporter| reporter.leaving(open, within));
                    }
                    _ = signals.interrupt.recv() => break,
                    _ = signals.terminate.recv() => break,
                }
            }
            // A journal that takes nothing any more has the run's end already.
            if self.answer(inputs).is_err() {
                return;
            }
        }
        let left = self.teller.leave(self.engine.state().told.open.iter().cloned());
        let _ = self.answer(left.into_iter().map(told).collect());
    }
}
