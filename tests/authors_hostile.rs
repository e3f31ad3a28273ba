//! Files that were made to harm: each ends in an answer, soon and within little memory.
//!
//! Each case runs in a process of its own (this test binary again), which reports the most memory it ever held.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use runbook::playbook::diagnostic::{Look, render, to_json};
use runbook::playbook::load::{Library, LoadError, load};
use runbook::playbook::yaml::MAX_BYTES;

const LIMIT_KIB: u64 = 64 * 1024;
const CASE: &str = "RUNBOOK_HOSTILE_CASE";

/// The size at which each case shows the mistake that it is made for; the limit of a file is larger.
const SIZE: usize = 1 << 20;

/// Fills up to just below `size`.
fn fill(size: usize, head: &str, piece: impl Fn(usize) -> String, tail: &str) -> Vec<u8> {
    let mut out = head.to_owned();
    for n in 0.. {
        let next = piece(n);
        if out.len() + next.len() + tail.len() >= size {
            break;
        }
        out.push_str(&next);
    }
    out.push_str(tail);
    out.into_bytes()
}

/// Name, content, and the code of a diagnostic that must be among those found at [`SIZE`].
fn cases(size: usize) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let bomb = {
        let mut text = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..12 {
            let alias = format!("*a{}", n - 1);
            text.push_str(&format!("b{n}: &a{n} [{}]\n", vec![alias; 10].join(", ")));
        }
        text.into_bytes()
    };
    vec![
        ("depth-flow", vec![b'['; 100_000], "too-deep"),
        ("depth-braces", vec![b'{'; 100_000], "too-deep"),
        ("depth-dashes", "- ".repeat(100_000).into_bytes(), "too-deep"),
        ("depth-keys", "? ".repeat(100_000).into_bytes(), "too-deep"),
        ("alias-bomb", bomb, "too-many-aliases"),
        ("many-aliases", fill(size, "a: &a [1, 2, 3]\nb: [", |_| "*a,".into(), "]\n"), "too-many-aliases"),
        (
            "nested-anchors",
            fill(size, "k: [", |_| "&a [&b [&c [1, 2], 3], 4],".into(), "]\n"),
            "too-many-aliases",
        ),
        ("many-values", fill(size, "symptoms: [", |_| "a,".into(), "]\n"), "too-many-values"),
        ("many-empty-maps", fill(size, "symptoms: [", |_| "{},".into(), "]\n"), "too-many-values"),
        ("many-unknown-keys", fill(size, "", |n| format!("k{n}: 1\n"), ""), "unknown-key"),
        ("many-duplicates", fill(size, "", |_| "k: 1\n".into(), ""), "duplicate-key"),
        ("many-steps", fill(size.min(600_000), "steps:\n", |_| "- {id: a}\n".into(), ""), "too-many-steps"),
        ("one-long-key", fill(size, "", |_| "a".into(), ": 1\n"), "yaml"),
        ("one-long-line", fill(size, "title: [", |_| "x ".into(), "]\n"), "wrong-type"),
        ("many-templates", fill(size, "symptoms: [", |_| "{{ x }}, ".into(), "]\n"), "unquoted-template"),
        ("many-documents", fill(size, "", |_| "---\n".into(), ""), "many-documents"),
        ("nul", b"title: a\0b\n".to_vec(), "bad-encoding"),
        ("not-utf8", b"title: \xff\xfe\n".to_vec(), "bad-encoding"),
        ("utf16", b"\xff\xfet\0i\0".to_vec(), "bad-encoding"),
    ]
}

/// Runs in a child: loads the file named by the environment, and says what came of it.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CASE) else { return };
    let path = Path::new(&path);
    let library = Library::discover(path.parent().expect("a folder"), None).expect("no configuration here");
    let outcome = match load(path, &library) {
        Ok(_) => "ok".to_owned(),
        Err(LoadError::Invalid(invalid)) => {
            let shown = render(&invalid.diagnostics, &invalid.sources, Look::default());
            assert!(!shown.is_empty());
            assert!(to_json(&invalid.diagnostics, &invalid.sources).is_array());
            let mut codes: Vec<_> = invalid.diagnostics.iter().map(|d| d.code).collect();
            codes.dedup();
            codes.join(",")
        }
        Err(error) => error.to_string(),
    };
    let status = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak").trim();
    let mut out = std::io::stdout();
    writeln!(out, "\nPEAK {peak}\nOUTCOME {outcome}").expect("the parent reads this");
}

/// Peak memory in KiB, the outcome, and the time.
fn run(path: &Path) -> (u64, String, Duration) {
    let begin = Instant::now();
    let output = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CASE, path)
        .output()
        .expect("the child runs");
    let took = begin.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}: {text}\n{}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let line =
        |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).expect("a line of the child").to_owned();
    let peak = line("PEAK ").split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number");
    (peak, line("OUTCOME "), took)
}

#[test]
fn hostile_files_end_in_an_error_soon_and_in_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, code) in cases(SIZE) {
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, content).expect("the case is written");
        let (peak, outcome, took) = run(&path);
        assert!(outcome.split(',').any(|found| found == code), "{name}: {outcome}");
        assert!(peak < LIMIT_KIB, "{name}: {peak} KiB");
        // An optimised program needs a small part of this; the limit only catches what grows with the square.
        assert!(took < Duration::from_secs(15), "{name}: {took:?}");
    }
}

#[test]
fn the_largest_files_end_in_an_error_in_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let largest = usize::try_from(MAX_BYTES).expect("a size of memory");
    for (name, content, _) in cases(largest).into_iter().filter(|(_, content, _)| content.len() > SIZE) {
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, content).expect("the case is written");
        let (peak, outcome, _) = run(&path);
        assert_ne!(outcome, "ok", "{name}");
        assert!(peak < LIMIT_KIB, "{name}: {peak} KiB");
    }
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge.yaml");
    let file = std::fs::File::create(&path).expect("the file");
    file.set_len(100 << 20).expect("a size");
    let (peak, outcome, _) = run(&path);
    assert!(outcome.contains("larger than 4 MiB"), "{outcome}");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("folder.yaml");
    std::fs::create_dir(&path).expect("a folder");
    assert!(run(&path).1.contains("not a regular file"));
    let path = folder.path().join("pipe.yaml");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert!(run(&path).1.contains("not a regular file"));
}
