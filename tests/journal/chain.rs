//! Every change to a journal is found, or is one that is known not to be findable.

use proptest::prelude::*;
use runbook::journal::{
    Ending, Integrity, Journal, JournalError, PlanCheck, Tail, Torn, Truncation, Verification, read, verify,
};
use runbook::model::{Event, Millis, Record, ReplanInfo, RunOutcome};
use sha2::{Digest, Sha256};

use crate::common::{Place, record, run_id, small_run, started};

fn checked(place: &Place, head: Option<&str>) -> Verification {
    verify(&place.run, head)
}

/// Lines with their newlines.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn what_was_appended_is_read() {
    let place = Place::new();
    let records = small_run();
    let mut journal = Journal::create(&place.run).unwrap();
    assert_eq!(journal.head(), "0".repeat(64));
    journal.append(&records[..1]).unwrap();
    journal.append(&[]).unwrap();
    journal.append(&records[1..3]).unwrap();
    journal.append_outcomes(&records[3..]).unwrap();
    let (contents, torn) = read(&place.run).unwrap();
    assert_eq!(contents.records, records);
    assert_eq!(contents.head, journal.head());
    assert_eq!(contents.bytes, place.bytes().len() as u64);
    assert_eq!(torn, None);
}

#[test]
fn a_good_journal_is_good() {
    let place = Place::new();
    place.run.write_file("plan.json", b"{}").unwrap();
    let head = place.write(&small_run());
    let found = checked(&place, None);
    assert!(found.is_good());
    assert_eq!(found.integrity, Integrity::Intact);
    assert_eq!(found.completeness.started, Some(run_id()));
    assert_eq!(found.completeness.plan, PlanCheck::Matches);
    assert_eq!(found.completeness.ending, Ending::Ended(RunOutcome::Recovered));
    assert_eq!(found.truncation, Truncation::CannotBeKnown);
    assert_eq!((found.records, &found.head), (4, &head));
    assert_eq!(checked(&place, Some(&head)).truncation, Truncation::None);
    assert_eq!(checked(&place, Some(&head[..12])).truncation, Truncation::None);
    // A start too short to mean anything.
    assert_eq!(checked(&place, Some(&head[..4])).truncation, Truncation::HeadNotFound);
}

#[test]
fn another_plan_is_found() {
    let place = Place::new();
    place.write(&small_run());
    assert!(matches!(checked(&place, None).completeness.plan, PlanCheck::Unreadable(_)));
    place.run.write_file("plan.json", b"{ }").unwrap();
    let found = checked(&place, None);
    assert!(matches!(found.completeness.plan, PlanCheck::Differs { .. }));
    assert!(!found.is_good());
}

/// The first is hashed while the rest of a long journal is read.
#[test]
fn the_plans_of_a_long_journal_are_all_checked() {
    let place = Place::new();
    let again = ReplanInfo {
        file: "plan-2.json".into(),
        plan_hash: started().plan_hash,
        by: "ada".into(),
        added: Vec::new(),
        removed: Vec::new(),
        changed: Vec::new(),
        accepted: Vec::new(),
    };
    let mut records = vec![record(1, Event::RunStarted(Box::new(started())))];
    records.push(record(2, Event::Replanned(Box::new(again))));
    let said = |seq: u64| record(seq, Event::Gap { length: Millis(seq), why: "x".repeat(400) });
    records.extend((3..4000).map(said));
    place.write(&records);
    assert!(place.bytes().len() > 2 << 20);
    let plan = || checked(&place, None).completeness.plan;
    let unreadable = |name: &str| matches!(plan(), PlanCheck::Unreadable(why) if why.contains(name));
    let differs = |name: &str| matches!(plan(), PlanCheck::Differs { file, .. } if file == name);
    let write = |name: &str, text: &str| std::fs::write(place.run.path().join(name), text).unwrap();
    place.run.write_file("plan-2.json", b"{}").unwrap();
    assert!(unreadable("plan.json"));
    place.run.write_file("plan.json", b"{ }").unwrap();
    assert!(differs("plan.json"));
    write("plan.json", "{}");
    assert_eq!(plan(), PlanCheck::Matches);
    write("plan-2.json", "{ }");
    assert!(differs("plan-2.json"));
    std::fs::remove_file(place.run.path().join("plan-2.json")).unwrap();
    assert!(unreadable("plan-2.json"));
}

