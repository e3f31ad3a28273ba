//! Who is told, and when: the escalation, the updates, and the messages of steps.
//!
//! All of it is a function of the state, as everything here: a level that stands in [`Told`] is never raised again, and
//! an update that is due but not recorded is recorded by whoever decides next.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Cause, ChannelKind, Delivery, Event, Millis, Percentile, QuestionKind, RunOutcome, STATUS_FILE, Spread,
    StepOutcome,
};
use crate::plan::{Level, StepIx, Tell, template};
use crate::planted::{self, Bug};

use super::core::{Act, Engine};
use super::projection::{Ahead, Projection};
use super::state::RunStatus;

/// A notice on its way out; its record is synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub number: u32,
    pub cause: Cause,
    pub channels: Vec<String>,
    pub to: Vec<String>,
    pub text: Option<String>,
}

/// Who was told what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The number of the last notice.
    pub last: u32,
    /// The levels that were raised, with their channels.
    pub raised: BTreeMap<u32, Vec<String>>,
    /// All channels that were told anything.
    pub channels: BTreeSet<String>,
    /// Channels that were told anything since it was last called off, and whether they know that somebody has it in hand.
    pub alerts: BTreeMap<String, bool>,
    /// The number of the last update, and when it was.
    pub updates: u32,
    pub updated: Millis,
    /// The final update is out, and the run has not gone on since.
    pub finished: bool,
    /// Those who were called know that it is over.
    pub called_off: bool,
    /// A phase missed its deadline, and no level was raised since.
    pub owed: Option<String>,
    /// Notices by number and channel of which nobody knows yet what became of them.
    pub open: BTreeSet<(u32, String)>,
}

impl Told {
    pub(super) fn notice(
        &mut self,
        t: Millis,
        number: u32,
        cause: &Cause,
        channels: &[String],
    ) -> Result<(), String> {
        if number != self.last.saturating_add(1) {
            return Err(format!("notice {number} follows notice {}", self.last));
        }
        match cause {
            Cause::Escalation { level, .. } => {
                if self.raised.insert(*level, channels.to_vec()).is_some() {
                    return Err(format!("level {level} is raised a second time"));
                }
                self.owed = None;
            }
            Cause::Update { number, last } => {
                if *number != self.updates.saturating_add(1) {
                    return Err(format!("update {number} follows update {}", self.updates));
                }
                (self.updates, self.updated, self.finished) = (*number, t, *last);
            }
            Cause::Step { .. } => {}
            Cause::Recovered => self.called_off = true,
            Cause::Acknowledged { .. } => {}
        }
        self.last = number;
        self.channels.extend(channels.iter().cloned());
        match cause {
            Cause::Recovered => self.alerts.clear(),
            Cause::Acknowledged { .. } => {
                self.alerts.extend(channels.iter().map(|channel| (channel.clone(), true)));
            }
            Cause::Escalation { .. } | Cause::Update { .. } | Cause::Step { .. } => {
                for channel in channels {
                    self.alerts.entry(channel.clone()).or_insert(false);
                }
            }
        }
        self.open.extend(channels.iter().map(|channel| (number, channel.clone())));
        Ok(())
    }

    pub(super) fn ended(&mut self, number: u32, channel: &str) -> Result<(), String> {
        if self.open.remove(&(number, channel.to_owned())) {
            return Ok(());
        }
        Err(format!("notice {number} is not under way to {channel}"))
    }

    /// What is said at the end may be said again at another one.
    pub(super) fn go_on(&mut self) {
        (self.finished, self.called_off) = (false, false);
    }

    /// Another process goes on. What was said stays said, whatever became of it.
    pub(super) fn resumed(&mut self) {
        if planted::is(Bug::LevelsAgain) {
            self.raised.clear();
        }
        if planted::is(Bug::AcknowledgeAgain) {
            self.alerts.values_mut().for_each(|known| *known = false);
        }
    }
}

impl Engine {
    /// When a notice is due that only time brings.
    pub(super) fn next_notice(&self) -> Option<Millis> {
        let level = self.next_level().and_then(|level| level.after).map(|after| self.of_age(after));
        let breach = self.next_breach().map(|(_, at)| at);
        [level, breach, self.next_update()].into_iter().flatten().min()
    }

    /// Sends one notice that is due. False if none is.
    pub(super) fn notify(&mut self) -> bool {
        if !self.is_open() {
            return false;
        }
        if self.acknowledge() {
            return true;
        }
        if let Some((level, why)) = self.level_due() {
            return self.raise(level, why);
        }
        let due = self.next_update().is_some_and(|at| at <= self.now.t);
        due && self.update(false)
    }

