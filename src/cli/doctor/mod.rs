//! `runbook doctor`: whether what a run needs is there. It looks, and changes nothing.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Channel, SecretName, exit_code, parse_duration};
use crate::plan::{self, DrillPlace, Plan, SecretSource, compile_drill};
use crate::playbook::load::Loaded;
use crate::preflight::{self, Checks, Finding, StatePlace, Verdict};
use crate::report::neutral;
use crate::runner::{Identity, wall_now};

use super::args::Doctor;
use super::browse::compile_to_look;
use super::context::{Context, print, print_json};
use super::error::CliError;

/// What one check may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The shape of `--json`.
#[derive(Serialize)]
struct Examination {
    version: u32,
    playbook: Option<String>,
    /// Of the plan that a run would have; none if parameters are still to be given.
    plan_hash: Option<String>,
    environment: Option<String>,
    /// Required, and not given.
    missing_params: Vec<String>,
    ready: bool,
    verdict: Verdict,
    checks: Vec<Finding>,
}

pub fn doctor(context: &Context, args: &Doctor) -> Result<u8, CliError> {
    let limit = args.timeout.as_deref().map(limit).transpose()?.unwrap_or(LIMIT);
    let loaded = args.playbook.as_deref().map(|playbook| context.load(playbook)).transpose()?;
    if loaded.is_none() && args.values.are_given() {
        return Err(CliError::usage("parameters and --env are of a playbook, and none is named")
            .hint("runbook doctor PLAYBOOK"));
    }
    let plan = loaded.as_ref().map(|l| compile_to_look(context, l, Some(&args.values))).transpose()?;
    let mut checks = examine(context, args, loaded.as_ref(), plan.as_ref(), limit)?;
    for finding in &mut checks {
        let texts = [&mut finding.name, &mut finding.wanted, &mut finding.found];
        for text in texts.into_iter().chain(&mut finding.mend) {
            *text = neutral::line(&*text);
        }
    }
    let verdict = checks.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok);
    let missing_params = plan.as_ref().map(missing_params).unwrap_or_default();
    let examination = Examination {
        version: 1,
        playbook: plan.as_ref().map(|plan| plan.playbook.name.clone()),
        plan_hash: plan
            .as_ref()
            .filter(|_| missing_params.is_empty())
            .map(|plan| Plan::hash(&plan.to_json())),
        environment: plan.as_ref().and_then(|plan| Some(plan.environment.as_ref()?.name.clone())),
        missing_params,
        ready: verdict != Verdict::Missing,
        verdict,
        checks,
    };
    if args.json {
        print_json(&examination)?;
    } else {
        print(&table::text(&examination, context.look))?;
    }
    Ok(match verdict {
        Verdict::Missing => exit_code::REFUSED,
        Verdict::Warn if args.strict => exit_code::REFUSED,
        _ => 0,
    })
}

fn limit(text: &str) -> Result<Duration, CliError> {
    match parse_duration(text) {
        Ok(limit) if limit.0 > 0 => Ok(limit.std()),
        Ok(_) => Err(CliError::usage(format!("--timeout {text}: nothing can be looked at in no time"))),
        Err(why) => Err(CliError::usage(format!("--timeout {text}: {why}"))),
    }
}

/// Everything, in the order in which it is shown.
fn examine(
    context: &Context,
    args: &Doctor,
    loaded: Option<&Loaded>,
    plan: Option<&Plan>,
    limit: Duration,
) -> Result<Vec<Finding>, CliError> {
    let by_command = !args.no_secrets;
    let (channels, needed, apart) = told(context, plan);
    let (mut findings, values) = preflight::secrets(&needed, &apart, limit, by_command);

    let mut checks = Checks::new(limit);
    if let Some(plan) = plan {
        preflight::requires(&mut checks, plan, false);
        preflight::used_commands(&mut checks, plan);
        preflight::used_hosts(&mut checks, plan);
    } else {
        let shared = shared(context);
        preflight::shared_hosts(&mut checks, &plan::shared_hosts(&shared), &shared.shared.folder);
    }
    let sources: Vec<_> = needed.into_iter().chain(apart).collect();
    preflight::channels(&mut checks, &channels, &sources, &values, by_command);
    drop(values);
    match plan {
        Some(plan) => preflight::questions(&mut checks, plan, &Identity::current().operator),
        None => preflight::roles(&mut checks, &shared_roles(context)),
    }
    let state = context.state()?.to_owned();
    let lock = plan.filter(|plan| missing_params(plan).is_empty()).map(|plan| plan.lock.clone());
    preflight::state(&mut checks, StatePlace { path: state, lock, now: wall_now() });
    findings.extend(checks.run());

    if let (Some(loaded), Some(plan)) = (loaded, plan) {
        findings.extend(last_green(context, loaded, plan, limit));
    }
    findings.sort_by_key(|finding| finding.kind);
    Ok(findings)
}

/// Of each of the playbook's drills.
fn last_green(context: &Context, loaded: &Loaded, plan: &Plan, limit: Duration) -> Vec<Finding> {
    let Some(drill) = loaded.books.first().and_then(|book| book.playbook.drill.as_ref()) else {
        return vec![preflight::no_drill()];
    };
    let Some(state) = context.state_path() else { return Vec::new() };
    let name = &plan.playbook.name;
    let records = preflight::drills(state.to_owned(), name, limit);
    let mut variants: Vec<Option<&str>> =
        drill.variants.iter().map(|v| Some(v.name.value.as_str())).collect();
    if variants.is_empty() {
        variants.push(None);
    }
    let judge = |variant: Option<&str>| {
        let compile = |place: &DrillPlace| {
            let plans = compile_drill(loaded, &context.request(None, &[]), place, variant).ok();
            plans.map(|plans| plans.playbook)
        };
        preflight::judge_drills(&records, wall_now(), &compile, name, variant)
    };
    variants.into_iter().map(judge).collect()
}

type Sources = Vec<(SecretName, SecretSource)>;

/// The channels, the secrets that a run needs and those that only channels do. Without a playbook: what is shared.
fn told(context: &Context, plan: Option<&Plan>) -> (Vec<Channel>, Sources, Sources) {
    match plan {
        Some(plan) => (plan.channels.clone(), plan.secrets.clone(), plan.channel_secrets.clone()),
        None => {
            let (channels, secrets) = plan::channels(&shared(context), &context.cwd);
            (channels, Vec::new(), secrets)
        }
    }
}

fn shared(context: &Context) -> Loaded {
    Loaded { shared: context.library.shared(), ..Loaded::default() }
}

fn shared_roles(context: &Context) -> BTreeMap<String, Vec<String>> {
    let roles = context.library.config().map_or(&[][..], |file| &file.config.roles).iter();
    roles
        .map(|(name, people)| (name.value.clone(), people.iter().map(|p| p.value.clone()).collect()))
        .collect()
}

/// In a plan for the eye they stand by name.
fn missing_params(plan: &Plan) -> Vec<String> {
    let params = plan.scopes.first().map(|scope| &scope.params).into_iter().flatten();
    let missing = params.filter(|(name, value)| value.as_str() == Some(format!("‹{name}›").as_str()));
    missing.map(|(name, _)| name.clone()).collect()
}
