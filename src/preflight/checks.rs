//! All checks at once, each within the same limit; what they found comes in the order in which they were asked for.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Finding;

/// For a check that keeps the limit by itself, to end what it has started.
const GRACE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() -> Vec<Finding> + Send>;

/// Checks that are to be made.
pub struct Checks {
    limit: Duration,
    jobs: Vec<(Work, Finding)>,
}

impl Checks {
    pub fn new(limit: Duration) -> Self {
        Self { limit, jobs: Vec::new() }
    }

    /// What one check may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What needs no looking.
    pub(super) fn add_found(&mut self, finding: Finding) {
        let same = finding.clone();
        self.jobs.push((Box::new(move || vec![same]), finding));
    }

    /// `about`: what the check is, for when it does not come to an end.
    pub(super) fn add(&mut self, about: Finding, work: impl FnOnce(Finding) -> Finding + Send + 'static) {
        let own = about.clone();
        self.add_all(about, move || vec![work(own)]);
    }

    pub(super) fn add_all(&mut self, about: Finding, work: impl FnOnce() -> Vec<Finding> + Send + 'static) {
        self.jobs.push((Box::new(work), about));
    }

    /// Makes them. By kind, and within a kind in the order in which they were added.
    pub fn run(self) -> Vec<Finding> {
        let Self { limit, jobs } = self;
        let seconds = limit.as_secs_f32();
        let (works, abouts): (Vec<Work>, Vec<Finding>) = jobs.into_iter().unzip();
        let late = |about: Finding| {
            let why = format!("no answer within {seconds} s");
            vec![about.missing(why, "see what is slow there, or give it more time with --timeout")]
        };
        let found = at_once(works, limit + GRACE);
        let mut findings: Vec<Finding> = found
            .into_iter()
            .zip(abouts)
            .flat_map(|(found, about)| found.unwrap_or_else(|| late(about)))
            .collect();
        findings.sort_by_key(|finding| finding.kind);
        findings
    }
}

/// Each in a thread of its own. `None` for one that did not end in time: its thread is left to itself, for nothing can
/// end a call that hangs in the kernel, as one on a dead network file system does.
pub(super) fn at_once<T: Send + 'static>(
    works: Vec<Box<dyn FnOnce() -> T + Send>>,
    limit: Duration,
) -> Vec<Option<T>> {
    let until = Instant::now() + limit;
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Option<T>> = Vec::new();
    for (ix, work) in works.into_iter().enumerate() {
        results.push(None);
        let sender = sender.clone();
        let job = move || {
            // Nobody listens any more when it comes too late.
            let _ = sender.send((ix, work()));
        };
        let started = std::thread::Builder::new().name("check".into()).stack_size(1 << 20).spawn(job);
        if let Err(error) = started {
            tracing::warn!("a check could not be started: {error}");
        }
    }
    drop(sender);
    while let Ok((ix, result)) = receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
        results[ix] = Some(result);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::{Kind, Verdict};

    #[test]
    fn one_that_hangs_keeps_no_other_from_its_answer() {
        let mut checks = Checks::new(Duration::from_millis(200));
        let about = |name: &str| Finding::new(Kind::File, name, "");
        checks.add(about("hangs"), |about| {
            std::thread::sleep(Duration::from_secs(3600));
            about.ok("too late")
        });
        checks.add(about("answers"), |about| about.ok("here"));
        checks.add(about("breaks"), |_| panic!("a fault of the check"));
        checks.add(Finding::new(Kind::Command, "first", ""), |about| about.ok("by its kind"));
        let found = checks.run();
        let names: Vec<(&str, Verdict)> = found.iter().map(|f| (f.name.as_str(), f.verdict)).collect();
        assert_eq!(
            names,
            [
                ("first", Verdict::Ok),
                ("hangs", Verdict::Missing),
                ("answers", Verdict::Ok),
                ("breaks", Verdict::Missing)
            ]
        );
        assert_eq!(found[1].found, "no answer within 0.2 s");
    }

    #[test]
    fn the_order_is_that_of_the_questions_whatever_comes_first() {
        let works: Vec<Box<dyn FnOnce() -> usize + Send>> = (0..40_usize)
            .map(|n| {
                let work = move || {
                    std::thread::sleep(Duration::from_millis((40 - n as u64) % 7));
                    n
                };
                Box::new(work) as _
            })
            .collect();
        let found: Vec<usize> = at_once(works, Duration::from_secs(60)).into_iter().flatten().collect();
        assert_eq!(found, (0..40).collect::<Vec<_>>());
    }
}