    fn level_due(&self) -> Option<(Level, String)> {
        if self.is_acknowledged() {
            return None;
        }
        let plan = &self.plan;
        let raised = &self.state.told.raised;
        let unheard = |level: &&Level| !raised.contains_key(&level.level);
        for &ix in &self.escalating {
            let level = plan.escalation.iter().find(|l| Some(l.level) == plan.steps[ix].escalate);
            if let Some(level) = level.filter(unheard)
                && let Some(why) = self.failure(ix)
            {
                return Some((level.clone(), why));
            }
        }
        if let Some(phase) = &self.state.told.owed {
            let highest = raised.last_key_value().map_or(0, |(level, _)| *level);
            if let Some(next) = plan.escalation.iter().find(|level| level.level > highest) {
                return Some((next.clone(), format!("phase {phase} missed its deadline")));
            }
        }
        let timed = self.next_level().and_then(|level| Some((level, level.after?)));
        if let Some((level, after)) = timed.filter(|(_, after)| self.of_age(*after) <= self.now.t) {
            return Some((level.clone(), format!("the incident has lasted {after}")));
        }
        let (level, _) = self.next_breach().filter(|(_, at)| *at <= self.now.t)?;
        Some((level.clone(), self.breach()))
    }

    /// The lowest level that is raised when the RTO is about to be missed, and when it is due as things stand.
    fn next_breach(&self) -> Option<(&Level, Millis)> {
        let rto = self.plan.objectives.rto?;
        if self.is_acknowledged() || self.state.status != RunStatus::Running {
            return None;
        }
        let raised = &self.state.told.raised;
        let mut foreseen = None;
        let levels = self.plan.escalation.iter().filter(|l| !raised.contains_key(&l.level));
        let due = levels.filter_map(|level| {
            let of = level.projected_breach?;
            let ahead = *foreseen.get_or_insert_with(|| self.ahead());
            Some((level, self.missed_at(rto, ahead, of)))
        });
        due.min_by_key(|(level, at)| (*at, level.level))
    }

    /// When it shows that the RTO is missed. Without past runs, when it is.
    fn missed_at(&self, rto: Millis, ahead: Ahead, of: Percentile) -> Millis {
        let before = self.before_start();
        if before > rto {
            return self.now.t;
        }
        let ahead = if planted::is(Bug::LateBreach) { Ahead::default() } else { ahead };
        ahead.later_than(rto.saturating_sub(before), self.now.t, of)
    }

    fn ahead(&self) -> Ahead {
        let past = self.state.start.as_ref().and_then(|start| start.past.as_deref());
        past.map(|past| Ahead::of(&self.plan, &self.state, past)).unwrap_or_default()
    }

    fn breach(&self) -> String {
        let rto = self.plan.objectives.rto.unwrap_or_default();
        let before = self.before_start();
        if before.saturating_add(self.now.t) > rto {
            return format!("the RTO of {rto} has passed");
        }
        let Some(projection) = Projection::of(&self.plan, &self.state, self.now.t) else {
            return format!("the RTO of {rto} is about to pass");
        };
        let end = projection.end.plus(Spread::both(before));
        let later = if projection.is_earliest() { " or later" } else { "" };
        format!(
            "recovery is projected after {} (p50) to {} (p90){later}, and the RTO is {rto}",
            end.p50, end.p90
        )
    }

    /// Why the step calls for more people.
    fn failure(&self, ix: StepIx) -> Option<String> {
        let state = &self.state.steps[ix];
        let id = &self.plan.steps[ix].id;
        let why = || state.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        match state.own_outcome() {
            Some(StepOutcome::Failed) => Some(format!("step {id} failed{}", why())),
            Some(StepOutcome::Unknown) => Some(format!("step {id} is in doubt{}", why())),
            _ => {
                let question = &state.asking()?.question;
                (question.kind == QuestionKind::Failure).then(|| format!("step {id}: {}", question.prompt))
            }
        }
    }

    fn raise(&mut self, level: Level, why: String) -> bool {
        let cause = Cause::Escalation { level: level.level, why };
        self.send(cause, level.notify, level.to, None)
    }

    /// The lowest level that time will raise.
    fn next_level(&self) -> Option<&Level> {
        if self.is_acknowledged() {
            return None;
        }
        let raised = &self.state.told.raised;
        self.plan.escalation.iter().find(|l| l.after.is_some() && !raised.contains_key(&l.level))
    }

    /// When the next update is due: at once if there was none.
    fn next_update(&self) -> Option<Millis> {
        let updates = self.plan.updates.as_ref()?;
        let told = &self.state.told;
        match told.updates {
            _ if told.finished => None,
            0 => Some(Millis::ZERO),
            _ => {
                updates.next_after(self.before_start().saturating_add(told.updated)).map(|at| self.of_age(at))
            }
        }
    }

    fn update(&mut self, last: bool) -> bool {
        let Some(updates) = &self.plan.updates else { return false };
        let mut channels = updates.channels.clone();
        channels.extend(updates.status_file.is_some().then(|| STATUS_FILE.to_owned()));
        let number = self.state.told.updates.saturating_add(1);
        self.send(Cause::Update { number, last }, channels, Vec::new(), None)
    }