#[test]
fn a_journal_of_another_run_is_found() {
    let place = Place::new();
    place.write(&small_run());
    let other = runbook::model::RunId::parse("db-20261121T103755Z-zzzz").unwrap();
    let dir = place.state.create_run(&other).unwrap();
    dir.write_file("journal.jsonl", &place.bytes()).unwrap();
    dir.write_file("plan.json", b"{}").unwrap();
    let found = verify(&dir, None);
    assert_eq!(found.integrity, Integrity::Intact);
    assert!(!found.completeness.right_run && !found.is_good());
}

/// Every bit of every byte. Only the last newline is different: without it the line is not terminated.
#[test]
fn each_flipped_bit_is_found() {
    let place = Place::new();
    place.write(
        &small_run()[1..].iter().zip(1..).map(|(r, seq)| Record { seq, ..r.clone() }).collect::<Vec<_>>(),
    );
    let good = place.bytes();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            place.set(&bad);
            let result = read(&place.run);
            if at + 1 == good.len() {
                let (contents, torn) = result.unwrap();
                assert_eq!((contents.records.len(), torn.is_some()), (2, true));
                continue;
            }
            let error = result.expect_err("a flipped bit was not found");
            assert!(error.is_suspect(), "{error}");
            let line_start = good[..at].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1) as u64;
            let offset = match error {
                JournalError::Damaged { offset, .. } | JournalError::Newer { offset, .. } => offset,
                other => panic!("{other}"),
            };
            assert_eq!(offset, line_start, "byte {at}, bit {bit}");
        }
    }
}

/// A long journal is read by several threads, in several pieces. What they find is told as if one had read it alone.
#[test]
fn damage_far_in_a_long_journal_is_found_where_it_is() {
    let place = Place::new();
    let said = |seq: u64| record(seq, Event::Gap { length: Millis(seq), why: "x".repeat(400) });
    let records: Vec<Record> = (1..=9000).map(said).collect();
    let head = place.write(&records);
    let good = place.bytes();
    assert!(good.len() > 4 << 20);
    let (contents, torn) = read(&place.run).unwrap();
    assert!(contents.records == records && contents.head == head && torn.is_none());
    let starts: Vec<usize> = [0]
        .into_iter()
        .chain(good.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1))
        .collect();
    for line in [0, 1, 255, 256, 257, 1023, 1700, 4500, 8998, 8999] {
        let mut bad = good.clone();
        bad[starts[line] + 300] ^= 1;
        // A second one does not hide the first.
        bad[starts[8999] + 301] ^= 1;
        place.set(&bad);
        let found = checked(&place, None);
        let at = starts[line] as u64;
        assert_eq!((found.records, found.bytes), (line as u64, at));
        let broken = matches!(
            &found.integrity,
            Integrity::Broken(JournalError::Damaged { offset, line: found, .. })
                if *offset == at && *found == line as u64 + 1
        );
        assert!(broken, "line {line}: {:?}", found.integrity);
    }
    place.set(&good[..good.len() - 200]);
    let (contents, torn) = read(&place.run).unwrap();
    assert_eq!(contents.records.len(), 8999);
    assert_eq!(torn, Some((good.len() - 200 - starts[8999]) as u64));
    let mut endless = good.clone();
    endless.extend(std::iter::repeat_n(b'x', (16 << 20) + 1));
    place.set(&endless);
    let broken = matches!(
        checked(&place, None).integrity,
        Integrity::Broken(JournalError::Damaged { offset, why, .. })
            if offset == good.len() as u64 && why.contains("longer than")
    );
    assert!(broken);
}

