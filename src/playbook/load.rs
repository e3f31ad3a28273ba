//! Finding playbooks by name and reading them, together with those they include.
//!
//! Only reads files. A folder that comes first hides playbooks of the same name in later ones.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ast::{Action, ActionKind, Channel, Config, HostDecl, Level, Playbook, SecretDecl, Step, Updates};
use super::diagnostic::{Diagnostic, Severity};
use super::source::{FileId, SourceMap, Text};
use super::{decode_bytes, parse, parse_config, yaml};
use crate::model::check_name;
use crate::model::nearest;

/// The file that playbooks share, looked for in the working directory and above it.
pub const CONFIG_FILE: &str = "runbook.yaml";
const ENDINGS: [&str; 2] = ["yaml", "yml"];
/// The most playbooks that are read for one run.
const MAX_BOOKS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("{name:?} is not a playbook's name: {reason}")]
    BadName { name: String, reason: String },
    /// `near`: a known name that was perhaps meant.
    #[error("{}", not_found(name, near.as_deref(), searched))]
    NotFound { name: String, near: Option<String>, searched: Vec<PathBuf> },
    #[error("{} has mistakes", .0.shown.display())]
    Invalid(Box<Invalid>),
}

/// A file with mistakes.
#[derive(Debug)]
pub struct Invalid {
    pub shown: PathBuf,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
    /// What could be read, to look for further mistakes in. Never to be run.
    pub partial: Option<Vec<Book>>,
}

fn not_found(name: &str, near: Option<&str>, searched: &[PathBuf]) -> String {
    let mut out = format!("there is no playbook {name:?}");
    if let Some(near) = near {
        out.push_str(&format!(", did you mean {near:?}?"));
    }
    let folders: Vec<String> = searched.iter().map(|folder| folder.display().to_string()).collect();
    match folders.as_slice() {
        [] => out.push_str(" (no folder to look in)"),
        folders => out.push_str(&format!(" (looked in {})", folders.join(", "))),
    }
    out
}

/// The configuration, and where it stands.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Absolute.
    pub path: PathBuf,
    pub folder: PathBuf,
    pub config: Config,
    /// What is not wrong but should be looked at, and the text it is about.
    pub warnings: Vec<Diagnostic>,
    pub sources: SourceMap,
}

/// Where playbooks are looked for.
#[derive(Debug, Clone, Default)]
pub struct Library {
    cwd: PathBuf,
    /// In the order of the search. Some may not exist.
    folders: Vec<PathBuf>,
    config: Option<ConfigFile>,
}

/// A playbook that was found, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub path: PathBuf,
}

/// A playbook and where it was read from.
#[derive(Debug, Clone)]
pub struct Book {
    pub playbook: Playbook,
    /// The absolute path of the file.
    pub path: PathBuf,
    /// The folder that holds it.
    pub folder: PathBuf,
    pub file: FileId,
}

/// A playbook with all it includes; the first of `books` is the one asked for. Names are unique among them.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    pub sources: SourceMap,
    pub books: Vec<Book>,
    pub shared: Shared,
}

/// What `runbook.yaml` gives to every playbook. Its places are in a file that is not among a playbook's sources; it has
/// been checked when it was read.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Relative paths count from here. Absolute.
    pub folder: PathBuf,
    pub channels: Vec<Channel>,
    pub escalation: Vec<Level>,
    pub updates: Option<Updates>,
    pub secrets: Vec<SecretDecl>,
    pub hosts: Vec<HostDecl>,
    pub groups: Vec<(Text, Vec<Text>)>,
}

impl Loaded {
    /// The book that `playbook: { name: ... }` means.
    pub fn book(&self, name: &str) -> Option<usize> {
        self.books.iter().position(|book| book.playbook.name.value == name)
    }
}

/// The user's configuration folder, from the environment: `$XDG_CONFIG_HOME/runbook` or `~/.config/runbook`.
pub fn user_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|f| f.join("runbook"))
}

impl Library {
    /// Looks for `runbook.yaml` from `cwd` upwards, then in the user's folder, and for folders with playbooks.
    pub fn discover(cwd: &Path, user: Option<&Path>) -> Result<Self, LoadError> {
        let mut library = Self { cwd: cwd.to_owned(), ..Self::default() };
        let found =
            cwd.ancestors().chain(user).map(|folder| folder.join(CONFIG_FILE)).find(|path| path.is_file());
        if let Some(path) = found {
            library.config = Some(library.read_config(&path)?);
        }
        let mut folders = vec![cwd.join("playbooks")];
        if let Some(file) = &library.config {
            folders.extend(file.config.playbooks.iter().map(|folder| file.folder.join(&folder.value)));
        }
        folders.extend(user.map(|folder| folder.join("playbooks")));
        for folder in folders {
            if !library.folders.contains(&folder) {
                library.folders.push(folder);
            }
        }
        Ok(library)
    }

