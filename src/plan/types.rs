//! The plan: the resolved, immutable form of a playbook that a run carries out and that `plan.json` holds.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::foreach::ForEach;
use super::params::ParamSpec;
use super::requires::Requires;
use super::tell::{Level, Tell, Updates};
use crate::model::{Channel, Host, IncidentStatus, Millis, OnTimeout, Reach, SecretName, StepId, Want};

/// The version of `plan.json`.
///
/// What a step does not have is not written; a plan that says so (`"undo":null`) means the same.
pub const PLAN_FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub format: u32,
    pub playbook: Meta,
    pub environment: Option<Environment>,
    pub objectives: Objectives,
    /// Accounts by role, those of `runbook.yaml` too; the first of each is the primary.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    pub secrets: Vec<(SecretName, SecretSource)>,
    /// Where word of the run can be sent; each name once. Their paths are absolute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// Secrets that only channels read. One that cannot be had costs its channel, never the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channel_secrets: Vec<(SecretName, SecretSource)>,
    /// The lowest level first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// Where commands can run besides this machine, as it stood when the plan was made: those that it may need.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Reach>,
    /// How long it may take until a host answers, for those of them of which the playbook says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connect_timeouts: BTreeMap<String, Millis>,
    /// Hosts by group: those groups that some text reads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Vec<String>>,
    pub requires: Requires,
    pub max_parallel: usize,
    /// One open run at a time for the same key.
    pub lock: String,
    /// Absolute: relative paths of the playbook count from here.
    pub root: PathBuf,
    /// Scope 0 is the playbook itself; each `playbook:` step has one more.
    pub scopes: Vec<Scope>,
    pub phases: Vec<Phase>,
    /// In the order typed, groups before what is inside them.
    pub steps: Vec<Step>,
    /// In a drill.
    pub drill: Option<DrillPlace>,
    #[serde(skip)]
    pub index: StepIndex,
}

/// Where a drill's world is built: what `drill.dir`, `drill.port` and `drill.run` stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrillPlace {
    /// Absolute.
    pub dir: PathBuf,
    /// A TCP port of the loopback that is free for the world's main service.
    pub port: u16,
    /// The folder of the playbook's run. Only in the plan that proves what became of the world.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<PathBuf>,
}

/// An index into [`Plan::steps`].
pub type StepIx = usize;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    pub name: String,
    pub title: String,
    pub description: Option<String>,
    pub severity: Option<String>,
    pub owner: Option<String>,
    pub symptoms: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    pub name: String,
    /// Its name must be typed to start, and no drill runs against it.
    pub confirm: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    pub rto: Option<Millis>,
    pub rpo: Option<Millis>,
    pub data_as_of: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretSource {
    Env(String),
    /// Absolute.
    File(PathBuf),
    Command(Vec<String>),
}

/// The names a group of steps sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The `playbook:` step this scope belongs to; none for the playbook itself.
    pub group: Option<StepIx>,
    /// What is known before the first step.
    pub params: BTreeMap<String, Value>,
    /// Parameters of an included playbook that are known only when its step starts. Rendered in the scope of `group`,
    /// then checked.
    pub late: Vec<LateParam>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateParam {
    pub spec: ParamSpec,
    pub value: Template,
}

/// Text with `{{ }}` and the steps it reads. The source is normalised: `steps.stop-app` stands as `steps["stop-app"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub src: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Use>,
}

/// An expression without braces, and the steps it reads. Normalised like [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expr {
    pub src: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<Use>,
}

