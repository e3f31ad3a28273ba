//! Properties of reading: any bytes get an answer, and a place in a text is found in the file.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use runbook::playbook::ast::{ActionKind, Playbook};
use runbook::playbook::diagnostic::{Look, render, to_json};
use runbook::playbook::source::{SourceMap, Text};
use runbook::playbook::{decode_bytes, parse, parse_config};

/// Reads bytes as `lint` would, and shows what was found.
fn read(bytes: Vec<u8>) -> (SourceMap, Option<Playbook>, bool) {
    let mut sources = SourceMap::default();
    let (value, diagnostics) = match decode_bytes(&mut sources, Path::new("x.yaml"), bytes) {
        Ok(file) => {
            let text = sources.files[0].text.clone();
            let _ = parse_config(file, &text);
            let parsed = parse(file, &text, Some("x"));
            (parsed.value, parsed.diagnostics)
        }
        Err(diagnostic) => (None, vec![*diagnostic]),
    };
    let shown = render(&diagnostics, &sources, Look::default());
    assert_eq!(shown.is_empty(), diagnostics.is_empty());
    assert_eq!(to_json(&diagnostics, &sources).as_array().map(Vec::len), Some(diagnostics.len()));
    let clean = diagnostics.is_empty();
    assert!(!clean || value.is_some(), "no mistake, yet no playbook");
    (sources, value, clean)
}

/// The script of the only step.
fn script(playbook: &Playbook) -> &Text {
    match &playbook.phases[0].steps[0].action.as_ref().expect("an action").kind {
        ActionKind::Run(script) => script,
        other => panic!("{other:?}"),
    }
}

fn with_script(notation: &str) -> Vec<u8> {
    format!(
        "apiVersion: runbook/v1\nname: x\nsteps:\n  - id: one\n    run: {notation}\n    idempotent: true\n"
    )
    .into_bytes()
}

/// Every character of the value stands where `locate` says, each as itself.
fn each_character_is_found(sources: &SourceMap, text: &Text) {
    for (at, c) in text.value.char_indices().filter(|(_, c)| *c != '\n') {
        let place = text.locate(sources, at..at + c.len_utf8());
        assert_eq!(sources.slice(place), c.to_string(), "byte {at} of {:?}", text.value);
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/authors");
    let entries = std::fs::read_dir(folder).expect("the cases");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    paths.into_iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read(bytes);
    }

    #[test]
    fn any_text_of_yaml_characters_gets_an_answer(text in "[-a-c:{}\\[\\],&*!|>'\"%@#? \t\r\n\u{e4}0-9~<.]{0,120}") {
        read(text.into_bytes());
    }

    #[test]
    fn a_damaged_playbook_gets_an_answer(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let corpus = corpus();
        let mut bytes = which.get(&corpus).clone();
        for (at, byte, edit) in edits {
            if bytes.is_empty() { break }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => { bytes.remove(at); }
                _ => bytes.truncate(at),
            }
        }
        read(bytes);
    }

    #[test]
    fn a_place_in_a_literal_block_is_found(
        lines in proptest::collection::vec("[ -~\u{e4}\u{65e5}]{0,20}", 1..6),
        crlf in any::<bool>(),
    ) {
        let first = lines.iter().find(|line| !line.trim().is_empty());
        // A block whose first line begins with a blank needs an indentation indicator.
        prop_assume!(first.is_some_and(|line| !line.starts_with(' ')));
        prop_assume!(lines.iter().take_while(|line| line.trim().is_empty()).all(|line| line.is_empty()));
        let mut block = "|\n".to_owned();
        for line in &lines {
            block.push_str(&format!("      {line}\n"));
        }
        let block = if crlf { block.replace('\n', "\r\n") } else { block };
        let (sources, playbook, _) = read(with_script(block.trim_end_matches(['\r', '\n'])));
        let playbook = playbook.expect("a playbook");
        let text = script(&playbook);
        for (at, c) in text.value.char_indices().filter(|(_, c)| !c.is_whitespace()) {
            let place = text.locate(&sources, at..at + c.len_utf8());
            prop_assert_eq!(sources.slice(place), c.to_string(), "byte {} of {:?}", at, &text.value);
        }
    }

    #[test]
    fn a_place_in_double_quotes_is_found(value in "[ -~\u{e4}\n\t]{1,30}") {
        prop_assume!(!value.trim().is_empty());
        let quoted = serde_json::to_string(&value).expect("text");
        let (sources, playbook, _) = read(with_script(&quoted));
        let playbook = playbook.expect("a playbook");
        let text = script(&playbook);
        prop_assert_eq!(&text.value, &value);
        for (at, c) in text.value.char_indices() {
            let place = sources.slice(text.locate(&sources, at..at + c.len_utf8())).to_owned();
            let again: String = serde_json::from_str(&format!("\"{place}\"")).expect("a piece of the notation");
            prop_assert_eq!(again, c.to_string());
        }
    }
}

#[test]
fn places_in_every_notation() {
    for (notation, value) in [
        ("cp {{ a }} b", "cp {{ a }} b"),
        ("'it''s {{ a }}'", "it's {{ a }}"),
        ("\"tab\\t \\u00e4 {{ a }}\"", "tab\t ä {{ a }}"),
        ("\"two\n      lines {{ a }}\"", "two lines {{ a }}"),
        ("\"joined \\\n      lines {{ a }}\"", "joined lines {{ a }}"),
        ("plain over\n      two {{ a }}", "plain over two {{ a }}"),
        ("|\n      one\n        two {{ a }}", "one\n  two {{ a }}\n"),
        ("|2-\n        deep {{ a }}", "  deep {{ a }}"),
        ("|  # comment\n\n      late {{ a }}", "\nlate {{ a }}\n"),
        (">\n      folded\n      lines {{ a }}\n\n      and more", "folded lines {{ a }}\nand more\n"),
    ] {
        let (sources, playbook, clean) = read(with_script(notation));
        assert!(clean, "{notation}");
        let playbook = playbook.expect("a playbook");
        let text = script(&playbook);
        assert_eq!(text.value, value, "{notation}");
        let at = value.find("{{ a }}").expect("the template");
        assert_eq!(sources.slice(text.locate(&sources, at..at + 7)), "{{ a }}", "{notation}");
    }
    let (sources, playbook, _) = read(with_script("|\n      if true\n      then echo ä\n      fi"));
    each_character_is_found(&sources, script(&playbook.expect("a playbook")));
}

#[test]
fn what_cannot_be_placed_exactly_is_the_whole_text() {
    let (sources, playbook, _) = read(with_script(">\n      folded\n\n        more indented\n      again"));
    let playbook = playbook.expect("a playbook");
    let text = script(&playbook);
    let at = text.value.find("again").expect("the word");
    assert_eq!(text.locate(&sources, at..at + 5), text.span);
    // Ranges outside of the text, or inside of a character, do no harm.
    let _ = text.locate(&sources, 5..usize::MAX);
    let _ = text.locate(&sources, 9_999..usize::MAX);
}

#[test]
fn ten_thousand_steps_are_read() {
    let mut text = "apiVersion: runbook/v1\nname: x\nsteps:\n".to_owned();
    for n in 0..10_000 {
        text.push_str(&format!("  - id: step-{n}\n    title: Step {n}\n    run: echo {n}\n"));
    }
    let begin = std::time::Instant::now();
    let (_, playbook, clean) = read(text.into_bytes());
    assert!(clean);
    assert_eq!(playbook.expect("a playbook").phases[0].steps.len(), 10_000);
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}
