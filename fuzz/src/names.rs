//! Names that become parts of paths: what is accepted is one plain component, reads back as it is written, and is
//! written in one way only; what a person types to mean a run never leads out of the runs' folder.
//!
//! Input: the name as typed.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use runbook::journal::StateDir;
use runbook::model::{RunId, StepId, TaskId, Timestamp, check_name, parse_bytes, parse_duration};
use runbook::playbook::load::{Library, LoadError};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    ids(&text);
    PLACE.with(|place| {
        place.find(&text);
        place.lock(&text);
        place.playbook(&text);
    });
    for (n, byte) in bytes.iter().enumerate().take(4) {
        let id = RunId::new("db", Timestamp(i64::from(*byte) << (8 * n)), [*byte; 4]);
        assert_eq!(RunId::parse(id.as_str()).as_ref(), Ok(&id), "a run id that was made reads back");
    }
    // Neither is a name, but both are typed in the same places.
    let _ = (parse_duration(&text), parse_bytes(&text));
}

/// A single folder's or file's name: not hidden, nothing that a shell, a terminal or a path would read.
fn is_plain(name: &str) -> bool {
    let one =
        matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(c)] if c == name);
    one && !name.starts_with(['.', '-'])
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

fn ids(text: &str) {
    if check_name(text).is_ok() {
        assert!(is_plain(text) && text.len() <= 63, "{text:?} is a name");
    }
    if let Ok(run) = RunId::parse(text) {
        assert!(is_plain(text), "{text:?} is a run");
        assert_eq!((run.as_str(), run.to_string().as_str()), (text, text));
        assert_eq!(serde_json::to_string(&run).unwrap(), format!("\"{text}\""));
    }
    if let Ok(step) = StepId::parse(text) {
        assert!(text.split('/').all(is_plain), "{text:?} is a step");
        assert_eq!(step.as_str(), text);
    }
    if let Ok(task) = TaskId::parse(text) {
        assert_eq!(task.to_string(), text, "a task is written in one way only");
        // It is the stem of files with endings such as `.out`, which is no longer than 200 for any name a person types.
        let stem = task.file_stem();
        let plain = |part: &str| is_plain(part);
        assert!(stem.split('+').all(plain) && !stem.contains('/'), "{stem:?} is the stem of a file");
        assert_eq!(stem.replace('+', "/"), text, "two tasks never share a file");
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<TaskId>(&json).unwrap(), task);
    }
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
}

/// A state folder with runs, and things around them that must not be found.
struct Place {
    folder: tempfile::TempDir,
    state: StateDir,
    library: Library,
    runs: Vec<RunId>,
}

const RUNS: [&str; 4] = [
    "db-20260101T000000Z-aaaa",
    "db-20260102T000000Z-bbbb",
    "db-corruption-20260101T000000Z-cccc",
    "last-20260103T000000Z-dddd",
];
/// Named like runs, and none: a link in the runs' folder, a folder beside it, a file.
const LINK: &str = "db-20260104T000000Z-link";
const BESIDE: &str = "db-20260105T000000Z-outs";
const FILE: &str = "db-20260106T000000Z-file";

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state");
        let state = StateDir::open_or_create(&path).expect("the state folder");
        let runs: Vec<RunId> = RUNS.iter().map(|run| RunId::parse(run).expect("a run id")).collect();
        for run in &runs {
            let dir = state.create_run(run).expect("a run's folder");
            std::fs::write(dir.path().join("journal.jsonl"), "").expect("a journal");
        }
        std::fs::create_dir_all(path.join(BESIDE)).expect("a folder");
        std::os::unix::fs::symlink(path.join(BESIDE), path.join("runs").join(LINK)).expect("a link");
        std::fs::write(path.join("runs").join(FILE), "").expect("a file");
        let books = folder.path().join("playbooks");
        std::fs::create_dir(&books).expect("a folder");
        std::fs::write(books.join("db.yaml"), "").expect("a playbook");
        std::fs::write(folder.path().join("outside.yaml"), "").expect("a file");
        let library = Library::discover(folder.path(), None).expect("a library");
        Self { folder, state, library, runs }
    }

    fn find(&self, text: &str) {
        if let Ok(run) = self.state.find(text) {
            assert!(self.runs.contains(&run), "{text:?} found {run}");
            let name = run.as_str().rsplitn(3, '-').last();
            assert!(
                text == "last" || run.as_str().starts_with(text) || name == Some(text),
                "{text:?} found {run}"
            );
        }
        let Ok(run) = RunId::parse(text) else { return };
        match self.state.run(&run) {
            Ok(dir) => {
                assert!(self.runs.contains(&run), "{run} was opened");
                let runs = self.state.path().join("runs").canonicalize().expect("the runs' folder");
                assert_eq!(dir.path().canonicalize().expect("the run's folder"), runs.join(text));
            }
            Err(error) => assert!(!self.runs.contains(&run), "{error}"),
        }
    }

    /// A key is any text; its file stands among the locks whatever it says.
    fn lock(&self, key: &str) {
        let before = everything(self.folder.path());
        let guard = self.state.lock_key(key, &self.runs[0], &|_| None).expect("nobody holds the key");
        let locks = self.state.path().join("locks");
        for path in everything(self.folder.path()).difference(&before) {
            assert_eq!(path.parent(), Some(locks.as_path()), "{key:?} made {}", path.display());
            if path.extension().is_some_and(|e| e == "json") {
                std::fs::remove_file(path).expect("the lock's file goes");
            }
        }
        drop(guard);
        assert!(everything(self.folder.path()).is_superset(&before), "{key:?} removed something");
    }

    /// A playbook by name is in the library's folder. What has a slash or an ending is a path, which may be anywhere.
    fn playbook(&self, text: &str) {
        if text.contains('/') || text.ends_with(".yaml") || text.ends_with(".yml") {
            return;
        }
        match self.library.find(text) {
            Ok(path) => assert_eq!(path, self.folder.path().join("playbooks/db.yaml"), "{text:?}"),
            Err(LoadError::BadName { .. } | LoadError::NotFound { .. }) => assert_ne!(text, "db"),
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
}

fn everything(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("its kind").is_dir() {
            found.extend(everything(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}
