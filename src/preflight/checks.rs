//! All checks at once, each within its limit; what they found comes in the order in which they were asked for.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Finding, Verdict};
use crate::model::Host;

/// For a check that keeps the limit by itself, to end what it has started.
const GRACE: Duration = Duration::from_secs(1);

type Work = Box<dyn FnOnce() -> Vec<Finding> + Send>;

/// Checks that are to be made.
pub struct Checks {
    limit: Duration,
    /// A host may take as long as a step that runs there gives it.
    hosts_by_themselves: bool,
    jobs: Vec<Job>,
}

struct Job {
    /// None: what is found is known already.
    work: Option<Work>,
    about: Finding,
    limit: Duration,
}

impl Checks {
    pub fn new(limit: Duration) -> Self {
        Self { limit, hosts_by_themselves: false, jobs: Vec::new() }
    }

    /// The same before the first step: what a host may take is said by the playbook.
    pub(super) fn before_a_run(limit: Duration) -> Self {
        Self { hosts_by_themselves: true, ..Self::new(limit) }
    }

    /// What one check may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What a check of this host may take.
    pub(super) fn limit_of(&self, host: &Host) -> Duration {
        if self.hosts_by_themselves { host.patience().std() } else { self.limit }
    }

    /// What needs no looking.
    pub(super) fn add_found(&mut self, finding: Finding) {
        self.jobs.push(Job { work: None, about: finding, limit: self.limit });
    }

    /// `about`: what the check is, for when it does not come to an end.
    pub(super) fn add(&mut self, about: Finding, work: impl FnOnce(Finding) -> Finding + Send + 'static) {
        self.add_within(self.limit, about, work);
    }

    pub(super) fn add_within(
        &mut self,
        limit: Duration,
        about: Finding,
        work: impl FnOnce(Finding) -> Finding + Send + 'static,
    ) {
        let own = about.clone();
        self.jobs.push(Job { work: Some(Box::new(move || vec![work(own)])), about, limit });
    }

    pub(super) fn add_all(&mut self, about: Finding, work: impl FnOnce() -> Vec<Finding> + Send + 'static) {
        self.jobs.push(Job { work: Some(Box::new(work)), about, limit: self.limit });
    }

    /// Makes them. By kind, and within a kind in the order in which they were added.
    pub fn run(self) -> Vec<Finding> {
        let late = |about: Finding, limit: Duration| {
            let (why, mend) = (
                format!("no answer within {} s", limit.as_secs_f32()),
                "see what is slow there; --timeout gives it more time",
            );
            match about.verdict {
                Verdict::Warn => about.warn(why, mend),
                _ => about.missing(why, mend),
            }
        };
        let (mut works, mut waiting) = (Vec::new(), Vec::new());
        let mut findings: Vec<Vec<Finding>> = Vec::new();
        for (ix, Job { work, about, limit }) in self.jobs.into_iter().enumerate() {
            match work {
                None => findings.push(vec![about]),
                Some(work) => {
                    findings.push(Vec::new());
                    works.push((limit + GRACE, work));
                    waiting.push((ix, about, limit));
                }
            }
        }
        for (found, (ix, about, limit)) in each_within(works).into_iter().zip(waiting) {
            findings[ix] = found.unwrap_or_else(|| vec![late(about, limit)]);
        }
        let mut findings: Vec<Finding> = findings.into_iter().flatten().collect();
        findings.sort_by_key(|finding| finding.kind);
        findings
    }
}

/// All within the same limit: see [`each_within`].
pub(super) fn at_once<T: Send + 'static>(
    works: Vec<Box<dyn FnOnce() -> T + Send>>,
    limit: Duration,
) -> Vec<Option<T>> {
    each_within(works.into_iter().map(|work| (limit, work)).collect())
}

/// Each in a thread of its own, and with a limit of its own. `None` for one that did not end in time: its thread is left to itself, for nothing can
/// end a call that hangs in the kernel, as one on a dead network file system does.
fn each_within<T: Send + 'static>(works: Vec<(Duration, Box<dyn FnOnce() -> T + Send>)>) -> Vec<Option<T>> {
    let began = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Option<T>> = Vec::new();
    let mut limits: Vec<Option<Duration>> = Vec::new();
    for (ix, (limit, work)) in works.into_iter().enumerate() {
        results.push(None);
        limits.push(Some(limit));
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
    // Until the last of those that are still at it has had its time.
    while let Some(most) = limits.iter().flatten().max() {
        let Ok((ix, result)) = receiver.recv_timeout(most.saturating_sub(began.elapsed())) else { break };
        (results[ix], limits[ix]) = (Some(result), None);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Kind;

    #[test]
    fn one_that_hangs_keeps_no_other_from_its_answer() {
        let mut checks = Checks::new(Duration::from_millis(200));
        let about = |name: &str| Finding::new(Kind::File, name, "");
        checks.add(about("hangs"), |about| {
            std::thread::sleep(Duration::from_secs(3600));
            about.ok("too late")
        });
        checks.add(about("hangs, and nobody needs it").advisory(), |about| {
            std::thread::sleep(Duration::from_secs(3600));
            about.ok("too late")
        });
        checks.add_found(about("known").ok("before"));
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
                ("hangs, and nobody needs it", Verdict::Warn),
                ("known", Verdict::Ok),
                ("answers", Verdict::Ok),
                ("breaks", Verdict::Missing)
            ]
        );
        assert_eq!(found[1].found, "no answer within 0.2 s");
    }

    #[test]
    fn one_that_may_take_long_does_not_hold_those_up_that_may_not() {
        let never = || std::thread::sleep(Duration::from_secs(3600));
        let began = Instant::now();
        let found = each_within(vec![
            (Duration::from_secs(3000), Box::new(|| ()) as Box<dyn FnOnce() + Send>),
            (Duration::from_millis(100), Box::new(never)),
        ]);
        assert_eq!(found, [Some(()), None]);
        assert!(began.elapsed() < Duration::from_secs(1000));
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
