//! The records of a plain step, read by their looks: nearly all there is in a long journal.
//!
//! Each is known to the byte as the writer writes it. One that looks otherwise in any way, because it says more or because
//! it is not whole, is not for here: it is read as JSON, which decides what is good. So this can only be faster, never
//! more generous.

use std::collections::BTreeMap;

use crate::model::{Event, Millis, StepId, StepOutcome, TaskEnd, TaskEndKind, TaskId, TaskVerdict};

/// The event that `json` is, if it is one of these and looks exactly as it is written.
pub(super) fn event(json: &str) -> Option<Event> {
    let json = json.strip_prefix("{\"")?.strip_suffix("}}")?;
    if let Some(rest) = json.strip_prefix("task_started\":{\"task\":\"") {
        task_started(rest)
    } else if let Some(rest) = json.strip_prefix("task_ended\":{\"task\":\"") {
        task_ended(rest)
    } else {
        step_ended(json.strip_prefix("step_ended\":{\"step\":\"")?)
    }
}

fn task_started(rest: &str) -> Option<Event> {
    let (task, rest) = text(rest)?;
    let (command, rest) = text(rest.strip_prefix(",\"command\":\"")?)?;
    let rest = rest.strip_prefix(",\"workdir\":")?;
    let (workdir, rest) = match rest.strip_prefix("null") {
        Some(rest) => (None, rest),
        None => text(rest.strip_prefix('"')?).map(|(text, rest)| (Some(text.to_owned()), rest))?,
    };
    let timeout = match rest.strip_prefix(",\"timeout\":")? {
        "null" => None,
        limit => Some(Millis(whole(limit)?)),
    };
    let (task, command) = (TaskId::parse(task).ok()?, command.to_owned());
    Some(Event::TaskStarted { task, command, values: Vec::new(), workdir, host: None, timeout })
}

fn task_ended(rest: &str) -> Option<Event> {
    let (task, rest) = text(rest)?;
    let (code, rest) = number(rest.strip_prefix(",\"end\":{\"kind\":{\"exited\":{\"code\":")?)?;
    let (duration, rest) = number(rest.strip_prefix("}},\"duration\":")?)?;
    let (stdout_bytes, rest) = field(rest, ",\"stdout_bytes\":")?;
    let (stderr_bytes, rest) = field(rest, ",\"stderr_bytes\":")?;
    if rest != "},\"verdict\":\"passed\"" {
        return None;
    }
    let kind = TaskEndKind::Exited { code: i32::try_from(code).ok()? };
    let end = TaskEnd { stdout_bytes, stderr_bytes, ..TaskEnd::new(kind, Millis(duration)) };
    Some(Event::TaskEnded {
        task: TaskId::parse(task).ok()?,
        end,
        verdict: TaskVerdict::Passed,
        outputs: BTreeMap::new(),
        result: None,
        no_retry: false,
    })
}

fn step_ended(rest: &str) -> Option<Event> {
    let (step, rest) = text(rest)?;
    if rest != ",\"outcome\":\"succeeded\"" {
        return None;
    }
    let (step, outcome) = (StepId::parse(step).ok()?, StepOutcome::Succeeded);
    Some(Event::StepEnded { step, outcome, why: None, outputs: BTreeMap::new(), choice: None })
}

/// A text after its first quote, in which nothing had to be escaped, and what follows its last quote.
fn text(rest: &str) -> Option<(&str, &str)> {
    let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
    let (text, rest) = rest.split_at_checked(end)?;
    Some((text, rest.strip_prefix('"')?))
}

/// A field that is left out if it is 0.
fn field<'t>(rest: &'t str, key: &str) -> Option<(u64, &'t str)> {
    rest.strip_prefix(key).map_or(Some((0, rest)), number)
}

/// A whole number in the one way in which it is written, and what follows it.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let mut number: u64 = 0;
    let mut digits = 0;
    for byte in text.bytes().take_while(u8::is_ascii_digit) {
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        digits += 1;
    }
    let (typed, rest) = text.split_at_checked(digits)?;
    match typed.as_bytes() {
        [] | [b'0', _, ..] => None,
        _ => Some((number, rest)),
    }
}

