//! Measures the built program against a bare loop and against the peers that are installed, whole processes in turn.
//!
//! `cargo bench --bench executor` prints the table; `-- --write` also puts it into `docs/performance.md`. Every figure is
//! the median of interleaved rounds in one run, and every target of a time is a ratio to the floor of the same run, so
//! that a slower machine or a busy one does not change the verdict.

mod build;
mod floor;
mod hosts;
mod machine;
mod page;
mod peers;
mod process;
mod samples;
mod waiting;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use hosts::Hosts;
use peers::Peers;
use samples::Samples;
use work::Work;

pub type Failure = Box<dyn std::error::Error>;

/// What takes long or fills the disk is measured at most this often.
const FEW: usize = 3;

/// What the command line asks for.
pub struct Options {
    rounds: usize,
    /// MiB of output that one command writes.
    pub output_mib: usize,
    write: bool,
    /// Also builds the program anew.
    build: bool,
    /// Only the cases whose name contains this.
    only: String,
    /// What is measured; another build of it, for a comparison.
    pub program: PathBuf,
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
    let mut options = Options {
        rounds: 5,
        output_mib: 1024,
        write: false,
        build: false,
        only: String::new(),
        program: env!("CARGO_BIN_EXE_runbook").into(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo adds it.
            "--bench" => {}
            "--write" => options.write = true,
            "--build" => options.build = true,
            "--rounds" => options.rounds = value()?.parse()?,
            "--output-mib" => options.output_mib = value()?.parse()?,
            "--only" => options.only = value()?,
            "--program" => options.program = std::path::absolute(value()?)?,
            _ => {
                return Err(format!(
                    "{argument}: known are --rounds N, --output-mib N, --only NAME, --program PATH, --build, --write"
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
    let result = Work::prepare(&folder, options).and_then(|work| {
        let mut samples = Samples::new(&options.only);
        let mut peers = Peers::find(&folder)?;
        for round in 1..=options.rounds {
            eprintln!("round {round} of {}", options.rounds);
            one_round(&work, &mut samples)?;
            peers.round(&mut samples);
            if round <= FEW {
                work.output(&mut samples)?;
            }
        }
        work.long_run(&mut samples, options.rounds)?;
        waiting::measure(&work, &mut samples)?;
        let absent = by_ssh(&work, &mut samples, options.rounds.min(FEW)).err();
        if options.build {
            build::measure(&mut samples)?;
        }
        let table = page::table(&samples, &work, &peers, absent);
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
    samples.take("one.floor", || floor::chain(&ledger, floor::SHELL, 1))?;
    samples.take("one.runbook", || work.run("one"))?;
    samples.take("chain.floor", || floor::chain(&ledger, floor::SHELL, work::STEPS))?;
    samples.take("chain.runbook", || work.run("chain"))?;
    samples.take("bare.floor", || floor::chain(&ledger, floor::BARE, work::STEPS))?;
    samples.take("bare.runbook", || work.run("bare"))?;
    samples.take("wide.floor", || floor::wide(&ledger, floor::SHELL, work::STEPS, work::WIDTH))?;
    samples.take("wide.runbook", || work.run("wide"))?;
    samples.take("sleeps.floor", || floor::wide(&ledger, floor::SLEEP, work::STEPS, work::STEPS))?;
    samples.take("sleeps.runbook", || work.run("sleeps"))?;
    work.look(samples)
}

/// The same steps on other hosts by the program and by ansible-core. What is missing here is no failure of the rest: it is
/// told in a few words for the table, and in full on stderr.
fn by_ssh(work: &Work, samples: &mut Samples, rounds: usize) -> Result<(), &'static str> {
    if !samples.wants("hosts") {
        return Ok(());
    }
    let told = |words: &'static str| {
        move |error: Failure| {
            eprintln!("hosts: {error}");
            words
        }
    };
    let hosts = Hosts::start(work).map_err(told("no sshd could be started here"))?;
    for round in 1..=rounds {
        eprintln!("{} hosts by ssh, {round} of {rounds}", hosts::HOSTS);
        samples.take("hosts.runbook", || work.run("hosts")).map_err(told("the run failed"))?;
        let seconds = hosts.ansible().ok_or("ansible-core is not installed")?;
        samples.add("hosts.floor", seconds.map_err(told("ansible-core failed"))?);
    }
    Ok(())
}
