//! Where the person stands: folders, configuration, what the terminal can show.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::journal::StateDir;
use crate::model::{RunId, exit_code};
use crate::plan::{self, CompileError, Plan, Request};
use crate::playbook::diagnostic::{self, Diagnostic, Severity};
use crate::playbook::load::{self as playbooks, Invalid, Library, LoadError, Loaded};
use crate::playbook::source::SourceMap;
use crate::report::Look;
use crate::runner::{LoadedRun, load};

use super::args::{Args, Values};
use super::error::CliError;

/// The largest parameters file, in bytes.
const LARGEST_PARAMS: u64 = 1 << 20;

pub struct Context {
    /// Absent if nothing says where; only some commands need it.
    state: Option<PathBuf>,
    pub cwd: PathBuf,
    pub library: Library,
    /// Of stdout.
    pub look: Look,
    /// Whether a person sits at both ends.
    pub interactive: bool,
    /// Whether stdout can be drawn on: a terminal, and not a dumb one.
    pub draws: bool,
}

impl Context {
    pub fn new(args: &Args) -> Result<Self, CliError> {
        let cwd = std::env::current_dir()
            .map_err(|e| CliError::io("the working folder", &e).hint("change to a folder that exists"))?;
        let library = Library::discover(&cwd, playbooks::user_folder().as_deref()).map_err(unloadable)?;
        // An empty variable is no folder, it is one that was not set.
        let state = args
            .state
            .as_ref()
            .filter(|state| !state.is_empty())
            .map(|state| cwd.join(state))
            .or_else(|| {
                let file = library.config()?;
                Some(file.folder.join(&file.config.state.as_ref()?.value))
            })
            .or_else(default_state);
        let terminal = std::io::stdout().is_terminal();
        let interactive = terminal && std::io::stdin().is_terminal();
        let draws = terminal && !is_dumb();
        Ok(Self { state, cwd, library, look: look(terminal), interactive, draws })
    }

    /// Where the state folder is, or would be.
    pub fn state(&self) -> Result<&Path, CliError> {
        self.state.as_deref().ok_or_else(|| {
            CliError::usage("there is no folder for the state: HOME is not set")
                .hint("name one with --state FOLDER or RUNBOOK_STATE")
        })
    }

    /// Where the state is, if anything says so.
    pub fn state_path(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    /// The state folder, made if it is not there.
    pub fn state_dir(&self) -> Result<StateDir, CliError> {
        Ok(StateDir::open_or_create(self.state()?)?)
    }

    /// The state folder for those who only look.
    pub fn existing_state(&self) -> Result<StateDir, CliError> {
        let state = self.state()?;
        StateDir::open(state)?.ok_or_else(|| {
            CliError::usage(format!("there is no run yet in {}", state.display()))
                .hint("start one with `runbook run PLAYBOOK`")
        })
    }

    pub fn find_run(&self, text: &str) -> Result<(StateDir, RunId), CliError> {
        let state = self.existing_state()?;
        let run = state.find(text).map_err(|e| CliError::usage(e.to_string()))?;
        Ok((state, run))
    }

    pub fn load_run(&self, text: &str) -> Result<LoadedRun, CliError> {
        let (state, run) = self.find_run(text)?;
        Ok(load(&state, &run)?)
    }

    pub fn load(&self, playbook: &str) -> Result<Loaded, CliError> {
        let (loaded, diagnostics) = self.examine(playbook)?;
        if diagnostics.iter().any(|d| d.severity == Severity::Error) {
            return Err(broken(&diagnostics, &loaded.sources));
        }
        Ok(loaded)
    }

    /// A playbook with everything that is wrong with it, in one go.
    pub fn examine(&self, playbook: &str) -> Result<(Loaded, Vec<Diagnostic>), CliError> {
        let path = self.library.find(playbook).map_err(unloadable)?;
        let (loaded, mut diagnostics) = match playbooks::load(&path, &self.library) {
            Ok(loaded) => (loaded, Vec::new()),
            Err(LoadError::Invalid(invalid)) => {
                let Invalid { sources, diagnostics, partial, .. } = *invalid;
                (
                    Loaded { sources, books: partial.unwrap_or_default(), shared: self.library.shared() },
                    diagnostics,
                )
            }
            Err(error) => return Err(unloadable(error)),
        };
        diagnostics.extend(plan::lint(&loaded, chrono::Utc::now().date_naive()));
        Ok((loaded, plan::tidy(diagnostics)))
    }

    /// Compiles with the parameters of the command line.
    pub fn compile(&self, loaded: &Loaded, values: &Values) -> Result<Plan, CliError> {
        let params = self.params(values)?;
        let request = self.request(values.env.as_deref(), &params);
        crate::plan::compile(loaded, &request).map_err(|e| refused(e, loaded))
    }

    pub fn request<'a>(&'a self, env: Option<&'a str>, params: &'a [(String, Value)]) -> Request<'a> {
        Request {
            environment: env,
            params,
            cwd: &self.cwd,
            shared: self.library.config().map_or(&[], |file| &file.config.environments),
            roles: self.library.config().map_or(&[], |file| &file.config.roles),
            shared_folder: self.library.config().map_or(&self.cwd, |file| &file.folder),
            show_missing: false,
            root: None,
        }
    }

    pub fn params(&self, values: &Values) -> Result<Vec<(String, Value)>, CliError> {
        let mut params = match &values.params_file {
            Some(file) => read_values(file)?,
            None => Vec::new(),
        };
        let mut given = std::collections::BTreeMap::new();
        for param in &values.params {
            let Some((name, value)) = param.split_once('=') else {
                return Err(
                    CliError::usage(format!("-p {param}: there is no `=`")).hint("write -p name=value")
                );
            };
            if name.is_empty() {
                return Err(CliError::usage(format!("-p {param}: there is no name before the `=`")));
            }
            if let Some(first) = given.insert(name, value) {
                let hint = "give it once; nothing was started";
                return Err(
                    CliError::usage(format!("-p {name} is given twice: {first:?} and {value:?}")).hint(hint)
                );
            }
            params.push((name.to_owned(), Value::from(value)));
        }
        Ok(params)
    }
}