fn whole(text: &str) -> Option<u64> {
    number(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Option<Event> {
        serde_json::from_str(json).ok()
    }

    fn started(command: &str, workdir: Option<&str>, timeout: Option<u64>) -> Event {
        Event::TaskStarted {
            task: TaskId::parse("restore/pick.2r1").unwrap(),
            command: command.to_owned(),
            values: Vec::new(),
            workdir: workdir.map(str::to_owned),
            host: None,
            timeout: timeout.map(Millis),
        }
    }

    /// If one of these is not known by its looks any more, long journals are read slowly.
    #[test]
    fn the_records_of_a_plain_step_are_known_by_their_looks() {
        for json in [
            r#"{"task_started":{"task":"s0.1","command":"sh -c true","workdir":null,"timeout":600000}}"#,
            r#"{"task_started":{"task":"s0.1.check","command":"é 😀","workdir":"/srv","timeout":null}}"#,
            r#"{"task_ended":{"task":"s0.1","end":{"kind":{"exited":{"code":0}},"duration":3},"verdict":"passed"}}"#,
            r#"{"task_ended":{"task":"a/b.2","end":{"kind":{"exited":{"code":7}},"duration":18446744073709551615,"stdout_bytes":9,"stderr_bytes":10},"verdict":"passed"}}"#,
            r#"{"task_ended":{"task":"a.1","end":{"kind":{"exited":{"code":0}},"duration":0,"stderr_bytes":10},"verdict":"passed"}}"#,
            r#"{"step_ended":{"step":"restore/pick","outcome":"succeeded"}}"#,
        ] {
            let found = event(json);
            assert!(found.is_some(), "{json}");
            assert_eq!(found, read(json), "{json}");
            assert_eq!(serde_json::to_string(&found).unwrap(), json, "it is what is written");
        }
    }

    #[test]
    fn what_is_no_record_is_not_known() {
        for json in [
            r#"{"step_ended":{"step":"a","outcome":"succeeded"}}}"#,
            r#"{"step_ended":{"step":"a","outcome":"succeeded"}"#,
            r#"{"step_ended":{"step":"A","outcome":"succeeded"}}"#,
            r#"{"step_ended":{"step":"a","outcome":"succeeded","more":1}}"#,
            r#"{"task_started":{"task":"a.1","command":"a\x","workdir":null,"timeout":1}}"#,
            r#"{"task_started":{"task":"a.1","command":"a","workdir":null,"timeout":01}}"#,
            r#"{"task_started":{"task":"a.1","command":"a","workdir":null,"timeout":18446744073709551616}}"#,
            r#"{"task_started":{"task":"a.1","command":"a","workdir":null,"timeout":}}"#,
            r#"{"task_ended":{"task":"a.1","end":{"kind":{"exited":{"code":2147483648}},"duration":3},"verdict":"passed"}}"#,
            r#"{"task_ended":{"task":"a.1","end":{"kind":{"exited":{"code":0}},"duration":3},"verdict":"passed""#,
        ] {
            assert_eq!((event(json), read(json)), (None, None), "{json}");
        }
        let json =
            "{\"task_started\":{\"task\":\"a.1\",\"command\":\"a\u{1}\",\"workdir\":null,\"timeout\":1}}";
        assert_eq!((event(json), read(json)), (None, None));
    }

    proptest! {
        /// Whatever is known is what JSON says, and whatever is written without escapes is known.
        #[test]
        fn what_is_known_is_what_json_says(
            command in prop_oneof!["[ -~]{0,20}", any::<String>()],
            workdir in prop::option::of(any::<String>()),
            timeout in prop::option::of(any::<u64>()),
            edit in prop::option::of((any::<prop::sample::Index>(), 0_usize..3, "[\"{}:,0a\\\\]{0,2}")),
        ) {
            let mut json = serde_json::to_string(&started(&command, workdir.as_deref(), timeout)).unwrap();
            if let Some((index, cut, insert)) = &edit {
                let at = index.index(json.len() + 1);
                let at = (0..=at).rev().find(|at| json.is_char_boundary(*at)).unwrap();
                let end = (at + cut..=json.len()).find(|end| json.is_char_boundary(*end)).unwrap_or(json.len());
                json.replace_range(at..end, insert);
            }
            let found = event(&json);
            if found.is_some() {
                prop_assert_eq!(&found, &read(&json));
            }
            prop_assert!(found.is_some() || json.contains('\\') || edit.is_some());
        }
    }
}
