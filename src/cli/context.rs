//! Where the person stands: folders, configuration, what the terminal can show.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::journal::StateDir;
use crate::model::RunId;
use crate::plan::{CompileError, Plan, Request};
use crate::playbook::diagnostic;
use crate::playbook::load::{Library, LoadError, Loaded};
use crate::report::Look;
use crate::runner::{LoadedRun, load};

use super::args::{Args, Values};
use super::error::CliError;

/// The largest parameters file, in bytes.
const LARGEST_PARAMS: u64 = 1 << 20;

pub struct Context {
    state: PathBuf,
    pub cwd: PathBuf,
    pub library: Library,
    /// Of stdout.
    pub look: Look,
    /// Whether a person sits at both ends.
    pub interactive: bool,
}

impl Context {
    pub fn new(args: &Args) -> Result<Self, CliError> {
        let cwd = std::env::current_dir()
            .map_err(|e| CliError::io("the working folder", &e).hint("change to a folder that exists"))?;
        let library = Library::discover(&cwd, config_home().as_deref()).map_err(broken)?;
        let state = args
            .state
            .clone()
            .map(|state| cwd.join(state))
            .or_else(|| library.state())
            .or_else(default_state)
            .ok_or_else(|| {
                CliError::usage("there is no folder for the state: HOME is not set")
                    .hint("name one with --state FOLDER or RUNBOOK_STATE")
            })?;
        let terminal = std::io::stdout().is_terminal();
        let interactive = terminal && std::io::stdin().is_terminal();
        Ok(Self { state, cwd, library, look: look(terminal), interactive })
    }

    /// The state folder, made if it is not there.
    pub fn state_dir(&self) -> Result<StateDir, CliError> {
        Ok(StateDir::open_or_create(&self.state)?)
    }

    /// The state folder for those who only look.
    pub fn existing_state(&self) -> Result<StateDir, CliError> {
        StateDir::open(&self.state)?.ok_or_else(|| {
            CliError::usage(format!("there is no run yet in {}", self.state.display()))
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
        let path = self.library.find(playbook).map_err(|e| {
            CliError::usage(e.to_string()).hint("see `runbook list`, or give a path")
        })?;
        self.library.load(&path).map_err(broken)
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
            shared: self.library.environments(),
            shared_folder: self.library.config_folder().unwrap_or(&self.cwd),
            root: None,
        }
    }

    pub fn params(&self, values: &Values) -> Result<Vec<(String, Value)>, CliError> {
        let mut params = match &values.params_file {
            Some(file) => read_params(file)?,
            None => Vec::new(),
        };
        for param in &values.params {
            let Some((name, value)) = param.split_once('=') else {
                return Err(CliError::usage(format!("-p {param}: there is no `=`"))
                    .hint("write -p name=value"));
            };
            params.push((name.to_owned(), Value::from(value)));
        }
        Ok(params)
    }
}

fn config_home() -> Option<PathBuf> {
    user_folder("XDG_CONFIG_HOME", ".config")
}

fn default_state() -> Option<PathBuf> {
    user_folder("XDG_STATE_HOME", ".local/state")
}

/// By the XDG Base Directory Specification, which also says that a relative path there is to be ignored.
fn user_folder(variable: &str, fallback: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        Some(home?.join(fallback))
    };
    Some(given.or_else(home)?.join("runbook"))
}

fn look(terminal: bool) -> Look {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|n| set(n)).map(|n| {
        std::env::var(n).unwrap_or_default().to_ascii_lowercase()
    });
    // Files and pipes are read by programs and people of today; only an old terminal is spared.
    let unicode = !terminal || locale.is_some_and(|l| l.contains("utf-8") || l.contains("utf8"));
    let width = terminal.then(|| usize::from(console::Term::stdout().size().1));
    Look { color: terminal && !dumb && !set("NO_COLOR"), unicode, width }
}

/// Parameters as a map in YAML, of which JSON is a part.
fn read_params(file: &Path) -> Result<Vec<(String, Value)>, CliError> {
    let problem = |e: std::io::Error| CliError::io(file.display(), &e);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(problem)?;
    opened.take(LARGEST_PARAMS + 1).read_to_end(&mut bytes).map_err(problem)?;
    if bytes.len() as u64 > LARGEST_PARAMS {
        return Err(CliError::usage(format!("{} is larger than 1 MiB", file.display())));
    }
    crate::playbook::load::read_params(file, bytes).map_err(broken)
}

/// A file that does not say what it should.
pub fn broken(error: LoadError) -> CliError {
    let look = look(std::io::stderr().is_terminal());
    CliError::verbatim(diagnostic::render(&error.diagnostics, &error.sources, diagnostic_look(look)))
}

pub fn diagnostic_look(look: Look) -> diagnostic::Look {
    diagnostic::Look { color: look.color, unicode: look.unicode, width: look.width.unwrap_or(140) }
}

/// A playbook that cannot be compiled with these values.
pub fn refused(error: CompileError, loaded: &Loaded) -> CliError {
    match error {
        CompileError::Diagnostics(diagnostics) => {
            broken(LoadError { diagnostics, sources: loaded.sources.clone() })
        }
        CompileError::Params(problems) => {
            let lines: Vec<String> = problems
                .iter()
                .map(|p| match &p.help {
                    Some(help) => format!("parameter {}: {} ({help})", p.name, p.message),
                    None => format!("parameter {}: {}", p.name, p.message),
                })
                .collect();
            CliError::usage(lines.join("\n       ")).hint("give parameters with -p name=value")
        }
        CompileError::UnknownEnvironment { ref known, .. } => {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            CliError::usage(error.to_string()).hint(format!("environments: {known}"))
        }
        CompileError::GuardedDrill(_) => CliError::refused(error.to_string()),
        _ => CliError::usage(error.to_string()),
    }
}

/// Writes to stdout; a reader that has gone is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::io("stdout", &e)),
        _ => Ok(()),
    }
}

/// The same for a view that writes itself.
pub fn print_with(
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), CliError> {
    let mut text = Vec::new();
    write(&mut text).map_err(|e| CliError::io("stdout", &e))?;
    print(&String::from_utf8_lossy(&text))
}

/// JSON for programs, with a newline at the end.
pub fn print_json<T: serde::Serialize>(value: &T) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| CliError::io("stdout", &e.into()))?;
    text.push('\n');
    print(&text)
}
