//! What runner and keeper say to each other: frames on a Unix stream socket.
//!
//! A frame is a length (u32, little endian), a tag and a body. Bodies are JSON, but for output, which is raw.
//! Secrets travel here and nowhere else: never in an argument list, never in a file.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Stream;
use super::far::Far;
use crate::model::{Millis, TaskEnd, TaskId, Want};

const TAG_MESSAGE: u8 = b'm';
const TAG_OUTPUT: u8 = b'o';
/// Length and tag.
const HEADER: usize = 5;

/// Bytes that JSON carries as base64.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

/// The bytes may be a secret: only their number is shown.
impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToKeeper {
    /// The first message of a runner. Answered by [`FromKeeper::Joined`].
    Hello {
        secrets: Vec<Bytes>,
        output_cap: u64,
    },
    Start(Box<StartTask>),
    /// To be made ready for its start as far as nobody can see it, and perhaps never to start; it takes the place of the one
    /// before.
    Ready(Box<StartTask>),
    /// The task that was made ready is to start.
    Go {
        task: TaskId,
    },
    Stop {
        task: TaskId,
        force: bool,
    },
    /// All that has ended is recorded: what it left on other hosts can go, but for these.
    Clean {
        keep: Vec<TaskId>,
    },
    /// The runner is about to be stopped by its terminal: the commands rest, and their timeouts with them.
    Pause,
    Continue,
}

/// A process to start, with nothing left to resolve.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartTask {
    pub task: TaskId,
    pub commands: Vec<Vec<String>>,
    pub workdir: PathBuf,
    pub env: Vec<(String, Bytes)>,
    pub stdin: Option<Bytes>,
    pub timeout: Option<Millis>,
    pub grace: Millis,
    pub want: Want,
    pub sensitive: bool,
    /// The command leads to another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<Box<Far>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FromKeeper {
    /// A host that was asked says that the task still runs there. Its end follows.
    Runs {
        task: TaskId,
    },
    Joined {
        running: Vec<TaskId>,
    },
    Ended(Box<EndedTask>),
    /// Sent as a raw frame, never as JSON.
    #[serde(skip)]
    Output {
        task: TaskId,
        stream: Stream,
        bytes: Vec<u8>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedTask {
    pub task: TaskId,
    pub end: TaskEnd,
    /// Nothing of its output was written down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// How it ended is unknown only because the way to its host broke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub severed: bool,
    /// Why an output is in no file although something was written; stdout, stderr.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub not_kept: [Option<String>; 2],
    /// What a sensitive task wrote, if it was asked for; it exists nowhere else. Never in the notes.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub memory: [Option<Bytes>; 2],
}

impl EndedTask {
    pub fn new(task: TaskId, end: TaskEnd, sensitive: bool) -> Self {
        Self { task, end, sensitive, severed: false, not_kept: [None, None], memory: [None, None] }
    }
}

fn is_empty<T>(pair: &[Option<T>; 2]) -> bool {
    pair.iter().all(Option::is_none)
}

/// Appends a message as one frame.
pub(super) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    let at = begin_frame(TAG_MESSAGE, out);
    // Writing to memory cannot fail, and none of the types has a map key that is not a string.
    if serde_json::to_writer(&mut *out, message).is_err() {
        out.truncate(at);
        return;
    }
    end_frame(at, out);
}

/// Appends a piece of output as one frame.
pub(super) fn encode_output(task: &TaskId, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
    let at = begin_frame(TAG_OUTPUT, out);
    let name = task.to_string();
    out.push(match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    });
    out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(bytes);
    end_frame(at, out);
}

fn begin_frame(tag: u8, out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, tag]);
    at
}

fn end_frame(at: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - at - HEADER).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// A frame that nobody of this program can have written.
#[derive(Debug, thiserror::Error)]
#[error("the peer on the keeper's socket sent something that cannot be read: {0}")]
pub(super) struct BadFrame(String);

/// Collects bytes and hands out whole frames.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn next_frame(&mut self) -> Option<(u8, &[u8])> {
        let rest = &self.bytes[self.taken..];
        let header: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        let length = u32::from_le_bytes(header) as usize;
        let tag = *rest.get(4)?;
        if rest.len() < HEADER + length {
            return None;
        }
        let start = self.taken + HEADER;
        self.taken = start + length;
        Some((tag, &self.bytes[start..start + length]))
    }

    /// The next message of a runner.
    pub fn next_order(&mut self) -> Option<Result<ToKeeper, BadFrame>> {
        let (_, body) = self.next_frame()?;
        let order = serde_json::from_slice(body).map_err(|e| BadFrame(e.to_string()));
        self.shrink();
        Some(order)
    }

    /// The next message of a keeper.
    pub fn next_report(&mut self) -> Option<Result<FromKeeper, BadFrame>> {
        let (tag, body) = self.next_frame()?;
        let report = if tag == TAG_OUTPUT {
            decode_output(body).ok_or_else(|| BadFrame("a broken output frame".into()))
        } else {
            serde_json::from_slice(body).map_err(|e| BadFrame(e.to_string()))
        };
        self.shrink();
        Some(report)
    }

    /// Gives the memory of one large message back.
    fn shrink(&mut self) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
            self.bytes.shrink_to(64 << 10);
        }
    }
}

fn decode_output(body: &[u8]) -> Option<FromKeeper> {
    let stream = match body.first()? {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    let length = u32::from_le_bytes(body.get(1..5)?.try_into().ok()?) as usize;
    let name = std::str::from_utf8(body.get(5..5 + length)?).ok()?;
    let task = TaskId::parse(name).ok()?;
    Some(FromKeeper::Output { task, stream, bytes: body.get(5 + length..)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_split() {
        let task = TaskId::parse("restore.1").unwrap();
        let mut wire = Vec::new();
        encode(&ToKeeper::Stop { task: task.clone(), force: true }, &mut wire);
        encode(&ToKeeper::Hello { secrets: vec![Bytes(vec![0, 255])], output_cap: 7 }, &mut wire);
        for size in 1..wire.len() {
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for chunk in wire.chunks(size) {
                inbox.push(chunk);
                while let Some(order) = inbox.next_order() {
                    seen.push(format!("{:?}", order.unwrap()));
                }
            }
            assert_eq!(
                seen,
                ["Stop { task: restore.1, force: true }", "Hello { secrets: [Bytes(2)], output_cap: 7 }"]
            );
        }
    }

    #[test]
    fn output_is_carried_byte_for_byte() {
        let task = TaskId::parse("a/b.2.verify0.3").unwrap();
        let mut wire = Vec::new();
        encode_output(&task, Stream::Stderr, b"\xff\0\n", &mut wire);
        let mut inbox = Inbox::default();
        inbox.push(&wire);
        match inbox.next_report() {
            Some(Ok(FromKeeper::Output { task: t, stream, bytes })) => {
                assert_eq!((t, stream, bytes), (task, Stream::Stderr, b"\xff\0\n".to_vec()));
            }
            other => panic!("{other:?}"),
        }
    }
}