/// By the XDG Base Directory Specification, which also says that a relative path there is to be ignored.
fn default_state() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    Some(absolute("XDG_STATE_HOME").or_else(home)?.join("runbook"))
}

/// A terminal that knows no escapes: an editor's shell, a serial console.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn look(terminal: bool) -> Look {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find(|n| set(n))
        .map(|n| std::env::var(n).unwrap_or_default().to_ascii_lowercase());
    // Files and pipes are read by programs and people of today; only an old terminal is spared.
    let unicode = !terminal || locale.is_some_and(|l| l.contains("utf-8") || l.contains("utf8"));
    let width = terminal.then(|| usize::from(console::Term::stdout().size().1));
    Look { color: terminal && !is_dumb() && !set("NO_COLOR"), unicode, width }
}

/// A map in YAML, of which JSON is a part: parameters, answers.
pub fn read_values(file: &Path) -> Result<Vec<(String, Value)>, CliError> {
    let problem = |e: std::io::Error| CliError::io(file.display(), &e).code(exit_code::USAGE);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(problem)?;
    opened.take(LARGEST_PARAMS + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > LARGEST_PARAMS {
        return Err(CliError::usage(format!("{} is larger than 1 MiB", file.display())));
    }
    let mut sources = SourceMap::default();
    let values = crate::playbook::parse_values(&mut sources, file, bytes);
    values.map_err(|diagnostics| broken(&diagnostics, &sources))
}

/// A file that does not say what it should.
pub fn broken(diagnostics: &[Diagnostic], sources: &SourceMap) -> CliError {
    let look = look(std::io::stderr().is_terminal());
    CliError::verbatim(diagnostic::render(diagnostics, sources, diagnostic_look(look)))
}

fn unloadable(error: LoadError) -> CliError {
    match error {
        LoadError::Invalid(invalid) => broken(&invalid.diagnostics, &invalid.sources),
        LoadError::NotFound { .. } => {
            CliError::usage(error.to_string()).hint("see `runbook list`, or give a path")
        }
        other => CliError::usage(other.to_string()),
    }
}

pub fn diagnostic_look(look: Look) -> diagnostic::Look {
    diagnostic::Look { colour: look.color, width: look.width.unwrap_or(140) }
}

/// A playbook that cannot be compiled with these values.
pub fn refused(error: CompileError, loaded: &Loaded) -> CliError {
    match error {
        CompileError::Diagnostics(diagnostics) => broken(&diagnostics, &loaded.sources),
        CompileError::Params(problems) => {
            let lines: Vec<String> = problems
                .iter()
                .map(|p| match &p.help {
                    Some(help) => format!("parameter {}: {}\n         {help}", p.name, p.message),
                    None => format!("parameter {}: {}", p.name, p.message),
                })
                .collect();
            let name = loaded.books.first().map_or("PLAYBOOK", |b| &b.playbook.name.value);
            CliError::usage(lines.join("\n       ")).hint(format!("its parameters: `runbook show {name}`"))
        }
        CompileError::UnknownEnvironment { ref known, .. } => {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            CliError::usage(error.to_string()).hint(format!("environments: {known}"))
        }
        CompileError::UnknownVariant { ref known, .. } => {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            CliError::usage(error.to_string()).hint(format!("variants: {known}"))
        }
        CompileError::GuardedDrill(_) => CliError::refused(error.to_string()),
        _ => CliError::usage(error.to_string()),
    }
}

/// Writes to stdout; a reader that has gone is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

fn print_bytes(text: &[u8]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::io("stdout", &e)),
        _ => Ok(()),
    }
}

/// The same for a view that writes itself.
pub fn print_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), CliError> {
    let mut text = Vec::new();
    write(&mut text).map_err(|e| CliError::io("stdout", &e))?;
    print_bytes(&text)
}

/// JSON for programs, with a newline at the end.
pub fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| CliError::io("stdout", &e.into()))?;
    text.push('\n');
    print(&text)
}
