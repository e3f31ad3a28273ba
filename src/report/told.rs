//! Who was told what, when, and what became of it: the fold behind the lines of status, brief and closing block, and the
//! section of the report.

use serde::Serialize;

use super::look::Tone;
use super::{neutral, notice, words};
use crate::model::{Event, Millis, Record, Timestamp};

/// Of the deliveries that did not go well, those that a line or two name; the report has all.
const MAX_PROBLEMS: usize = 20;

/// All notices of a run, in their order. All texts are neutral.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Ledger(pub Vec<NoticeRow>);

#[derive(Debug, Clone, Serialize)]
pub struct NoticeRow {
    pub number: u32,
    pub t: Millis,
    pub at: Timestamp,
    /// `level 2`, `update #3`, `final update #4`, `step tell`, `called off`, `in hand`.
    pub what: String,
    /// Why, or what is said.
    pub about: String,
    /// Whom it is for, in the playbook's words.
    pub to: Vec<String>,
    /// One for each channel. Empty: nobody is told, as in a drill.
    pub deliveries: Vec<DeliveryRow>,
}

#[derive(Debug, Clone, Serialize)]
pub struct DeliveryRow {
    pub channel: String,
    pub state: DeliveryState,
    /// Tries, the first one counted; 0 if nobody knows, or if there was none.
    pub attempts: u32,
    /// When that was known.
    pub ended_t: Option<Millis>,
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Nothing is recorded of its end.
    Outstanding,
    Delivered,
    /// It surely did not arrive.
    Failed,
    /// It may have arrived.
    Unknown,
}

impl DeliveryState {
    pub fn word(self) -> &'static str {
        match self {
            Self::Outstanding => "outstanding",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Unknown => "not known",
        }
    }

    pub fn tone(self) -> Tone {
        match self {
            Self::Delivered => Tone::Good,
            Self::Outstanding => Tone::Plain,
            Self::Failed => Tone::Bad,
            Self::Unknown => Tone::Warn,
        }
    }
}

impl DeliveryRow {
    /// `failed at try 3: example.org refuses the connection`.
    pub fn text(&self) -> String {
        let tries = if self.attempts > 1 { format!(" at try {}", self.attempts) } else { String::new() };
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{tries}{why}", self.state.word())
    }
}

/// How many deliveries came to what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub notices: usize,
    pub deliveries: usize,
    pub delivered: usize,
    /// Of those, at a later try.
    pub retried: usize,
    pub failed: usize,
    pub unknown: usize,
    pub outstanding: usize,
    /// The last that did not arrive, or of which nobody knows: `update #2 by pager: ...`.
    pub problems: Vec<String>,
}

impl Ledger {
    pub(super) fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::Notice { number, cause, channels, to, text } => {
                let (what, about) = notice::what(cause, text.as_deref());
                let delivery = |channel: &String| DeliveryRow {
                    channel: neutral::line(channel),
                    state: DeliveryState::Outstanding,
                    attempts: 0,
                    ended_t: None,
                    why: None,
                };
                self.0.push(NoticeRow {
                    number: *number,
                    t: record.t,
                    at: record.at,
                    what: neutral::line(what),
                    about: neutral::line(about),
                    to: to.iter().map(neutral::line).collect(),
                    deliveries: channels.iter().map(delivery).collect(),
                });
            }
            Event::NoticeEnded { number, channel, delivered, attempts, unsure, why } => {
                let channel = neutral::line(channel);
                let row = self.0.iter_mut().rev().find(|row| row.number == *number);
                let rows = row.into_iter().flat_map(|row| &mut row.deliveries);
                for row in rows.filter(|row| row.channel == channel) {
                    row.state = match (delivered, unsure) {
                        (true, _) => DeliveryState::Delivered,
                        (false, true) => DeliveryState::Unknown,
                        (false, false) => DeliveryState::Failed,
                    };
                    (row.attempts, row.ended_t) = (*attempts, Some(record.t));
                    row.why = why.as_ref().map(neutral::line);
                }
            }
            _ => {}
        }
    }

    /// Nobody waits for what is outstanding any more: no process drives the run.
    pub(super) fn abandoned(mut self) -> Self {
        for row in self.0.iter_mut().flat_map(|row| &mut row.deliveries) {
            if row.state == DeliveryState::Outstanding {
                row.state = DeliveryState::Unknown;
                row.why = Some("the process that sent it is gone".to_owned());
            }
        }
        self
    }

    pub fn tally(&self) -> Tally {
        let mut tally = Tally { notices: self.0.len(), ..Tally::default() };
        for (row, delivery) in self.0.iter().flat_map(|row| row.deliveries.iter().map(move |d| (row, d))) {
            tally.deliveries += 1;
            match delivery.state {
                DeliveryState::Outstanding => tally.outstanding += 1,
                DeliveryState::Delivered => {
                    tally.delivered += 1;
                    tally.retried += usize::from(delivery.attempts > 1);
                    continue;
                }
                DeliveryState::Failed => tally.failed += 1,
                DeliveryState::Unknown => tally.unknown += 1,
            }
            if delivery.state != DeliveryState::Outstanding {
                tally.problems.push(format!("{} by {} {}", row.what, delivery.channel, delivery.text()));
            }
        }
        tally.problems.drain(..tally.problems.len().saturating_sub(MAX_PROBLEMS));
        tally
    }
}

impl Tally {
    /// `5 of 7 notices delivered (1 at a later try), 1 failed, 1 outstanding`; nothing if there was nothing to deliver.
    pub fn text(&self) -> Option<String> {
        let later = match self.retried {
            0 => String::new(),
            retried => format!(" ({retried} at a later try)"),
        };
        let all = words::count(self.deliveries, "notice");
        (self.deliveries > 0)
            .then(|| format!("{} of {all} delivered{later}{}", self.delivered, self.others()))
    }

    /// The same for a line that has more to say.
    pub(super) fn short(&self) -> String {
        format!("{} of {} delivered{}", self.delivered, self.deliveries, self.others())
    }

    fn others(&self) -> String {
        let of = [
            (self.failed, DeliveryState::Failed),
            (self.unknown, DeliveryState::Unknown),
            (self.outstanding, DeliveryState::Outstanding),
        ];
        let parts = of.iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, state)| format!(", {count} {}", state.word())).collect()
    }

    pub(super) fn tone(&self) -> Tone {
        match (self.failed, self.unknown) {
            (0, 0) => Tone::Plain,
            (0, _) => Tone::Warn,
            _ => Tone::Bad,
        }
    }
}
