//! Hands notices to the channels and hears what became of them. The run never waits for either.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::engine::{Input, Outgoing};
use crate::model::{Cause, Delivery, Millis, Record, Timestamp};
use crate::notify::{Keys, Notifier, Sent};
use crate::plan::Plan;
use crate::report::{History, notice};

use super::drive::{Driver, Signals};

/// How long a run that has ended waits for what is under way.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Teller {
    notifier: Notifier,
    sent: UnboundedReceiver<Sent>,
    /// What the texts are written from.
    history: History,
    /// Numbers of notices under way, by id.
    numbers: BTreeMap<String, u32>,
}

impl Teller {
    /// Inside of the runtime.
    pub fn start(plan: &Plan, keys: Keys, before: &[Record]) -> Self {
        let (notifier, sent) = Notifier::start(&plan.channels, Arc::new(keys));
        Self { notifier, sent, history: History::of(plan, before), numbers: BTreeMap::new() }
    }

    pub fn record(&mut self, plan: &Plan, record: &Record) {
        self.history.apply(plan, record);
    }

    /// Gives the notice to each of its channels; what comes back at once is that there is no such channel.
    pub fn send(&mut self, plan: &Plan, out: &Outgoing, head: &str, at: Timestamp) -> Vec<Input> {
        if let (Cause::Update { .. }, Some(updates)) = (&out.cause, &plan.updates)
            && let Some(file) = &updates.status_file
            && let Some(page) = notice::status_page(plan, &self.history, out, at)
        {
            // Like a channel that fails: it is not worth a recovery.
            let _ = write_whole(file, page.as_bytes());
        }
        let mut refused = Vec::new();
        for channel in &out.channels {
            let Some(mut notice) = notice::compose(plan, &self.history, out, channel, at) else { continue };
            notice.head = Some(head.to_owned());
            self.numbers.insert(notice.id.clone(), out.number);
            if !self.notifier.send(channel, notice) {
                let why = "there is no such channel".to_owned();
                refused.push(told(out.number, channel.clone(), failed(false, why)));
            }
        }
        refused
    }

    /// What became of the next one.
    pub async fn next(&mut self) -> Input {
        loop {
            match self.sent.recv().await {
                Some(Sent { channel, id, delivery }) => {
                    if let Some(number) = self.numbers.remove(&id) {
                        return told(number, channel, delivery);
                    }
                }
                None => std::future::pending().await,
            }
        }
    }
}

/// Of one that is still under way when its process leaves.
pub(super) fn left_behind(number: u32, channel: String) -> Input {
    told(number, channel, failed(true, "the run had ended before the channel answered".to_owned()))
}

fn told(number: u32, channel: String, delivery: Delivery) -> Input {
    Input::Told { number, channel, delivery }
}

fn failed(unsure: bool, why: String) -> Delivery {
    Delivery { delivered: false, unsure, attempts: 0, why: Some(why), answered: None, duration: Millis::ZERO }
}

/// Whoever reads the file finds the old page or the new one, never half of one.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, file).inspect_err(|_| _ = std::fs::remove_file(&new))
}

impl Driver<'_> {
    /// The run has ended. What is still under way gets a little time; whoever does not want to wait for it need not.
    pub(super) async fn wait_for_notices(&mut self, signals: &mut Signals) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let mut inputs = std::mem::take(&mut self.refused);
            if inputs.is_empty() {
                if self.engine.state().told.open.is_empty() {
                    return;
                }
                tokio::select! {
                    told = self.teller.next() => inputs.push(told),
                    () = tokio::time::sleep_until(until) => break,
                    _ = signals.interrupt.recv() => break,
                    _ = signals.terminate.recv() => break,
                }
            }
            // A journal that takes nothing any more has the run's end already.
            if self.answer(inputs).is_err() {
                return;
            }
        }
        let left = self.engine.state().told.open.iter();
        let left = left.map(|(number, channel)| left_behind(*number, channel.clone())).collect();
        let _ = self.answer(left);
    }
}
