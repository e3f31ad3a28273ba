//! The one loop of tries, the same for all channels.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::clean::clean;
use super::command::Call;
use super::email::Mail;
use super::http::{Client, Post};
use super::{Keys, pagerduty, pause, slack, webhook};
use crate::model::{Channel, ChannelKind, Delivery, Millis, Notice, format_millis};
use crate::planted::{self, Bug};
use crate::text::neutral;

/// How one try went.
pub enum Tried {
    /// Acknowledged.
    Delivered { answered: Option<String> },
    /// Trying again may help. `wait`: the other side has said when. `unsure`: it may have arrived.
    Later { why: String, answered: Option<String>, unsure: bool, wait: Option<Duration> },
    /// Trying again will not help.
    Never { why: String, answered: Option<String> },
}

impl Tried {
    pub fn later(why: impl Into<String>) -> Self {
        Self::Later { why: why.into(), answered: None, unsure: false, wait: None }
    }

    pub fn never(why: impl Into<String>) -> Self {
        Self::Never { why: why.into(), answered: None }
    }
}

/// A notice in a channel's form, ready to be tried. What one try has achieved stays for the next.
enum Way {
    Http(Box<Post>),
    Email(Box<Mail>),
    Command(Box<Call>),
}

impl Way {
    async fn attempt(&mut self, client: &Client) -> Tried {
        match self {
            Self::Http(post) => post.attempt(client).await,
            Self::Email(mail) => mail.attempt().await,
            Self::Command(call) => call.attempt().await,
        }
    }

    /// Whether a try that was broken off now may have arrived.
    fn unsure(&self) -> bool {
        match self {
            Self::Http(_) | Self::Command(_) => true,
            Self::Email(mail) => mail.unsure(),
        }
    }
}

/// How far a notice has come, for whoever cannot wait any longer.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Tries>);

#[derive(Debug, Default)]
struct Tries {
    begun: u32,
    /// One is under way.
    trying: bool,
    /// One before may have arrived.
    unsure: bool,
    /// How the last one ended.
    why: Option<String>,
}

impl Progress {
    /// A panic elsewhere cannot have left it half changed.
    fn change(&self, change: impl FnOnce(&mut Tries)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is to be said of the notice if nobody waits for it any more. The text is as safe as that of a delivery.
    pub fn left(&self) -> Delivery {
        let tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let why = match &tries.why {
            _ if tries.begun == 0 => "its turn had not come".to_owned(),
            _ if tries.trying => "there was no answer yet".to_owned(),
            Some(why) => format!("{why}; it was not tried again"),
            None => "it was not tried again".to_owned(),
        };
        Delivery {
            delivered: false,
            unsure: (tries.trying || tries.unsure) && !planted::is(Bug::SureOfTheLast),
            attempts: tries.begun,
            why: Some(why),
            answered: None,
            duration: Millis::ZERO,
        }
    }
}

/// A channel, with what is worth keeping between two notices.
pub struct Line {
    channel: Channel,
    client: Client,
}

impl Line {
    pub fn new(channel: Channel) -> Self {
        let client = Client::new(channel.ca_file.clone(), channel.timeout.std());
        Self { channel, client }
    }

    pub async fn send(&self, notice: &Notice, keys: &Keys, progress: &Progress) -> Delivery {
        let began = Instant::now();
        let notice = clean(notice, keys.redactor());
        let mut delivery = match self.way(&notice, keys) {
            Ok(way) => self.tries(way, began, keys, progress).await,
            Err(why) => Delivery {
                delivered: false,
                unsure: false,
                attempts: 0,
                why: Some(why),
                answered: None,
                duration: Millis::ZERO,
            },
        };
        delivery.duration = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        delivery.why = delivery.why.map(|text| safe(&text, keys));
        delivery.answered = delivery.answered.map(|text| safe(&text, keys));
        delivery
    }

    /// `notice` is clean. An error never holds a secret.
    fn way(&self, notice: &Notice, keys: &Keys) -> Result<Way, String> {
        let post = |post| Way::Http(Box::new(post));
        Ok(match &self.channel.kind {
            ChannelKind::Slack(channel) => post(slack::post(channel, notice, keys)?),
            ChannelKind::Pagerduty(channel) => post(pagerduty::post(channel, notice, keys)?),
            ChannelKind::Webhook(channel) => post(webhook::post(channel, notice, keys)?),
            ChannelKind::Email(channel) => {
                Way::Email(Box::new(Mail::new(channel, self.channel.ca_file.as_deref(), notice, keys)?))
            }
            ChannelKind::Command(channel) => Way::Command(Box::new(Call::new(channel, notice, keys)?)),
        })
    }

    async fn tries(&self, mut way: Way, began: Instant, keys: &Keys, progress: &Progress) -> Delivery {
        let limit = self.channel.timeout;
        let over = began + self.channel.retry_for.std();
        let mut attempts = 0;
        let mut unsure = false;
        loop {
            attempts += 1;
            progress.change(|tries| (tries.begun, tries.trying) = (attempts, true));
            let tried = match tokio::time::timeout(limit.std(), way.attempt(&self.client)).await {
                Ok(tried) => tried,
                Err(_) => Tried::Later {
                    why: format!("there was no answer within {}", format_millis(limit)),
                    answered: None,
                    unsure: way.unsure(),
                    wait: None,
                },
            };
            let done = |delivered, unsure, why, answered| Delivery {
                delivered,
                unsure,
                attempts,
                why,
                answered,
                duration: Millis::ZERO,
            };
            let (why, answered, wait) = match tried {
                Tried::Delivered { answered } => return done(true, false, None, answered),
                Tried::Never { why, answered } => return done(false, unsure, Some(why), answered),
                Tried::Later { why, answered, unsure: perhaps, wait } => {
                    unsure |= perhaps;
                    (why, answered, wait)
                }
            };
            let mut random = [0];
            // Without randomness the pauses are merely even.
            let _ = getrandom::fill(&mut random);
            let asked = wait.is_some();
            let wait = wait.unwrap_or(Duration::ZERO).max(pause::backoff(attempts, random[0]));
            if Instant::now() + wait >= over {
                let wait = Millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                let why = if asked {
                    format!("{why}; it asks to wait {}, longer than `retry_for` allows", format_millis(wait))
                } else {
                    why
                };
                return done(false, unsure, Some(why), answered);
            }
            progress.change(|tries| {
                (tries.trying, tries.unsure, tries.why) = (false, unsure, Some(safe(&why, keys)));
            });
            tokio::time::sleep(wait).await;
        }
    }
}

fn safe(text: &str, keys: &Keys) -> String {
    neutral::line(keys.redactor().redact_text(text))
}
