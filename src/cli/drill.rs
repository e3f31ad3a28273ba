//! `runbook drill`: builds a world, breaks it, runs the playbook for real, asserts, and takes the world down.

use std::cell::Cell;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::drill::{DrillError, DrillRequest, Fault, Verdict, free_port, run};
use crate::plan::{DrillPlace, compile_drill};
use crate::report::look::{Look, Tone};
use crate::report::{Live, Plain, Reporter};
use crate::runner::{Identity, People, Script, load, wall_now};

use super::args::Drill;
use super::context::{Context, print, refused};
use super::error::CliError;
use super::run::{program, reporters, write_report};

pub fn drill(context: &Context, args: &Drill) -> Result<u8, CliError> {
    let faults = args.fault.iter().map(|f| Fault::parse(f));
    let faults = faults.collect::<Result<Vec<_>, _>>().map_err(CliError::usage)?;
    let loaded = context.load(&args.playbook)?;
    let world = World::new(context, args)?;
    let port = free_port().map_err(|e| CliError::io("the drill's port", &e))?;
    let place = DrillPlace { dir: world.dir.clone(), port };
    let plans =
        compile_drill(&loaded, &context.request(None, &[]), &place).map_err(|e| refused(e, &loaded))?;
    let state_dir = context.state_dir()?;
    let stamp = format!("{}-{}", plans.playbook.playbook.name, wall_now().compact());
    let records = state_dir.path().join("drills").join(format!("{stamp}-{}", std::process::id()));
    make_private(&records)?;

    let text = loaded.sources.files.first().map(|f| f.text.clone()).unwrap_or_default();
    let playbook = Cell::new(false);
    let report = run(DrillRequest {
        plans,
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
        Verdict::Cancelled => 130,
        Verdict::Failed | Verdict::Void => 1,
    })
}

/// What a stage is for, in the reader's words.
fn heading(look: Look, stage: &str) -> String {
    let text = match stage {
        "world" => "build a world",
        "inject" => "break it",
        "symptom" => "see the symptom",
        "playbook" => "carry out the playbook",
        "teardown" => "take the world down",
        other => other,
    };
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

/// The folder of the drill's world, removed with it.
struct World {
    dir: PathBuf,
    keep: bool,
}

impl World {
    fn new(context: &Context, args: &Drill) -> Result<Self, CliError> {
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
        make_private(&dir)?;
        Ok(Self { dir, keep: false })
    }

    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            tracing::warn!("{} was not removed: {error}", self.dir.display());
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
