//! The runner's side: hands tasks out, brings their events together.

mod join;
mod lose;
mod start;

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::{mpsc, oneshot};

use super::link::Link;
use super::outputs::OutputFolder;
use super::protocol::{Bytes, EndedTask, FromKeeper, StartTask, ToKeeper};
use super::redact::Redactor;
use super::{Abroad, ExecConfig, ExecEvent, http, outputs};
use crate::model::{Millis, TaskEnd, TaskEndKind, TaskId, TaskOutput, Want};

/// What the keeper was told to carry out.
struct Kept {
    want: Want,
    /// To be handed to another keeper, should this one die before it has begun. Absent once that was done, and for
    /// what an earlier process has handed over.
    order: Option<Box<StartTask>>,
    /// To ask its host what became of it, should the way there break. Once.
    far: Option<Box<Abroad>>,
}

impl Kept {
    fn joined(want: Want) -> Self {
        Self { want, order: None, far: None }
    }
}

/// The end of a task that the keeper does not carry out.
type Answer = (TaskId, TaskEnd, TaskOutput);

/// The tasks of one run. To be used within a tokio runtime with I/O and time.
pub struct Exec {
    config: ExecConfig,
    outputs: OutputFolder,
    redactor: Redactor,
    link: Option<Link>,
    /// What the keeper carries out.
    kept: BTreeMap<TaskId, Kept>,
    /// Queries and requests; to send (or to drop) ends them.
    others: BTreeMap<TaskId, oneshot::Sender<()>>,
    /// Commands that outlived their keeper; to send ends them, `true` by force.
    orphans: BTreeMap<TaskId, mpsc::UnboundedSender<bool>>,
    ready: VecDeque<ExecEvent>,
    /// What was made ready and is not told to start yet.
    held: Option<TaskId>,
    /// What the keeper has made ready although nobody has decided that it starts.
    ahead: Option<Box<StartTask>>,
    /// Tasks of which their hosts say that they run.
    runs: Vec<TaskId>,
    /// Tasks of which nobody knows how they ended: what there is of them on other hosts must stay.
    doubtful: Vec<TaskId>,
    answers: mpsc::UnboundedReceiver<Answer>,
    answer: mpsc::UnboundedSender<Answer>,
    http: http::Clients,
}

impl Exec {
    /// For a new run. Starts nothing yet: the keeper is started with the first process.
    pub fn new(config: ExecConfig) -> Self {
        let (answer, answers) = mpsc::unbounded_channel();
        Self {
            redactor: Redactor::new(config.secrets.values()),
            outputs: OutputFolder::of(&config.run_dir),
            config,
            link: None,
            kept: BTreeMap::new(),
            others: BTreeMap::new(),
            orphans: BTreeMap::new(),
            ready: VecDeque::new(),
            held: None,
            ahead: None,
            runs: Vec::new(),
            doubtful: Vec::new(),
            answers,
            answer,
            http: http::Clients::default(),
        }
    }

    /// Masks the run's secrets in texts that come from elsewhere.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    fn load(&self, ended: EndedTask, want: Want) -> TaskOutput {
        outputs::load(&self.outputs, ended, want, &self.redactor)
    }

    fn hello(&self) -> ToKeeper {
        let secrets = self.config.secrets.values().map(|s| Bytes(s.expose().to_vec())).collect();
        ToKeeper::Hello { secrets, output_cap: self.config.output_cap }
    }

    /// Ends a task's process tree: TERM, grace, KILL; with `force` KILL at once. Its `Ended` follows.
    pub fn stop(&mut self, task: &TaskId, force: bool) {
        if let Some(stop) = self.others.remove(task) {
            let _ = stop.send(());
        } else if let Some(order) = self.orphans.get(task) {
            // It may just have ended.
            let _ = order.send(force);
        } else if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Stop { task: task.clone(), force });
        }
    }

    /// Lets every running process rest, before this process is stopped by its terminal. Requests and queries, which are
    /// this process's own, rest with it.
    pub fn pause(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Pause);
        }
    }

    /// Lets them go on.
    pub fn unpause(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Continue);
        }
    }

    /// The next event; pending for ever if nothing runs. May be dropped at any await without losing one.
    pub async fn next(&mut self) -> ExecEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            self.turn().await;
        }
    }

    /// Waits for something to happen, and takes it in.
    async fn turn(&mut self) {
        let turn = async {
            match &mut self.link {
                Some(link) => link.turn().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            messages = turn => match messages {
                Ok(messages) => messages.into_iter().for_each(|m| self.hear(m)),
                Err(e) => self.lose(&e),
            },
            // `self` keeps a sender, so the channel never closes.
            Some((task, end, output)) = self.answers.recv() => {
                self.others.remove(&task);
                self.orphans.remove(&task);
                self.ready.push_back(ExecEvent::Ended { task, end, output });
            }
        }
    }

    fn hear(&mut self, message: FromKeeper) {
        match message {
            FromKeeper::Joined { .. } => {}
            FromKeeper::Runs { task } => self.runs.push(task),
            FromKeeper::Output { task, stream, bytes } => {
                self.ready.push_back(ExecEvent::Output { task, stream, bytes });
            }
            FromKeeper::Ended(ended) => {
                if let Some(Kept { want, far, .. }) = self.kept.remove(&ended.task) {
                    // The way broke: over another one, if there is one, the host tells how it goes on.
                    if let (true, Some(mut abroad)) = (ended.severed, far) {
                        abroad.age = ended.end.duration;
                        abroad.timeout =
                            abroad.timeout.map(|t| t.saturating_sub(abroad.age).max(Millis::secs(1)));
                        self.ask(&ended.task, want, *abroad);
                        return;
                    }
                    self.note_doubt(&ended);
                    let (task, end) = (ended.task.clone(), ended.end.clone());
                    let output = self.load(*ended, want);
                    self.ready.push_back(ExecEvent::Ended { task, end, output });
                }
            }
        }
    }

    fn note_doubt(&mut self, ended: &EndedTask) {
        if matches!(ended.end.kind, TaskEndKind::Unknown { .. }) {
            self.doubtful.push(ended.task.clone());
        }
    }

    /// All ends are recorded, and nothing more will be begun: what tasks left on other hosts is cleared away once the
    /// keeper goes, but for what is in doubt.
    pub fn recorded(&mut self) {
        if let Some(link) = &mut self.link {
            link.send(&ToKeeper::Clean { keep: std::mem::take(&mut self.doubtful) });
        }
    }
}
