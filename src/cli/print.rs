//! `runbook print`: a checklist for paper. Looking changes nothing.

use crate::plan::Plan;
use crate::playbook::ast::Config;
use crate::playbook::source::Text;
use crate::report::{About, Checklist, Look};
use crate::runner::wall_now;

use super::args::{Print, PrintFormat};
use super::browse::compile_to_look;
use super::context::{Context, print as say};
use super::error::CliError;

pub fn print(context: &Context, args: &Print) -> Result<u8, CliError> {
    let loaded = context.load(&args.playbook)?;
    let plan = compile_to_look(context, &loaded, Some(&args.values))?;
    let playbook = loaded.books.first().map(|book| &book.playbook);
    let reviewed = playbook.and_then(|p| p.reviewed.as_ref()).map(|date| date.value);
    let every = playbook.and_then(|p| p.review_every.as_ref()).map(|every| every.value);
    let due = reviewed
        .zip(every)
        .and_then(|(date, every)| date.checked_add_days(chrono::Days::new(every.0 / (24 * 3_600_000))));
    let config = context.library.config().map(|file| &file.config);
    let about = About {
        hash: Plan::hash(&plan.to_json()),
        date: format!("{} UTC", wall_now().human()),
        reviewed: reviewed.map(|date| date.to_string()),
        review_due: due.map(|date| date.to_string()),
        responsibilities: config.map(responsibilities).unwrap_or_default(),
        contacts: config.map(contacts).unwrap_or_default(),
    };
    let sheet = Checklist::of(&plan, &about);
    say(&match args.format {
        PrintFormat::Text => sheet.to_text(Look { color: false, ..context.look }),
        PrintFormat::Md => sheet.to_markdown(),
        PrintFormat::Html => sheet.to_html(),
    })?;
    Ok(0)
}

fn responsibilities(config: &Config) -> Vec<(String, Vec<String>)> {
    let values = |texts: &[Text]| texts.iter().map(|t| t.value.clone()).collect();
    config.responsibilities.iter().map(|(role, tasks)| (role.value.clone(), values(tasks))).collect()
}

fn contacts(config: &Config) -> Vec<(String, String)> {
    config.contacts.iter().map(|(name, how)| (name.value.clone(), how.value.clone())).collect()
}
