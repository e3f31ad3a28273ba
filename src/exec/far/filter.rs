//! Takes what is said in band out of what a command elsewhere writes.

/// What comes before `ready` (a banner, what a login shell says) is not the command's. So much of it is kept, for the case
/// that nothing follows.
const NOISE: usize = 4096;
/// No line in band is longer, but for what is counted.
const LONGEST: usize = 4096;

/// Something said in band: a word and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) struct Frame {
    pub word: String,
    pub rest: String,
}

pub(in crate::exec) struct Filter {
    ready: Vec<u8>,
    mark: Vec<u8>,
    /// `ready` was seen: what comes now is the command's.
    pub is_ready: bool,
    held: Vec<u8>,
    /// Bytes of `kv` that are still to come.
    counted: usize,
    pub kv: Vec<u8>,
    pub frames: Vec<Frame>,
}

impl Filter {
    pub fn new(token: &str, mark: &str) -> Self {
        Self {
            ready: format!("{token} ready\n").into_bytes(),
            mark: format!("{mark} ").into_bytes(),
            is_ready: false,
            held: Vec::new(),
            counted: 0,
            kv: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// The command's own bytes go to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(bytes);
        if !self.is_ready {
            match find(&self.held, &self.ready) {
                Some(at) => {
                    self.held.drain(..at + self.ready.len());
                    self.is_ready = true;
                }
                None => {
                    let most = NOISE + self.ready.len();
                    self.held.drain(..self.held.len().saturating_sub(most));
                    return;
                }
            }
        }
        while self.step(out) {}
    }

    /// True if more can be done with what is held.
    fn step(&mut self, out: &mut Vec<u8>) -> bool {
        if self.counted > 0 {
            let count = self.counted.min(self.held.len());
            self.kv.extend(self.held.drain(..count));
            self.counted -= count;
            return count > 0;
        }
        let Some(at) = find(&self.held, &self.mark) else {
            let keep = overlap(&self.held, &self.mark);
            out.extend(self.held.drain(..self.held.len() - keep));
            return false;
        };
        out.extend(self.held.drain(..at));
        let Some(end) = self.held.iter().position(|b| *b == b'\n') else {
            if self.held.len() > LONGEST {
                // Nobody of this program has written that.
                out.append(&mut self.held);
            }
            return false;
        };
        let line: Vec<u8> = self.held.drain(..=end).collect();
        let text = String::from_utf8_lossy(&line[self.mark.len()..line.len() - 1]).into_owned();
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        if word == "kv" {
            self.kv.clear();
            self.counted = rest.parse().unwrap_or(0);
        } else {
            self.frames.push(Frame { word: word.to_owned(), rest: rest.to_owned() });
        }
        true
    }

    /// Nothing follows any more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.is_ready && self.counted == 0 {
            out.append(&mut self.held);
        }
    }

    /// What was said before `ready`, if that never came.
    pub fn noise(&self) -> String {
        if self.is_ready { String::new() } else { String::from_utf8_lossy(&self.held).trim().to_owned() }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// The longest end of `text` that may be the beginning of `what`.
fn overlap(text: &[u8], what: &[u8]) -> usize {
    let most = text.len().min(what.len() - 1);
    (1..=most).rev().find(|n| text.ends_with(&what[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8], size: usize) -> (Vec<u8>, Vec<String>, Vec<u8>) {
        let mut filter = Filter::new("tok", "\u{1e}m");
        let mut out = Vec::new();
        bytes.chunks(size).for_each(|chunk| filter.push(chunk, &mut out));
        filter.finish(&mut out);
        let frames = filter.frames.iter().map(|f| format!("{}:{}", f.word, f.rest)).collect();
        (out, frames, filter.kv)
    }

    #[test]
    fn any_chunking_gives_the_same() {
        let text =
            b"Welcome!\ntok ready\nhello \x1ex\x1em\x1e no line\x1em kv 5\na=\x1em\n\x1em exit 3\nlate";
        for size in 1..text.len() {
            let (out, frames, kv) = run(text, size);
            assert_eq!(String::from_utf8_lossy(&out), "hello \u{1e}x\u{1e}m\u{1e} no linelate", "{size}");
            assert_eq!((frames, kv), (vec!["exit:3".to_owned()], b"a=\x1em\n".to_vec()), "{size}");
        }
    }

    #[test]
    fn what_is_said_before_it_is_ready_is_not_the_commands() {
        let mut filter = Filter::new("tok", "\u{1e}m");
        let mut out = Vec::new();
        filter.push(&vec![b'x'; 100_000], &mut out);
        filter.push(b"\nssh: connect to host web1 port 22: Connection refused\n", &mut out);
        filter.finish(&mut out);
        assert!(out.is_empty() && !filter.is_ready);
        assert!(filter.noise().ends_with("Connection refused") && filter.noise().len() < 5000);
    }

    #[test]
    fn a_long_line_without_an_end_is_passed_on() {
        let text = [b"tok ready\n\x1em ".to_vec(), vec![b'y'; 10_000]].concat();
        assert_eq!(run(&text, 1000).0.len(), 10_003);
    }
}
