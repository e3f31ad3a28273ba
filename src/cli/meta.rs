//! `runbook schema`, `completions`, `man`: what follows from the code.

use clap::CommandFactory;

use crate::playbook::format;

use super::args::{Args, Completions, Man, Schema, SchemaKind};
use super::context::{Context, print};
use super::error::CliError;

pub fn schema(_: &Context, args: &Schema) -> Result<u8, CliError> {
    let text = match args.kind {
        SchemaKind::Playbook => format::playbook_schema(),
        SchemaKind::Config => format::config_schema(),
        SchemaKind::Reference => format::reference_markdown(),
    };
    print(&text)?;
    Ok(0)
}

pub fn completions(args: &Completions) -> Result<u8, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "runbook", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

pub fn man(args: &Man) -> Result<u8, CliError> {
    let problem = |e: std::io::Error| CliError::io("the manual", &e);
    match &args.dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(problem)?;
            clap_mangen::generate_to(Args::command(), dir).map_err(problem)?;
            print(&format!("written to {}\n", dir.display()))?;
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut text).map_err(problem)?;
            print(&String::from_utf8_lossy(&text))?;
        }
    }
    Ok(0)
}