/// A step that a text reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// As written: `stop-app` in `steps.stop-app.outcome`.
    pub name: String,
    pub step: StepIx,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    pub id: String,
    pub title: String,
    pub deadline: Option<Millis>,
    /// What updates call it.
    #[serde(default, skip_serializing_if = "IncidentStatus::is_default")]
    pub status: IncidentStatus,
    /// The steps directly in the phase (not those inside groups).
    pub steps: Vec<StepIx>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub id: StepId,
    pub title: String,
    pub scope: usize,
    pub phase: usize,
    /// The group this step is inside of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<StepIx>,
    /// Steps of the same group (or of the phase) that must be over before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepIx>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Expr>,
    /// Boxed, as what few steps have: a plan may have ten thousand of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Box<Check>>,
    /// Asked before the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Ask>>,
    pub body: Body,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expr>,
    /// For a `playbook:` step, evaluated in the scope of the included playbook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<(String, Expr)>,
    #[serde(default = "Retry::never", skip_serializing_if = "Retry::is_never")]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<Check>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Box<Undo>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub irreversible: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Box<Check>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    pub on_failure: OnFailure,
    /// The level that its failure raises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destructive: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// A later expression reads `steps.<id>.result`, so it is kept in the journal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_result: bool,
    /// What it is done for, inside of a `foreach`: what `item` means in its texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    Command(Command),
    Wait(Millis),
    /// Alternatives in order until one succeeds.
    AnyOf(Vec<StepIx>),
    /// The steps of another playbook; `scope` is theirs.
    Playbook {
        scope: usize,
        steps: Vec<StepIx>,
    },
    /// The same for each item of a list.
    #[serde(rename = "foreach")]
    ForEach(ForEach),
    /// A person, or the suggestion when nobody answers, picks an option.
    Choose(Box<Choose>),
    /// A person does it.
    Manual(Box<Ask>),
    /// People are told something. Whether they are reached is nothing to wait for.
    Notify(Box<Tell>),
    /// Nothing but `verify`, or an approval.
    Nothing,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub prompt: Template,
    /// Who may answer, roles resolved. Empty: whoever may speak to the run.
    pub approvers: Vec<String>,
    /// How many different people have to agree, at least 1.
    pub count: u32,
    pub exclude_operator: bool,
    pub timeout: Option<Millis>,
    pub on_timeout: OnTimeout,
    pub evidence: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choose {
    pub ask: Ask,
    pub options: Vec<PlannedOption>,
    pub suggest: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOption {
    pub id: String,
    pub title: String,
    /// How long it takes, and what is lost by it: words for people.
    pub eta: Option<String>,
    pub loss: Option<String>,
    pub when: Option<Expr>,
}

/// Something to carry out, with how it is to be carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    pub action: Action,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, Template)>,
    /// Names one host, or [`crate::model::HERE`]. None: this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Template>,
    /// A path; relative ones count from [`Plan::root`], on another host from where its commands start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Template>,
    /// None: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Between TERM and KILL.
    pub grace: Millis,
    /// Which outputs its expressions read.
    #[serde(default, skip_serializing_if = "Want::is_empty")]
    pub want: Want,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    Script {
        shell: Shell,
        script: Template,
    },
    /// One argv, or a pipeline of several.
    Exec(Vec<Vec<Template>>),
    Sql(Box<Sql>),
    Http(Box<Http>),
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    pub database: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Template>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Template>,
    pub query: Template,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub method: String,
    pub url: Template,
    pub headers: Vec<(String, Template)>,
    pub body: Option<HttpBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<Template>,
}

/// Who asks, with the proof of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    Bearer(Template),
    Basic { user: Template, password: Template },
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HttpBody {
    Text(Template),
    /// Every text in it is a template; one that is a single `{{ }}` keeps the value's type.
    Json(JsonTemplate),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JsonTemplate {
    Value(Value),
    Text(Template),
    List(Vec<JsonTemplate>),
    Map(Vec<(String, JsonTemplate)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    Bash,
    Sh,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub title: String,
    pub command: Command,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Millis>,
    pub every: Millis,
    pub required: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Asked before the step is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Box<Ask>>,
    pub command: Command,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expr>,
    #[serde(default = "Retry::never", skip_serializing_if = "Retry::is_never")]
    pub retry: Retry,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// In all, at least 1.
    pub attempts: u32,
    pub delay: Millis,
    pub backoff: f64,
    pub max_delay: Option<Millis>,
    pub jitter: f64,
    pub when: Option<Expr>,
    pub remedies: Vec<(String, Command)>,
}

impl Retry {
    pub fn never() -> Self {
        Self {
            attempts: 1,
            delay: Millis::ZERO,
            backoff: 1.0,
            max_delay: None,
            jitter: 0.0,
            when: None,
            remedies: Vec::new(),
        }
    }

    fn is_never(&self) -> bool {
        *self == Self::never()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    Stop,
    Continue,
    Rollback,
    /// A person says what now.
    Ask,
}

/// Finds steps by id. Derived from the plan, never stored, and the same for equal plans.
#[derive(Debug, Clone, Default)]
pub struct StepIndex(OnceLock<HashMap<StepId, StepIx>>);

impl PartialEq for StepIndex {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Plan {
    /// Whether the account holds any role.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.values().flatten().any(|member| member == name)
    }

    /// The host with this name, and how long it may take until it answers.
    pub fn host(&self, name: &str) -> Option<Host> {
        let (reach, connect_timeout) =
            (self.hosts.get(name)?.clone(), self.connect_timeouts.get(name).copied());
        Some(Host { name: name.to_owned(), reach, connect_timeout })
    }

    /// The step with this full id.
    pub fn find(&self, id: &StepId) -> Option<StepIx> {
        let build = || self.steps.iter().enumerate().map(|(ix, s)| (s.id.clone(), ix)).collect();
        self.index.0.get_or_init(build).get(id).copied()
    }
}
