//! Folding questions and answers into a step's state.

use crate::model::{Answer, Millis, OnTimeout, Person, Question, QuestionKind, Record, Reply};

use super::state::{Activity, Asking, Heard, StepState, StepStatus, UndoStatus};

impl StepState {
    pub(super) fn ask(&mut self, record: &Record, number: u32, question: &Question) -> Result<(), String> {
        if number != self.asked.saturating_add(1) {
            return Err(format!("question {number} follows question {}", self.asked));
        }
        if question.kind == QuestionKind::Undo && self.undo != UndoStatus::None {
            return Err("it is being taken back already".into());
        }
        self.asked = number;
        if question.kind != QuestionKind::Undo {
            self.begin(record.t);
        }
        match question.kind {
            QuestionKind::Approval | QuestionKind::Failure | QuestionKind::Undo => {}
            QuestionKind::Choice => self.attempts = question.attempt,
            QuestionKind::Manual => {
                self.attempts = question.attempt;
                // Whoever is asked to do it may begin at once.
                self.effect_at.get_or_insert(record.seq);
            }
        }
        let asking = Box::new(Asking {
            number,
            question: question.clone(),
            since: record.t,
            until: question.timeout.map(|timeout: Millis| record.t.saturating_add(timeout)),
            agreed: Vec::new(),
        });
        if question.kind == QuestionKind::Undo {
            self.undo = UndoStatus::Asking(asking);
        } else {
            self.status = StepStatus::Active(Activity::Asking(asking));
        }
        Ok(())
    }

    fn open_question(&mut self, number: u32) -> Result<&mut Asking, String> {
        match (&mut self.undo, &mut self.status) {
            (UndoStatus::Asking(asking), _) if asking.number == number => Ok(asking),
            (_, StepStatus::Active(Activity::Asking(asking))) if asking.number == number => Ok(asking),
            _ => Err(format!("question {number} is not open")),
        }
    }

    pub(super) fn hear(
        &mut self,
        record: &Record,
        number: u32,
        reply: &Reply,
        by: &Person,
    ) -> Result<(), String> {
        let asking = self.open_question(number)?;
        let kind = asking.question.kind;
        if reply.answer == Answer::Approve {
            asking.agreed.push(by.name.clone());
            if (asking.agreed.len() as u64) < u64::from(asking.question.count) {
                return Ok(());
            }
        }
        let said = reply.comment.as_deref().map(|c| format!(": {c}")).unwrap_or_default();
        let what = match &reply.answer {
            Answer::Skip => "skipped".to_owned(),
            Answer::Reject => "rejected".to_owned(),
            Answer::Abort => "stopped".to_owned(),
            Answer::RollBack => "rolled back".to_owned(),
            other => other.words(),
        };
        self.settle_question(record.t, kind, reply.answer.clone(), format!("{what} by {by}{said}"));
        if kind == QuestionKind::Failure {
            // A person has looked: what was in doubt is not any more.
            (self.dirty, self.lost) = (false, false);
            match reply.answer {
                Answer::Done => {
                    self.done_by_hand = true;
                    self.effect_at.get_or_insert(record.seq);
                }
                Answer::Retry => {
                    (self.attempts_before, self.approved) = (self.attempts, false);
                    self.done_by_hand = false;
                }
                Answer::RollBack => self.roll_back = true,
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn expire(&mut self, t: Millis, number: u32, then: OnTimeout) -> Result<(), String> {
        let asking = self.open_question(number)?;
        let kind = asking.question.kind;
        let within = asking.question.timeout.unwrap_or_default();
        let answer = match (then, kind) {
            (OnTimeout::Wait, _) => {
                asking.until = None;
                return Ok(());
            }
            (OnTimeout::Proceed, QuestionKind::Approval | QuestionKind::Undo) => Answer::Approve,
            (OnTimeout::Suggest, QuestionKind::Choice) if asking.question.suggestion.is_some() => {
                Answer::Choose { option: asking.question.suggestion.clone().unwrap_or_default() }
            }
            (_, QuestionKind::Manual) => Answer::NotDone,
            _ => Answer::Reject,
        };
        self.settle_question(t, kind, answer, format!("nobody answered within {within}"));
        Ok(())
    }

    /// A rollback takes back in an order of its own, and asks about each step in its turn.
    pub(super) fn forget_undo_question(&mut self) {
        if matches!(self.undo, UndoStatus::Asking(_) | UndoStatus::Heard(_)) {
            (self.undo, self.undo_approved) = (UndoStatus::None, false);
        }
    }

    fn settle_question(&mut self, t: Millis, kind: QuestionKind, answer: Answer, why: String) {
        let approved = answer == Answer::Approve;
        let heard = Heard { kind, answer, why };
        if kind == QuestionKind::Undo {
            self.undo_approved = approved;
            self.undo = UndoStatus::Heard(heard);
        } else {
            let since = self.asking().map_or(t, |asking| asking.since);
            self.waited = self.waited.saturating_add(t.saturating_sub(since));
            self.approved |= kind == QuestionKind::Approval && approved;
            self.status = StepStatus::Active(Activity::Heard(heard));
        }
    }
}