    fn read_config(&self, path: &Path) -> Result<ConfigFile, LoadError> {
        let shown = self.shown(path);
        let bytes =
            read_file(path).map_err(|reason| LoadError::Unreadable { path: shown.clone(), reason })?;
        let mut sources = SourceMap::default();
        let (config, diagnostics) = match decode_bytes(&mut sources, &shown, bytes) {
            Ok(file) => {
                let parsed = parse_config(file, &sources.files[0].text);
                (parsed.value, parsed.diagnostics)
            }
            Err(diagnostic) => (None, vec![*diagnostic]),
        };
        match config {
            Some(config) if !has_errors(&diagnostics) => {
                let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
                Ok(ConfigFile { path: path.to_owned(), folder, config, warnings: diagnostics, sources })
            }
            _ => Err(LoadError::Invalid(Box::new(Invalid { shown, sources, diagnostics, partial: None }))),
        }
    }

    pub fn config(&self) -> Option<&ConfigFile> {
        self.config.as_ref()
    }

    pub fn shared(&self) -> Shared {
        self.config.as_ref().map_or_else(Shared::default, |file| Shared {
            folder: file.folder.clone(),
            channels: file.config.channels.clone(),
            escalation: file.config.escalation.clone(),
            updates: file.config.updates.clone(),
            secrets: file.config.secrets.clone(),
            hosts: file.config.hosts.clone(),
            groups: file.config.groups.clone(),
        })
    }

    /// The folders that are searched, in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Every playbook that can be found by name, in the order of the names.
    pub fn list(&self) -> Vec<Listed> {
        list_in(&self.folders)
    }

    /// The file of a playbook, given by its name or as a path (something with a `/`, or that ends in .yaml or .yml).
    pub fn find(&self, name_or_path: &str) -> Result<PathBuf, LoadError> {
        let as_path = Path::new(name_or_path);
        let is_path = name_or_path.contains('/')
            || as_path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending));
        if !is_path {
            return self.find_in(&self.folders, name_or_path);
        }
        let path = self.cwd.join(as_path);
        if path.exists() {
            Ok(path)
        } else {
            let reason = "there is no such file".to_owned();
            Err(LoadError::Unreadable { path: as_path.to_owned(), reason })
        }
    }

    fn find_in(&self, folders: &[PathBuf], name: &str) -> Result<PathBuf, LoadError> {
        check_name(name)
            .map_err(|error| LoadError::BadName { name: name.to_owned(), reason: error.to_string() })?;
        let candidates =
            folders.iter().flat_map(|folder| ENDINGS.map(|ending| folder.join(format!("{name}.{ending}"))));
        candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let known = list_in(folders);
            LoadError::NotFound {
                name: name.to_owned(),
                near: nearest(name, known.iter().map(|listed| listed.name.as_str())).map(str::to_owned),
                searched: folders.iter().map(|folder| self.shown(folder)).collect(),
            }
        })
    }

    /// A path as the person would type it.
    fn shown(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.cwd) {
            Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from("."),
            Ok(rest) => rest.to_owned(),
            Err(_) => path.to_owned(),
        }
    }
}

fn list_in(folders: &[PathBuf]) -> Vec<Listed> {
    let mut found = BTreeMap::new();
    for folder in folders {
        // A folder that is not there, or that may not be read, has no playbooks for this person.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let is_yaml = path.extension().is_some_and(|e| ENDINGS.iter().any(|ending| e == *ending));
            let stem = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
            let is_config = path.file_name().is_some_and(|name| name == CONFIG_FILE);
            if let Some(name) =
                stem.filter(|name| is_yaml && !is_config && check_name(name).is_ok() && path.is_file())
            {
                found.entry(name).or_insert(path);
            }
        }
    }
    found.into_iter().map(|(name, path)| Listed { name, path }).collect()
}

