//! `runbook drill`: builds a world, breaks it, runs the playbook for real, asserts, and takes the world down.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::drill::{DrillError, DrillRequest, Ended, Fault, Verdict, enter, free_port, hides, run};
use crate::model::exit_code;
use crate::plan::{DrillPlace, compile_drill};
use crate::playbook::load::Loaded;
use crate::report::look::{Look, Tone};
use crate::report::{Live, Plain, Reporter};
use crate::runner::{Identity, People, Script, load, wall_now};

use super::args::Drill;
use super::context::{Context, print, refused};
use super::error::CliError;
use super::run::{program, reporters, write_report};

pub fn drill(context: &Context, args: &Drill) -> Result<u8, CliError> {
    // What cannot be read is no drill, and none of several is begun.
    for fault in &args.fault {
        Fault::parse(fault).map_err(CliError::usage)?;
    }
    let loaded = context.load(&args.playbook)?;
    let section = loaded.books.first().and_then(|book| book.playbook.drill.as_ref());
    let isolated = section.is_some_and(|drill| drill.isolated);
    let names = section.map(|drill| drill.variants.iter().map(|v| v.name.value.as_str()).collect::<Vec<_>>());
    let chosen: Vec<Option<&str>> = match (&args.variant, names.unwrap_or_default()) {
        (Some(variant), _) => vec![Some(variant)],
        (None, names) if names.is_empty() => vec![None],
        (None, names) => names.into_iter().map(Some).collect(),
    };
    if args.dir.is_some() && chosen.len() > 1 {
        return Err(CliError::usage("--dir is one folder, and this playbook has several drills")
            .hint("name one of them with --variant"));
    }
    // The first that did not pass is what all of them came to.
    let mut code = 0;
    for variant in chosen {
        let world = World::place(context, args)?;
        let one = if isolated && !args.inside {
            within(context, args, variant, &world)?
        } else {
            here(context, args, &loaded, variant, world)?
        };
        code = if code == 0 { one } else { code };
        if code == exit_code::CANCELLED {
            break;
        }
    }
    Ok(code)
}

/// Has another process drill, in namespaces of its own.
fn within(context: &Context, args: &Drill, variant: Option<&str>, world: &World) -> Result<u8, CliError> {
    let program = program()?;
    let paths = [Some(world.dir.as_path()), context.state_path(), Some(&context.cwd), Some(&program)];
    for path in paths.into_iter().flatten() {
        if let Some(own) = hides(path) {
            let message = format!("{} is not to be seen in a drill with a {own} of its own", path.display());
            return Err(CliError::refused(message).hint("move it, or name another folder"));
        }
    }
    let mut arguments: Vec<OsString> = Vec::new();
    if let Some(state) = context.state_path() {
        arguments.extend(["--state".into(), state.into()]);
    }
    arguments.extend(["drill".into(), "--inside".into(), "--dir".into(), world.dir.clone().into()]);
    arguments.extend(args.ask.then(|| "--ask".into()));
    arguments.extend(args.keep.then(|| "--keep".into()));
    for fault in &args.fault {
        arguments.extend(["--fault".into(), fault.into()]);
    }
    if let Some(variant) = variant {
        arguments.extend(["--variant".into(), variant.into()]);
    }
    arguments.extend(["--".into(), args.playbook.clone().into()]);
    let ended = enter(&program, arguments).map_err(|e| CliError::io("the drill's own process", &e))?;
    if !args.keep {
        world.remove();
    }
    match ended {
        Ended::Code(code) => Ok(code),
        Ended::Killed => {
            Err(CliError::usage("the drill was killed; nothing of its world is left").code(exit_code::FAILED))
        }
        Ended::NotMade => Err(CliError::refused("this drill runs in namespaces of its own, or not at all")
            .hint("run it as root, or where users may make namespaces")),
    }
}

