//! A queue for each channel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::Keys;
use super::deliver::{Line, Progress};
use crate::model::{Channel, Delivery, Millis, Notice};
use crate::planted::{self, Bug};

/// What became of one notice on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub channel: String,
    /// [`Notice::id`].
    pub id: String,
    pub delivery: Delivery,
}

/// Sends notices in the background: those of one channel one after the other, in the order of [`send`](Self::send); no
/// channel waits for another. When it is dropped, everything under way is broken off.
pub struct Notifier {
    queues: BTreeMap<String, UnboundedSender<(Notice, Arc<Progress>)>>,
    waiting: Arc<Waiting>,
    workers: JoinSet<()>,
}

impl Notifier {
    /// Must be called inside of a tokio runtime. The receiver gives one [`Sent`] for each [`send`](Self::send); nobody needs
    /// to read it.
    pub fn start(channels: &[Channel], keys: Arc<Keys>) -> (Self, UnboundedReceiver<Sent>) {
        let (report, reports) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let (mut queues, mut workers) = (BTreeMap::new(), JoinSet::new());
        for channel in channels {
            let (queue, notices) = mpsc::unbounded_channel();
            queues.insert(channel.name.clone(), queue);
            let (keys, report, waiting) = (Arc::clone(&keys), report.clone(), Arc::clone(&waiting));
            workers.spawn(work(channel.clone(), notices, keys, report, waiting));
        }
        (Self { queues, waiting, workers }, reports)
    }

    /// Puts a notice into a channel's queue. False: there is no such channel.
    #[must_use]
    pub fn send(&self, channel: &str, notice: Notice) -> bool {
        let Some(queue) = self.queues.get(channel) else { return false };
        let progress = Arc::new(Progress::default());
        let waits = (notice.id.clone(), Arc::clone(&progress));
        lock(&self.waiting).entry(channel.to_owned()).or_default().push_back(waits);
        // A worker ends only with the notifier.
        queue.send((notice, progress)).is_ok()
    }

    /// How many notices are neither delivered nor given up.
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).values().map(VecDeque::len).sum()
    }

    /// Breaks off what is under way and gives what is to be said of all that is neither delivered nor given up: how often
    /// it was tried, and whether it may have arrived.
    pub fn leave(&mut self) -> Vec<Sent> {
        self.workers.abort_all();
        let left = std::mem::take(&mut *lock(&self.waiting));
        let sent = |channel: &String, (id, progress): (String, Arc<Progress>)| Sent {
            channel: channel.clone(),
            id,
            delivery: progress.left(),
        };
        left.into_iter().flat_map(|(c, all)| all.into_iter().map(move |one| sent(&c, one))).collect()
    }

    /// Takes no more notices and waits until all are delivered or given up, but no longer than `limit`. Gives back what was
    /// left by then.
    pub async fn finish(mut self, limit: Duration) -> Vec<Sent> {
        self.queues.clear();
        let all = async { while self.workers.join_next().await.is_some() {} };
        // Whether time was enough shows in what is left.
        let _ = tokio::time::timeout(limit, all).await;
        self.leave()
    }
}

/// By channel, the ids of what is not reported yet, and how far each has come.
type Unreported = BTreeMap<String, VecDeque<(String, Arc<Progress>)>>;
type Waiting = Mutex<Unreported>;

/// A panic elsewhere cannot have left it half changed.
fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Unreported> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn work(
    channel: Channel,
    mut notices: UnboundedReceiver<(Notice, Arc<Progress>)>,
    keys: Arc<Keys>,
    report: UnboundedSender<Sent>,
    waiting: Arc<Waiting>,
) {
    let name = channel.name.clone();
    let line = Arc::new(Line::new(channel));
    while let Some((notice, progress)) = notices.recv().await {
        let id = notice.id.clone();
        // On its own, so that a fault of ours costs one notice and not the channel. Dropped with this worker.
        let mut one = JoinSet::new();
        let (line, keys) = (Arc::clone(&line), Arc::clone(&keys));
        one.spawn(async move { line.send(&notice, &keys, &progress).await });
        let (name, report, waiting) = (name.clone(), report.clone(), Arc::clone(&waiting));
        let told = async move {
            let delivery = match one.join_next().await {
                Some(Ok(delivery)) => delivery,
                _ => Delivery {
                    delivered: false,
                    unsure: true,
                    attempts: 1,
                    why: Some("a fault of this program; please report it".into()),
                    answered: None,
                    duration: Millis::ZERO,
                },
            };
            if let Some(all) = lock(&waiting).get_mut(&name) {
                all.retain(|(waits, _)| *waits != id);
            }
            // Nobody needs to listen.
            let _ = report.send(Sent { channel: name, id, delivery });
        };
        if planted::is(Bug::NoticeOvertakes) {
            tokio::spawn(told);
        } else {
            told.await;
        }
    }
}
