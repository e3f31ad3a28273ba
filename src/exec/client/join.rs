//! A resumed run: what became of its tasks, by the keeper, by its notes, by their hosts.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Exec, Kept};
use crate::exec::attach::{self, Trace};
use crate::exec::far::Orders;
use crate::exec::link::{Joined, Link};
use crate::exec::notes::Notes;
use crate::exec::orphan::{self, Orphan};
use crate::exec::protocol::{Bytes, FromKeeper, StartTask};
use crate::exec::{Abroad, ExecConfig, ExecEvent, Finding, InFlight, procfs};
use crate::model::{Host, Reach, TaskEndKind, TaskId, TaskOutput, Want};

/// How long a living keeper may take to answer a runner that joins.
const ANSWER: Duration = Duration::from_secs(10);
/// How long hosts may take to say how a task stands, before it is called running.
const ANSWER_ABROAD: Duration = Duration::from_secs(60);

impl Exec {
    /// For a resumed run: joins the keeper if it lives, else reads what it noted, and says for each task in flight
    /// what became of it.
    pub async fn attach(
        config: ExecConfig,
        in_flight: Vec<InFlight>,
    ) -> io::Result<(Self, Vec<(TaskId, Finding)>)> {
        let mut exec = Self::new(config);
        // Before joining: an end may come along with the keeper's answer.
        exec.kept.extend(in_flight.iter().map(|flight| (flight.task.clone(), Kept::joined(flight.want))));
        let running = exec.join().await?;
        let boot_id = procfs::boot_id();
        // Read after the keeper has answered: what does not run by then has all its notes.
        let notes = Notes::read(&exec.config.run_dir, &boot_id)?;
        let mut findings = Vec::new();
        let mut asked = Vec::new();
        for InFlight { task, want, abroad } in in_flight {
            if running.contains(&task) {
                findings.push((task, Finding::Running));
                continue;
            }
            exec.kept.remove(&task);
            match abroad.filter(|_| attach::must_ask(&notes, &task)) {
                Some(abroad) => {
                    exec.ask(&task, want, abroad);
                    asked.push(task);
                }
                None => {
                    let finding = exec.find(&notes, &task, want, &boot_id);
                    findings.push((task, finding));
                }
            }
        }
        exec.hear_answers(asked, &mut findings).await;
        Ok((exec, findings))
    }

    /// The tasks that a living keeper runs.
    async fn join(&mut self) -> io::Result<Vec<TaskId>> {
        loop {
            let mut link = match Link::join(&self.config.run_dir).await? {
                Joined::Dead => return Ok(Vec::new()),
                Joined::Alive(link) => link,
            };
            link.send(&self.hello());
            let messages = match tokio::time::timeout(ANSWER, link.turn()).await {
                Ok(Ok(messages)) => messages,
                // It ended just now.
                Ok(Err(_)) => continue,
                Err(_) => return Err(io::Error::other("the run's keeper does not answer")),
            };
            let mut running = Vec::new();
            for message in messages {
                match message {
                    FromKeeper::Joined { running: tasks } => running = tasks,
                    other => self.hear(other),
                }
            }
            self.link = Some(link);
            return Ok(running);
        }
    }

    /// What the hosts say of the tasks; what still runs there, or is not answered in time, goes on.
    async fn hear_answers(&mut self, mut asked: Vec<TaskId>, findings: &mut Vec<(TaskId, Finding)>) {
        let deadline = tokio::time::Instant::now() + ANSWER_ABROAD;
        let mut later = Vec::new();
        loop {
            let runs = std::mem::take(&mut self.runs);
            asked.retain(|task| !runs.contains(task));
            findings.extend(runs.into_iter().map(|task| (task, Finding::Running)));
            while let Some(event) = self.ready.pop_front() {
                match event {
                    ExecEvent::Ended { task, end, output } if asked.contains(&task) => {
                        asked.retain(|other| *other != task);
                        let finding = match end.kind {
                            // Nothing was started by asking: what never began is told so.
                            TaskEndKind::NotStarted { .. } => Finding::NeverStarted,
                            TaskEndKind::Unknown { why } if !end.gone => Finding::Unknown { why },
                            _ => Finding::Ended { end, output },
                        };
                        findings.push((task, finding));
                    }
                    other => later.push(other),
                }
            }
            // A word that a task runs is no event: each turn is looked at.
            if asked.is_empty() || tokio::time::timeout_at(deadline, self.turn()).await.is_err() {
                break;
            }
        }
        findings.extend(asked.into_iter().map(|task| (task, Finding::Running)));
        later.into_iter().rev().for_each(|event| self.ready.push_front(event));
    }

    /// Asks the task's host what became of it; its end follows.
    pub(super) fn ask(&mut self, task: &TaskId, want: Want, abroad: Abroad) {
        let orders = Orders { run_dir: &self.config.run_dir, task, host: &abroad.host };
        let start = StartTask {
            task: task.clone(),
            commands: vec![orders.argv()],
            workdir: self.way_folder(&abroad.host, &abroad.root),
            env: Vec::new(),
            stdin: Some(Bytes(orders.ask(abroad.age))),
            timeout: abroad.timeout,
            grace: abroad.grace,
            want,
            sensitive: abroad.sensitive,
            far: Some(Box::new(orders.far(true))),
        };
        self.hand_over(start, false, false, None);
    }

    /// Where a process that leads to a host starts: the shared connection is found from the run's folder, and a program of
    /// the playbook from the playbook's.
    pub(super) fn way_folder(&self, host: &Host, root: &Path) -> PathBuf {
        match host.reach {
            Reach::Ssh(_) => self.config.run_dir.clone(),
            _ => root.to_owned(),
        }
    }

    fn find(&mut self, notes: &Notes, task: &TaskId, want: Want, boot_id: &str) -> Finding {
        match attach::trace(notes, task, boot_id) {
            Trace::NeverStarted => Finding::NeverStarted,
            Trace::Ended(ended) => {
                let end = ended.end.clone();
                let output = self.load(*ended, want);
                Finding::Ended { end, output }
            }
            Trace::Unknown { why } => Finding::Unknown { why },
            Trace::Orphan(orphan) => {
                self.watch(task.clone(), orphan);
                Finding::Running
            }
        }
    }

    /// Waits for the end of a command whose keeper is dead. Its exit code is lost; that it is over is still worth
    /// knowing, before anything is decided about it.
    pub(super) fn watch(&mut self, task: TaskId, orphan: Orphan) {
        let (order, orders) = mpsc::unbounded_channel();
        self.orphans.insert(task.clone(), order);
        let (answer, run_dir) = (self.answer.clone(), self.config.run_dir.clone());
        tokio::spawn(async move {
            let end = orphan::watch(&run_dir, &task, orphan, orders).await;
            // The run may be over: then nobody waits for it any more.
            let _ = answer.send((task, end, TaskOutput::none()));
        });
    }
}