/// Drills in this process.
fn here(
    context: &Context,
    args: &Drill,
    loaded: &Loaded,
    variant: Option<&str>,
    mut world: World,
) -> Result<u8, CliError> {
    let faults = args.fault.iter().map(|f| Fault::parse(f));
    let faults = faults.collect::<Result<Vec<_>, _>>().map_err(CliError::usage)?;
    world.make()?;
    if let Some(title) = variant.and_then(|name| title_of(loaded, name)) {
        // A closed pipe is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{}", headed(context.look, &title));
    }
    let port = free_port().map_err(|e| CliError::io("the drill's port", &e))?;
    let place = DrillPlace { dir: world.dir.clone(), port, run: None };
    let plans = compile_drill(loaded, &context.request(None, &[]), &place, variant)
        .map_err(|e| refused(e, loaded))?;
    let state_dir = context.state_dir()?;
    let records = records(state_dir.path(), &plans.playbook.playbook.name, variant)?;

    let text = loaded.sources.files.first().map(|f| f.text.clone()).unwrap_or_default();
    let playbook = Cell::new(false);
    let report = run(DrillRequest {
        plans,
        variant,
        isolated: args.inside,
        playbook_text: &text,
        faults,
        state_dir: &state_dir,
        records: &records,
        identity: Identity::current(),
        people: args.ask.then(|| People {
            here: context.interactive && context.draws,
            waits: true,
            script: Script::default(),
        }),
        program: program()?,
        announce: &mut |stage| {
            playbook.set(stage == "playbook");
            // A closed pipe is no reason to stop.
            let _ = writeln!(std::io::stdout(), "{}", heading(context.look, stage));
        },
        reporters: &mut |run, _| {
            if playbook.get() { reporters(context, false, run) } else { stage_reporters(context) }
        },
    })
    .map_err(error)?;

    let mut closing = report.to_text();
    if let Some(run) = &report.run {
        match write_report(&load(&state_dir, run)?) {
            Ok(path) => closing.push_str(&format!("  report   {}\n", path.display())),
            Err(error) => tracing::warn!("no report: {error}"),
        }
    }
    closing.push_str(&format!("  drill    {}\n", records.join("drill.json").display()));
    if args.keep {
        closing.push_str(&format!("  world    {}\n", world.dir.display()));
        world.keep();
    }
    print(&closing)?;
    Ok(match report.verdict {
        Verdict::Passed => 0,
        Verdict::Cancelled => exit_code::CANCELLED,
        Verdict::Failed | Verdict::Void => exit_code::FAILED,
    })
}

/// What the drill with this name is called.
fn title_of(loaded: &Loaded, variant: &str) -> Option<String> {
    let drill = loaded.books.first()?.playbook.drill.as_ref()?;
    let variant = drill.variants.iter().find(|v| v.name.value == variant)?;
    Some(variant.title.as_ref().unwrap_or(&variant.name).value.clone())
}

/// What a stage is for, in the reader's words.
fn heading(look: Look, stage: &str) -> String {
    let text = match stage {
        "world" => "build a world",
        "inject" => "break it",
        "symptom" => "see the symptom",
        "playbook" => "carry out the playbook",
        "proof" => "look at what became of it",
        "teardown" => "take the world down",
        other => other,
    };
    headed(look, text)
}

fn headed(look: Look, text: &str) -> String {
    let dash = if look.unicode { "──" } else { "--" };
    format!("{dash} {}", look.paint(Tone::Bold, text))
}

/// The views of a stage around the playbook: its heading stands above it already.
fn stage_reporters(context: &Context) -> Vec<Box<dyn Reporter>> {
    if context.draws {
        vec![Box::new(Live::stdout(context.look).untitled())]
    } else {
        vec![Box::new(Plain::new(std::io::stdout(), context.look).untitled())]
    }
}

fn error(error: DrillError) -> CliError {
    match error {
        DrillError::Run(error) => error.into(),
        DrillError::State(error) => error.into(),
        DrillError::Fault(why) => CliError::usage(why),
        DrillError::Io { what, error } => CliError::io(what, &error),
    }
}

/// A fresh folder for what is recorded of one drill. Process numbers repeat in namespaces, so chance tells them apart.
fn records(state: &Path, playbook: &str, variant: Option<&str>) -> Result<PathBuf, CliError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(|e| CliError::io("random bytes", &std::io::Error::other(e.to_string())))?;
    let name = variant.map_or_else(|| playbook.to_owned(), |variant| format!("{playbook}-{variant}"));
    let chance = format!("{:08x}", u32::from_le_bytes(random));
    let records = state.join("drills").join(format!("{name}-{}-{chance}", wall_now().compact()));
    make_private(&records)?;
    Ok(records)
}

/// The folder of the drill's world, removed with it.
struct World {
    dir: PathBuf,
    /// Whether this process has made it, and removes it.
    own: bool,
}

impl World {
    /// Where it will be.
    fn place(context: &Context, args: &Drill) -> Result<Self, CliError> {
        let dir = match &args.dir {
            Some(dir) => context.cwd.join(dir),
            None => {
                std::env::temp_dir().join(format!("runbook-drill-{}-{}", std::process::id(), wall_now().0))
            }
        };
        if std::fs::symlink_metadata(&dir).is_ok() {
            return Err(CliError::refused(format!("{} is there already", dir.display()))
                .hint("a drill builds its world in a fresh folder"));
        }
        Ok(Self { dir, own: false })
    }

    fn make(&mut self) -> Result<(), CliError> {
        make_private(&self.dir)?;
        self.own = true;
        Ok(())
    }

    fn keep(mut self) {
        self.own = false;
    }

    fn remove(&self) {
        match std::fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("{} was not removed: {error}", self.dir.display());
            }
            _ => {}
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.own {
            self.remove();
        }
    }
}

fn make_private(dir: &Path) -> Result<(), CliError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| CliError::io(dir.display(), &e))
}