/// The bytes of a regular file that is not too large; the error is for people.
fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let too_large = || {
        let limit = yaml::MAX_BYTES >> 20;
        format!("it is larger than {limit} MiB, the limit for a playbook")
    };
    // Asked before it is opened: opening a pipe would wait for somebody to write to it.
    let meta = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !meta.is_file() {
        return Err("it is not a regular file".into());
    }
    if meta.len() > yaml::MAX_BYTES {
        return Err(too_large());
    }
    let file = std::fs::File::open(path).map_err(|error| reason(&error))?;
    let mut bytes = Vec::new();
    // It may have grown since.
    file.take(yaml::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > yaml::MAX_BYTES { Err(too_large()) } else { Ok(bytes) }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Reads the playbook at `path` and those it includes. An included playbook is looked for beside this one first, then
/// in the library.
pub fn load(path: &Path, library: &Library) -> Result<Loaded, LoadError> {
    let path = library.cwd.join(path);
    let shown = library.shown(&path);
    let unreadable = |reason| LoadError::Unreadable { path: shown.clone(), reason };
    let path = std::path::absolute(&path).map_err(|error| unreadable(reason(&error)))?;
    let bytes = read_file(&path).map_err(unreadable)?;
    let mut folders: Vec<PathBuf> = path.parent().map(Path::to_owned).into_iter().collect();
    let others =
        library.folders.iter().filter(|folder| !folders.contains(folder)).cloned().collect::<Vec<_>>();
    folders.extend(others);
    let mut loader = Loader {
        library,
        folders,
        sources: SourceMap::default(),
        diagnostics: Vec::new(),
        books: Vec::new(),
        chain: Vec::new(),
        tried: HashSet::new(),
    };
    loader.add(path, bytes);
    let Loader { sources, diagnostics, books, .. } = loader;
    if has_errors(&diagnostics) {
        let partial = Some(books).filter(|books| !books.is_empty());
        return Err(LoadError::Invalid(Box::new(Invalid { shown, sources, diagnostics, partial })));
    }
    Ok(Loaded { sources, books, shared: library.shared() })
}

struct Loader<'l> {
    library: &'l Library,
    folders: Vec<PathBuf>,
    sources: SourceMap,
    diagnostics: Vec<Diagnostic>,
    books: Vec<Book>,
    /// The names from the first playbook to the one in hand.
    chain: Vec<String>,
    /// The names that were looked for, found or not.
    tried: HashSet<String>,
}

impl Loader<'_> {
    /// Reads one file and what it includes.
    fn add(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let shown = self.library.shown(&path);
        let file = match decode_bytes(&mut self.sources, &shown, bytes) {
            Ok(file) => file,
            Err(diagnostic) => return self.diagnostics.push(*diagnostic),
        };
        let text = std::mem::take(&mut self.sources.files[usize::from(file.0)].text);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let parsed = parse(file, &text, stem);
        self.sources.files[usize::from(file.0)].text = text;
        self.diagnostics.extend(parsed.diagnostics);
        let Some(playbook) = parsed.value else { return };
        let mut includes = Vec::new();
        for phase in &playbook.phases {
            included(&phase.steps, &mut includes);
        }
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.chain.push(stem.unwrap_or(&playbook.name.value).to_owned());
        self.books.push(Book { playbook, path, folder, file });
        for name in includes {
            self.include(&name);
        }
        self.chain.pop();
    }

    fn include(&mut self, name: &Text) {
        if let Some(at) = self.chain.iter().position(|above| *above == name.value) {
            let mut members: Vec<&str> = self.chain[at..].iter().map(String::as_str).collect();
            members.push(&name.value);
            let message = format!("playbooks include each other: {}", members.join(" -> "));
            self.diagnostics.push(
                Diagnostic::error("include-cycle", name.span, message)
                    .label("this closes the circle")
                    .help("a playbook cannot include itself, not even through another one"),
            );
            return;
        }
        if check_name(&name.value).is_err() || !self.tried.insert(name.value.clone()) {
            return;
        }
        if self.books.len() >= MAX_BOOKS {
            let message = format!("more than {MAX_BOOKS} playbooks are included");
            self.diagnostics.push(Diagnostic::error("too-many-playbooks", name.span, message));
            return;
        }
        let found = self.library.find_in(&self.folders, &name.value);
        let read = found.map_err(|error| {
            Box::new(match error {
                LoadError::NotFound { near, searched, .. } => {
                    let folders: Vec<String> = searched.iter().map(|f| format!("{}/", f.display())).collect();
                    let looked = format!("looked in {}", folders.join(", "));
                    let help =
                        near.map_or(looked.clone(), |near| format!("did you mean `{near}`? ({looked})"));
                    Diagnostic::error(
                        "unknown-playbook",
                        name.span,
                        format!("there is no playbook `{}`", name.value),
                    )
                    .label("not found")
                    .help(help)
                }
                other => Diagnostic::error("unknown-playbook", name.span, other.to_string()),
            })
        });
        let read = read.and_then(|path| match read_file(&path) {
            Ok(bytes) => Ok((path, bytes)),
            Err(reason) => {
                let message = format!("cannot read {}: {reason}", self.library.shown(&path).display());
                Err(Box::new(Diagnostic::error("unreadable-playbook", name.span, message)))
            }
        });
        match read {
            Ok((path, bytes)) => self.add(path, bytes),
            Err(diagnostic) => self.diagnostics.push(*diagnostic),
        }
    }
}

/// The names of the playbooks that steps include.
fn included(steps: &[Step], names: &mut Vec<Text>) {
    for step in steps {
        match &step.action {
            Some(Action { kind: ActionKind::Playbook { name, .. }, .. }) => names.push(name.clone()),
            Some(Action { kind: ActionKind::AnyOf(inner), .. }) => included(inner, names),
            _ => {}
        }
    }
}