#[test]
fn each_removed_swapped_or_repeated_line_is_found() {
    let place = Place::new();
    let head = place.write(&small_run());
    let good = lines(&place.bytes());
    let broken = |lines: &[Vec<u8>]| {
        place.set(&lines.concat());
        matches!(checked(&place, None).integrity, Integrity::Broken(JournalError::Damaged { .. }))
    };
    for i in 0..good.len() {
        let mut removed = good.clone();
        removed.remove(i);
        if i + 1 < good.len() {
            assert!(broken(&removed), "line {i} removed");
        }
        let mut repeated = good.clone();
        repeated.insert(i, good[i].clone());
        assert!(broken(&repeated), "line {i} repeated");
        for j in 0..i {
            let mut swapped = good.clone();
            swapped.swap(i, j);
            assert!(broken(&swapped), "lines {i} and {j} swapped");
        }
    }
    // The last line: the file alone cannot tell, the head can.
    place.set(&good[..3].concat());
    let found = checked(&place, None);
    assert_eq!((found.integrity, found.truncation), (Integrity::Intact, Truncation::CannotBeKnown));
    assert_eq!(checked(&place, Some(&head)).truncation, Truncation::HeadNotFound);
}

/// A line as somebody would forge it who knows how sums are made.
fn forge(body: &str) -> Vec<u8> {
    let body = body.strip_suffix('}').unwrap();
    let sum: String = Sha256::digest(body)[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("{body},\"sum\":\"{sum}\"}}\n").into_bytes()
}

#[test]
fn a_line_with_a_right_sum_in_a_wrong_place_is_found() {
    let one = Place::new();
    let two = Place::new();
    let mut records = small_run();
    one.write(&records);
    records[1].event = Event::PhaseStarted { phase: "another".into() };
    two.write(&records);
    let mut mixed = lines(&one.bytes());
    mixed[1] = lines(&two.bytes())[1].clone();
    one.set(&mixed.concat());
    // The line itself fits; the one after it tells.
    let error = read(&one.run).unwrap_err();
    assert!(
        matches!(&error, JournalError::Damaged { line: 3, why, .. } if why.contains("prev is not")),
        "{error}"
    );
}

#[test]
fn a_forged_line_is_read_strictly() {
    let place = Place::new();
    let head = place.write(&small_run());
    let good = place.bytes();
    let line = |v: u32, seq: u64, epoch: u32, more: &str| {
        format!(
            "{{\"v\":{v},\"seq\":{seq},\"epoch\":{epoch},\"t\":40,\"at\":\"2026-11-21T10:37:55.120Z\",\
             \"prev\":\"{head}\",\"event\":{{\"phase_ended\":{{\"phase\":\"x\"{more}}}}}}}"
        )
    };
    let result = |body: &str| {
        place.set(&[&good[..], &forge(body)].concat());
        read(&place.run).map(|(contents, _)| contents.records.len()).map_err(|error| error.to_string())
    };
    assert_eq!(result(&line(1, 5, 1, "")), Ok(5));
    assert_eq!(result(&line(1, 5, 2, "")), Ok(5));
    for (body, why) in [
        (line(1, 6, 1, ""), "seq is 6 after 4"),
        (line(1, 4, 1, ""), "seq is 4 after 4"),
        (line(1, 5, 0, ""), "epoch is 0 where 1 was expected"),
        (line(1, 5, 3, ""), "epoch is 3 where 1 was expected"),
        (line(0, 5, 1, ""), "there is no format 0"),
        (line(2, 5, 1, ""), "the record has format 2, this version of runbook reads up to 1"),
        (line(1, 5, 1, ",\"more\":1"), "unknown field `more`"),
        (line(1, 5, 1, "").replace("phase_ended", "phase_paused"), "unknown variant `phase_paused`"),
        (line(1, 5, 1, "").replace(",\"t\":40", ""), "missing field `t`"),
        (line(1, 5, 1, "").replace("\"t\":40", "\"t\":40,\"t\":40"), "duplicate field `t`"),
        (line(1, 5, 1, "").replace("\"t\":40", "\"t\":-40"), "invalid value"),
        (line(1, 5, 1, "").replace(&head, &head.to_uppercase()), "prev is not the hash"),
    ] {
        let error = result(&body).expect_err(why);
        assert!(error.contains(why), "{error}");
        assert!(error.contains(&format!("byte {}", good.len())), "{error}");
    }
}

#[test]
fn a_head_noted_earlier_is_found_again() {
    let place = Place::new();
    let records = small_run();
    let mut journal = Journal::create(&place.run).unwrap();
    journal.append(&records[..2]).unwrap();
    let head = journal.head().to_owned();
    journal.append(&records[2..]).unwrap();
    assert_eq!(checked(&place, Some(&head)).truncation, Truncation::GrownSince { seq: 2, later: 2 });
    assert_eq!(
        checked(&place, Some(&head.to_uppercase())).truncation,
        Truncation::GrownSince { seq: 2, later: 2 }
    );
}

#[test]
fn a_journal_of_a_newer_version_is_refused_and_not_changed() {
    let place = Place::new();
    place.write(&small_run());
    let mut newer = place.bytes();
    let offset = newer.len() as u64;
    newer.extend_from_slice(b"{\"v\":2,\"what\":\"ever\"}\n");
    // A torn tail is not sealed either.
    newer.extend_from_slice(b"{\"v\":2,");
    place.set(&newer);
    for error in [read(&place.run).unwrap_err(), Journal::open(&place.run).unwrap_err()] {
        assert!(error.is_suspect());
        let JournalError::Newer { offset: found_at, found: 2, reads: 1, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(found_at, offset);
    }
    assert_eq!(place.bytes(), newer);
    assert!(!place.run.path().join("journal.torn-1").exists());
}

/// A line that ends in a newline was written whole: damage is not taken for a torn tail.
#[test]
fn a_terminated_but_damaged_last_line_is_refused_and_not_changed() {
    let place = Place::new();
    place.write(&small_run());
    for tail in [&b"{\"v\":1,\"seq\n"[..], b"\n", b"\0\0\0\0\n", b"null\n"] {
        let mut bad = place.bytes();
        let good = bad.len();
        bad.extend_from_slice(tail);
        place.set(&bad);
        let error = Journal::open(&place.run).unwrap_err();
        assert!(
            matches!(error, JournalError::Damaged { offset, line: 5, .. } if offset == good as u64),
            "{error}"
        );
        assert_eq!(place.bytes(), bad);
        place.set(&bad[..good]);
    }
}

#[test]
fn a_torn_tail_is_set_aside_wherever_it_tore() {
    let records = small_run();
    let place = Place::new();
    place.write(&records);
    let whole = place.bytes();
    let last = whole.len() - lines(&whole)[3].len();
    for (n, cut) in (last + 1..whole.len()).enumerate() {
        place.set(&whole[..cut]);
        let torn_bytes = (cut - last) as u64;
        let (before, torn) = read(&place.run).unwrap();
        assert_eq!((before.records.len(), torn), (3, Some(torn_bytes)));
        assert_eq!(place.bytes(), &whole[..cut], "reading changes nothing");

        let (mut journal, contents, torn) = Journal::open(&place.run).unwrap();
        let file = format!("journal.torn-{}", n + 1);
        assert_eq!(torn, Some(Torn { bytes: torn_bytes, file: file.clone() }));
        assert_eq!(contents, before);
        assert_eq!(place.run.read_file(&file, 1 << 20).unwrap(), &whole[last..cut]);
        journal.append(&records[3..]).unwrap();
        assert_eq!(place.bytes(), whole);
    }
}

#[test]
fn an_empty_journal_is_readable() {
    let place = Place::new();
    assert!(matches!(read(&place.run), Err(JournalError::Missing { .. })));
    drop(Journal::create(&place.run).unwrap());
    assert!(matches!(Journal::create(&place.run), Err(JournalError::State(_))), "there is one");
    let (mut journal, contents, torn) = Journal::open(&place.run).unwrap();
    assert_eq!((contents.records.len(), torn), (0, None));
    journal.append(&small_run()).unwrap();
    assert_eq!(read(&place.run).unwrap().0.records, small_run());
}

#[test]
fn a_follower_sees_each_record_once() {
    let place = Place::new();
    let records = small_run();
    let mut journal = Journal::create(&place.run).unwrap();
    let mut tail = Tail::open(&place.run).unwrap();
    assert_eq!(tail.next_records().unwrap(), []);
    journal.append(&records[..2]).unwrap();
    assert_eq!(tail.next_records().unwrap(), records[..2]);
    assert_eq!(tail.next_records().unwrap(), []);
    journal.append(&records[2..3]).unwrap();
    let three = place.bytes();
    // Half a line is not shown yet.
    place.set(&[&three[..], b"{\"v\":1,"].concat());
    assert_eq!(tail.next_records().unwrap(), records[2..3]);
    assert_eq!(tail.next_records().unwrap(), []);
    place.set(&three);
    assert_eq!(tail.next_records().unwrap(), []);
    assert_eq!(tail.head(), journal.head());
    place.set(&three[..10]);
    assert!(matches!(tail.next_records(), Err(JournalError::Interfered { .. })));
}

#[test]
fn epochs_follow_one_another() {
    let place = Place::new();
    let mut journal = Journal::create(&place.run).unwrap();
    let mut later = small_run();
    later[2].epoch = 2;
    later[3].epoch = 2;
    journal.append(&later).unwrap();
    assert_eq!(read(&place.run).unwrap().0.records, later);
    for (seq, epoch) in [(5, 1), (5, 4), (6, 2), (4, 2)] {
        let (mut journal, ..) = Journal::open(&place.run).unwrap();
        let bad = Record { epoch, ..record(seq, Event::PhaseStarted { phase: "x".into() }) };
        assert!(matches!(journal.append(&[bad]), Err(JournalError::Record { .. })), "{seq} {epoch}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z\"\\\\{},:\n\u{0}\u{1b}é😀]{0,40}", any::<String>()]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any_text().prop_map(|phase| Event::PhaseStarted { phase }),
        (any::<u32>(), any_text()).prop_map(|(n, why)| Event::Gap { length: Millis(n.into()), why }),
        any_text().prop_map(|because| Event::RollbackStarted { because }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A resumed run must compute with the very numbers the run before it had.
    #[test]
    fn numbers_are_read_as_they_were(number in any::<f64>().prop_filter("JSON has no other", |n| n.is_finite())) {
        let place = Place::new();
        let params = [("n".to_owned(), number.into())].into();
        let records = [record(1, Event::GroupStarted { step: crate::common::step("a"), params })];
        place.write(&records);
        prop_assert_eq!(read(&place.run).unwrap().0.records, records);
    }

    /// However the bytes are changed, a reader is never told anything but what was written: it gets the first records
    /// exactly as they were, or an error.
    #[test]
    fn a_changed_journal_never_lies(
        events in prop::collection::vec(any_event(), 1..12),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, prop::collection::vec(any::<u8>(), 0..40)), 1..3),
    ) {
        let place = Place::new();
        let records: Vec<Record> = events.into_iter().zip(1..).map(|(e, seq)| record(seq, e)).collect();
        place.write(&records);
        prop_assert_eq!(&read(&place.run).unwrap().0.records, &records);
        let mut bytes = place.bytes();
        for (index, remove, insert) in edits {
            let at = index.index(bytes.len() + 1);
            let end = (at + remove).min(bytes.len());
            bytes.splice(at..end, insert);
        }
        place.set(&bytes);
        match read(&place.run) {
            Ok((contents, _)) => prop_assert!(records.starts_with(&contents.records)),
            Err(error) => prop_assert!(error.is_suspect(), "{}", error),
        }
    }
}
