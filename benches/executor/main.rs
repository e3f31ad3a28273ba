//! Measures the built program against a bare loop and against the peers that are installed, whole processes in turn.
//!
//! `cargo bench --bench executor` prints the table; `-- --write` also puts it into `docs/performance.md`. Every figure is
//! the median of interleaved rounds in one run, and every target is a ratio to the floor of the same run, so that a
//! slower machine or a busy one does not change the verdict.

mod floor;
mod machine;
mod page;
mod peers;
mod process;
mod samples;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use samples::Samples;
use work::Work;

pub type Failure = Box<dyn std::error::Error>;

/// What the command line asks for.
struct Options {
    rounds: usize,
    /// MiB of output that one command writes.
    output_mib: usize,
    write: bool,
    /// Only the cases whose name contains this.
    only: String,
}

fn main() -> ExitCode {
    match options().and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, Failure> {
    let mut options = Options { rounds: 5, output_mib: 200, write: false, only: String::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--write" => options.write = true,
            "--rounds" => options.rounds = value()?.parse()?,
            "--output-mib" => options.output_mib = value()?.parse()?,
            "--only" => options.only = value()?,
            _ => {
                return Err(format!(
                    "{argument}: known are --rounds N, --output-mib N, --only NAME and --write"
                )
                .into());
            }
        }
    }
    Ok(options)
}

fn measure(options: &Options) -> Result<(), Failure> {
    // Below the build's folder: the floor's file and the program's state lie on one file system.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("executor-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = Work::prepare(&folder, options.output_mib).and_then(|work| {
        let mut samples = Samples::new(&options.only);
        for round in 1..=options.rounds {
            eprintln!("round {round} of {}", options.rounds);
            one_round(&work, &mut samples)?;
        }
        work.long_run(&mut samples, options.rounds)?;
        let table = page::table(&samples, &work);
        println!("{table}");
        if options.write {
            page::write(&table)?;
        }
        Ok(())
    });
    // What is left behind is below the build's folder.
    let _ = std::fs::remove_dir_all(&folder);
    result
}

/// Each case once, the floor beside what is compared with it.
fn one_round(work: &Work, samples: &mut Samples) -> Result<(), Failure> {
    let ledger = work.folder.join("floor.log");
    samples.take("version.floor", || floor::spawns(20))?;
    samples.take("version.runbook", || work.version(20))?;
    samples.take("one.floor", || floor::chain(&ledger, 1))?;
    samples.take("one.runbook", || work.run("one"))?;
    samples.take("chain.floor", || floor::chain(&ledger, work::STEPS))?;
    samples.take("chain.runbook", || work.run("chain"))?;
    for peer in &work.peers {
        samples.take(peer.chain_name(), || peer.run(&work.folder))?;
    }
    samples.take("wide.floor", || floor::wide(&ledger, work::STEPS, work::WIDTH))?;
    samples.take("wide.runbook", || work.run("wide"))?;
    for what in ["plan", "lint"] {
        work.look(what, samples)?;
    }
    samples.take("output.floor", || floor::copy(&work.text, &work.folder.join("copy")))?;
    samples.take("output.runbook", || work.run("output"))?;
    Ok(())
}