    /// Hands the message of a step over.
    pub(super) fn tell_step(&mut self, ix: StepIx, tell: &Tell) {
        let text =
            self.with_ctx(ix, &tell.message.uses, None, |ctx| template::render_text(&tell.message, ctx));
        let text = match text {
            Ok(text) => text,
            Err(error) => return self.fail_step(ix, format!("the message: {error}")),
        };
        let mut channels = tell.channels.clone();
        if self.plan.drill.is_some() {
            // A drill is nobody's business outside: it has only those channels that it has set up itself.
            channels.retain(|name| self.plan.channels.iter().any(|channel| channel.name == *name));
        }
        let step = self.plan.steps[ix].id.clone();
        self.send(Cause::Step { step }, channels, Vec::new(), Some(text));
    }

    /// What is said when the run is about to end. One that only waits for a person is not over.
    pub(super) fn last_words(&mut self, outcome: RunOutcome) {
        if outcome == RunOutcome::Waiting {
            return;
        }
        if !self.state.told.finished {
            self.update(true);
        }
        let over = matches!(outcome, RunOutcome::Recovered | RunOutcome::Degraded);
        let called = self.called();
        if over && !self.state.told.called_off && !called.is_empty() {
            self.send(Cause::Recovered, called, Vec::new(), None);
        } else if !over {
            // The final update may have been the first that they heard.
            self.acknowledge();
        }
    }

    /// Tells those who keep the run as an alert that somebody has it in hand, each once for an alert. False if there is
    /// nobody to tell.
    pub(super) fn acknowledge(&mut self) -> bool {
        let Some((_, by)) = self.state.acknowledged.first() else { return false };
        let open = self.state.told.alerts.iter().filter(|(name, known)| !**known && self.keeps_alerts(name));
        let channels: Vec<String> = open.map(|(name, _)| name.clone()).collect();
        let cause = Cause::Acknowledged { by: by.clone() };
        !channels.is_empty() && self.send(cause, channels, Vec::new(), None)
    }

    fn keeps_alerts(&self, name: &str) -> bool {
        let channel = self.plan.channels.iter().find(|channel| channel.name == name);
        channel.is_some_and(|channel| matches!(channel.kind, ChannelKind::Pagerduty(_)))
    }

    /// Whoever was called by a level, unless the final update told them; and all that know the run as an alert, for only a
    /// word of its own closes that.
    fn called(&self) -> Vec<String> {
        let told = &self.state.told;
        let updated = self.plan.updates.as_ref().map(|u| u.channels.as_slice()).unwrap_or_default();
        let called = |name: &String| told.raised.values().flatten().any(|called| called == name);
        let wanted = |name: &&String| self.keeps_alerts(name) || called(name) && !updated.contains(name);
        told.channels.iter().filter(wanted).cloned().collect()
    }

    fn send(&mut self, cause: Cause, channels: Vec<String>, to: Vec<String>, text: Option<String>) -> bool {
        let number = self.state.told.last.saturating_add(1);
        let out = Outgoing { number, cause, channels, to, text };
        let Outgoing { cause, channels, to, text, .. } = out.clone();
        let written = self.emit(Event::Notice { number, cause, channels, to, text });
        if written {
            self.out.acts.push(Act::Notify(Box::new(out)));
        }
        written
    }

    /// Records what became of a notice. One that nobody waits for is passed over.
    pub(super) fn told(&mut self, number: u32, channel: String, delivery: Delivery) {
        if !self.state.told.open.contains(&(number, channel.clone())) {
            return;
        }
        let Delivery { delivered, unsure, attempts, why, .. } = delivery;
        if !delivered && planted::is(Bug::SilentFailure) {
            return;
        }
        self.emit(Event::NoticeEnded { number, channel, delivered, attempts, unsure, why });
    }

    /// Nobody knows whether they were sent, and nobody is told twice.
    pub(super) fn give_up_notices(&mut self) {
        for (number, channel) in self.state.told.open.clone() {
            let why = Some("the process that sent it is gone".to_owned());
            self.emit(Event::NoticeEnded {
                number,
                channel,
                delivered: false,
                attempts: 0,
                unsure: true,
                why,
            });
        }
    }

    /// Somebody has it in hand: nothing is escalated any more.
    fn is_acknowledged(&self) -> bool {
        !self.state.acknowledged.is_empty() && !planted::is(Bug::EscalateInHand)
    }

    /// How long the incident had lasted when the run started.
    fn before_start(&self) -> Millis {
        let since = self.state.start.as_ref().map_or(self.state.started_at, |start| start.incident_since);
        self.state.started_at.since(since)
    }

    /// The moment of the run at which the incident is that old.
    fn of_age(&self, age: Millis) -> Millis {
        age.saturating_sub(self.before_start())
    }
}
