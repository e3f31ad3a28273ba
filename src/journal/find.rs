//! Which run a person means.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::model::{RunId, nearest};

/// How many runs a message names at most.
const NAMED: usize = 5;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    One(RunId),
    Many { count: usize, matches: Vec<RunId> },
    None { similar: Vec<RunId>, newest: Vec<RunId> },
    NoRuns,
}

/// Whether `text` has only characters of run ids, so that it can neither be a path nor harm a message.
pub(super) fn could_be_a_run(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-TZ".contains(&b);
    !text.is_empty() && text.len() <= 100 && text.bytes().all(allowed)
}

/// Chooses among `runs`, which are newest first.
pub(super) fn choose(text: &str, runs: &[RunId]) -> Found {
    let Some(newest) = runs.first() else { return Found::NoRuns };
    if text == "last" {
        return Found::One(newest.clone());
    }
    let exact = runs.iter().find(|run| run.as_str() == text);
    if let Some(run) = exact.or_else(|| runs.iter().find(|run| parts(run).0 == text)) {
        return Found::One(run.clone());
    }
    let starts: Vec<&RunId> = runs.iter().filter(|run| run.as_str().starts_with(text)).collect();
    match starts[..] {
        [one] => Found::One(one.clone()),
        [] => Found::None { similar: similar(text, runs), newest: first(runs.iter()) },
        _ => Found::Many { count: starts.len(), matches: first(starts.iter().copied()) },
    }
}

fn first<'a>(runs: impl Iterator<Item = &'a RunId>) -> Vec<RunId> {
    runs.take(NAMED).cloned().collect()
}

/// The newest run of each playbook whose name is like `text`, and runs whose whole id is.
fn similar(text: &str, runs: &[RunId]) -> Vec<RunId> {
    let mut seen = BTreeSet::new();
    let near = |name: &str| nearest(text, [name]).is_some();
    let playbook = |run: &&RunId| near(parts(run).0) && seen.insert(parts(run).0.to_owned());
    let by_name: Vec<RunId> = first(runs.iter().filter(playbook));
    if by_name.is_empty() { first(runs.iter().filter(|run| near(run.as_str()))) } else { by_name }
}

/// By the start time in the id; within the same second by when the folder was made.
pub(super) fn sort_newest_first(runs: &mut [RunId], created: impl Fn(&RunId) -> Option<SystemTime>) {
    runs.sort_by(|a, b| parts(b).1.cmp(parts(a).1));
    // Only those of one second are asked for more: there may be many runs.
    let same_second = runs.chunk_by_mut(|a, b| parts(a).1 == parts(b).1);
    for several in same_second.filter(|runs| runs.len() > 1) {
        several.sort_by_cached_key(|run| Reverse((created(run), run.clone())));
    }
}

/// The playbook's name and the start time in a run's id.
fn parts(run: &RunId) -> (&str, &str) {
    let mut parts = run.as_str().rsplitn(3, '-').skip(1);
    let stamp = parts.next().unwrap_or_default();
    (parts.next().unwrap_or_default(), stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> RunId {
        RunId::parse(text).unwrap()
    }

    /// Newest first.
    fn runs() -> Vec<RunId> {
        let mut runs = vec![
            run("db-20260101T000000Z-aaaa"),
            run("db-corruption-20260102T000000Z-bbbb"),
            run("db-20260103T000000Z-cccc"),
            run("last-resort-20251231T000000Z-dddd"),
        ];
        sort_newest_first(&mut runs, |_| None);
        runs
    }

    #[test]
    fn newest_first_also_within_a_second() {
        let mut runs = vec![run("a-20260101T000000Z-aaaa"), run("b-20260101T000000Z-bbbb")];
        let made_later = |r: &RunId| (r.as_str().starts_with("a-")).then_some(SystemTime::UNIX_EPOCH);
        sort_newest_first(&mut runs, made_later);
        assert_eq!(runs[0].as_str(), "a-20260101T000000Z-aaaa");
        sort_newest_first(&mut runs, |_| None);
        assert_eq!(runs[0].as_str(), "b-20260101T000000Z-bbbb");
    }

    #[test]
    fn what_a_person_may_type() {
        let one = |text: &str| match choose(text, &runs()) {
            Found::One(run) => run.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(one("last"), "db-20260103T000000Z-cccc");
        assert_eq!(one("db"), "db-20260103T000000Z-cccc");
        assert_eq!(one("db-20260101T000000Z-aaaa"), "db-20260101T000000Z-aaaa");
        assert_eq!(one("db-20260101"), "db-20260101T000000Z-aaaa");
        assert_eq!(one("db-c"), "db-corruption-20260102T000000Z-bbbb");
        assert_eq!(choose("last", &[]), Found::NoRuns);
    }

    #[test]
    fn an_ambiguous_start_names_the_newest() {
        let Found::Many { count, matches } = choose("db-2026", &runs()) else { panic!() };
        assert_eq!((count, matches[0].as_str()), (2, "db-20260103T000000Z-cccc"));
    }

    #[test]
    fn a_typing_mistake_gets_a_suggestion() {
        let Found::None { similar, .. } = choose("db-coruption", &runs()) else { panic!() };
        assert_eq!(similar, [run("db-corruption-20260102T000000Z-bbbb")]);
        let Found::None { similar, newest } = choose("network", &runs()) else { panic!() };
        assert_eq!((similar, newest.len()), (vec![], 4));
    }

    #[test]
    fn paths_are_no_runs() {
        for bad in ["../x", "/etc", "", "a b", "a\n", "a_b", &"x".repeat(101)] {
            assert!(!could_be_a_run(bad), "{bad:?}");
        }
        assert!(could_be_a_run("db-20260101T000000Z-aaaa"));
    }
}
