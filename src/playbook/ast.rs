//! A playbook as typed: every part with its place, nothing resolved. `plan` turns it into what is run.

use chrono::NaiveDate;
use serde_json::{Number, Value};

use super::source::{Span, Spanned, Text};
use crate::model::{IncidentStatus, Millis, Percentile};

/// A YAML value as typed, for places that take any value (parameters, JSON bodies).
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Span,
    pub kind: NodeKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<(Text, Node)>),
}

impl Node {
    /// The value as JSON; numbers that JSON does not know (`.inf`) become null. The reader has limited the depth.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(b) => Value::Bool(*b),
            NodeKind::Int(i) => Value::from(*i),
            NodeKind::Float(f) => Number::from_f64(*f).map_or(Value::Null, Value::Number),
            NodeKind::Text(text) => Value::String(text.value.clone()),
            NodeKind::List(items) => items.iter().map(Self::to_value).collect(),
            NodeKind::Map(entries) => Value::Object(
                entries.iter().map(|(key, value)| (key.value.clone(), value.to_value())).collect(),
            ),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Playbook {
    pub span: Span,
    pub name: Text,
    pub title: Option<Text>,
    pub description: Option<Text>,
    pub severity: Option<Spanned<Severity>>,
    pub owner: Option<Text>,
    pub reviewed: Option<Spanned<NaiveDate>>,
    pub review_every: Option<Spanned<Millis>>,
    pub symptoms: Vec<Text>,
    pub objectives: Objectives,
    pub params: Vec<Param>,
    pub secrets: Vec<SecretDecl>,
    pub environments: Vec<Environment>,
    pub channels: Vec<Channel>,
    pub escalation: Vec<Level>,
    pub updates: Option<Updates>,
    /// Accounts by role; the first of each is the primary.
    pub roles: Vec<(Text, Vec<Text>)>,
    pub hosts: Vec<HostDecl>,
    pub groups: Vec<(Text, Vec<Text>)>,
    pub requires: Requires,
    pub defaults: Defaults,
    pub max_parallel: Option<Spanned<u32>>,
    /// A template.
    pub lock: Option<Text>,
    pub workdir: Option<Text>,
    /// `steps:` alone is one phase with the id `steps` and no title.
    pub phases: Vec<Phase>,
    pub drill: Option<Drill>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Critical,
    High,
    Medium,
    Low,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Objectives {
    pub rto: Option<Spanned<Millis>>,
    pub rpo: Option<Spanned<Millis>>,
    /// An expression that gives the time the data went back to.
    pub data_as_of: Option<Text>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    String,
    Path,
    Integer,
    Number,
    Boolean,
    Duration,
    Size,
    List,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    pub name: Text,
    pub kind: Spanned<ParamType>,
    pub description: Option<Text>,
    pub required: bool,
    pub default: Option<Node>,
    /// A regular expression; must match the whole value only if anchored.
    pub pattern: Option<Text>,
    pub choices: Vec<Node>,
    pub min: Option<Node>,
    pub max: Option<Node>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SecretDecl {
    pub name: Text,
    pub source: SecretSource,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SecretSource {
    Env(Text),
    File(Text),
    Command(Vec<Text>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    pub name: Text,
    pub kind: ChannelKind,
    pub timeout: Option<Spanned<Millis>>,
    pub retry_for: Option<Spanned<Millis>>,
    pub ca_file: Option<Text>,
}

/// All texts but those of a command's arguments, of addresses and of `smtp` may hold secrets.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelKind {
    Slack { url: Text },
    Pagerduty { routing_key: Text, url: Option<Text> },
    Webhook { url: Text, headers: Vec<(Text, Text)>, sign: Option<Text> },
    Email { smtp: Text, from: Text, to: Vec<Text>, username: Option<Text>, password: Option<Text> },
    Command { argv: Vec<Text>, env: Vec<(Text, Text)> },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    pub name: Text,
    pub params: Vec<(Text, Node)>,
    /// `confirm: name`: the environment's name must be typed to start.
    pub confirm: bool,
}

/// A place where commands run. All texts are templates over `params`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostDecl {
    pub name: Text,
    pub kind: HostKind,
    pub connect_timeout: Option<Spanned<Millis>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum HostKind {
    Ssh {
        to: Text,
        port: Option<Text>,
        user: Option<Text>,
        config: Option<Text>,
        identity: Option<Text>,
        options: Vec<(Text, Text)>,
    },
    Container {
        name: Text,
        engine: Option<Text>,
        user: Option<Text>,
    },
    Kubectl {
        target: Text,
        container: Option<Text>,
        namespace: Option<Text>,
        context: Option<Text>,
    },
    Via(Vec<Text>),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Requires {
    pub commands: Vec<Text>,
    pub versions: Vec<Version>,
    /// Templates over `params`.
    pub files: Vec<Text>,
    pub free_space: Option<FreeSpace>,
    /// Templates over `params`.
    pub free_ports: Vec<Text>,
    /// Templates over `params`.
    pub open_ports: Vec<Text>,
    pub env: Vec<Text>,
    /// Names of hosts or of groups.
    pub hosts: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub command: Text,
    pub at_least: Text,
    /// Empty: the command with `--version`.
    pub ask: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FreeSpace {
    /// A template over `params`.
    pub path: Text,
    pub at_least: Spanned<u64>,
}

/// `None` inside: `timeout: none`.
pub type Timeout = Spanned<Option<Millis>>;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defaults {
    pub timeout: Option<Timeout>,
    pub grace: Option<Spanned<Millis>>,
    pub shell: Option<Spanned<Shell>>,
    pub retry: Option<Retry>,
    pub env: Vec<(Text, Text)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Sh,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    pub id: Text,
    pub title: Option<Text>,
    pub deadline: Option<Spanned<Millis>>,
    pub status: Option<Spanned<IncidentStatus>>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub span: Span,
    pub id: Text,
    pub title: Option<Text>,
    /// Absent for a step that only verifies.
    pub action: Option<Action>,
    pub options: Options,
    pub foreach: Option<Box<ForEach>>,
    pub needs: Option<Vec<Text>>,
    pub when: Option<Text>,
    pub unless: Option<Box<Check>>,
    pub approval: Option<Box<Ask>>,
    pub retry: Option<Box<Retry>>,
    pub expect: Vec<Text>,
    pub outputs: Vec<(Text, Text)>,
    pub verify: Vec<Check>,
    pub undo: Option<Box<Undo>>,
    pub irreversible: Option<Spanned<bool>>,
    pub check: Option<Box<Check>>,
    pub idempotent: Option<Spanned<bool>>,
    pub on_failure: Option<Spanned<OnFailure>>,
    /// The level of the escalation that its failure raises.
    pub escalate: Option<Spanned<u32>>,
    pub destructive: bool,
    pub sensitive: bool,
}

/// The step is done for each item of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// Of the list.
    pub span: Span,
    pub items: Items,
    pub max_parallel: Option<Spanned<u32>>,
    pub on_item_failure: Option<Spanned<OnItemFailure>>,
    pub at_least: Option<Spanned<u32>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// Texts in it are templates.
    List(Vec<Node>),
    Expression(Text),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnItemFailure {
    Stop,
    Continue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    Stop,
    Continue,
    Rollback,
    Ask,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    Fail,
    Wait,
    Proceed,
    Suggest,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub span: Span,
    /// A template.
    pub prompt: Text,
    /// Accounts and roles.
    pub approvers: Vec<Text>,
    pub count: Option<Spanned<u32>>,
    pub exclude_operator: bool,
    pub timeout: Option<Spanned<Millis>>,
    pub on_timeout: Option<Spanned<OnTimeout>>,
    pub evidence: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Choose {
    pub ask: Ask,
    pub options: Vec<ChoiceOption>,
    pub suggest: Option<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceOption {
    pub id: Text,
    pub title: Option<Text>,
    pub eta: Option<Text>,
    pub loss: Option<Text>,
    pub when: Option<Text>,
}

/// A message of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Tell {
    pub channels: Vec<Text>,
    /// A template.
    pub message: Text,
}

/// A level of the escalation.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub level: Spanned<u32>,
    pub after: Option<Spanned<Millis>>,
    pub projected_breach: Option<Spanned<Percentile>>,
    /// Channels.
    pub notify: Vec<Text>,
    /// Accounts, roles, or words for people.
    pub to: Vec<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Updates {
    pub span: Span,
    pub channels: Vec<Text>,
    pub every: Vec<Cadence>,
    /// Relative to the file's own folder.
    pub status_file: Option<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cadence {
    pub span: Span,
    /// `for`; the last one may leave it out.
    pub length: Option<Spanned<Millis>>,
    pub every: Spanned<Millis>,
}

/// What every command can be given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    pub timeout: Option<Timeout>,
    pub grace: Option<Spanned<Millis>>,
    pub env: Vec<(Text, Text)>,
    pub workdir: Option<Text>,
    pub stdin: Option<Text>,
    pub shell: Option<Spanned<Shell>>,
    /// A template that names one host.
    pub on: Option<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// The key that names the action.
    pub span: Span,
    pub kind: ActionKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ActionKind {
    /// A script; a template.
    Run(Text),
    /// One argv or a pipeline of them; templates.
    Exec(Vec<Vec<Text>>),
    Sql(Box<Sql>),
    Http(Box<Http>),
    Wait(Spanned<Millis>),
    Choose(Box<Choose>),
    Manual(Box<Ask>),
    Notify(Box<Tell>),
    AnyOf(Vec<Step>),
    Playbook {
        name: Text,
        params: Vec<(Text, Node)>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sql {
    pub database: Text,
    pub password: Option<Text>,
    pub ca_file: Option<Text>,
    pub query: Text,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// `get`, `post`, `put`, `patch`, `delete` or `head`, in upper case.
    pub method: Spanned<&'static str>,
    pub url: Text,
    pub headers: Vec<(Text, Text)>,
    pub body: Option<Text>,
    /// A JSON body whose texts are templates.
    pub json: Option<Node>,
    pub auth: Option<Auth>,
    pub ca_file: Option<Text>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    Bearer(Text),
    Basic { user: Text, password: Text },
}

/// An action whose result is judged. Used by `verify`, `unless`, `check` and a drill's `symptom` and `proof`.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub span: Span,
    pub title: Option<Text>,
    /// Never `wait`, `any_of` or `playbook`.
    pub action: Action,
    pub options: Options,
    pub expect: Vec<Text>,
    /// Poll until it holds, this long. Only in `verify`, `symptom` and `proof`.
    pub within: Option<Spanned<Millis>>,
    pub every: Option<Spanned<Millis>>,
    /// False: advisory. Only in `verify`.
    pub required: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    pub span: Span,
    /// Asked before the step is taken back.
    pub approval: Option<Box<Ask>>,
    /// `run`, `exec`, `sql` or `http`.
    pub action: Action,
    pub options: Options,
    pub expect: Vec<Text>,
    pub retry: Option<Retry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    pub span: Span,
    /// Attempts in all, at least 1.
    pub attempts: Option<Spanned<u32>>,
    pub delay: Option<Spanned<Millis>>,
    /// The delay grows by this factor, at least 1.
    pub backoff: Option<Spanned<f64>>,
    pub max_delay: Option<Spanned<Millis>>,
    /// Each delay is shortened or lengthened by up to this share, 0 to 1.
    pub jitter: Option<Spanned<f64>>,
    /// Retry only if this holds; an expression on `result`.
    pub when: Option<Text>,
    /// Remedy k runs after failed attempt k.
    pub remedies: Vec<Remedy>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Remedy {
    pub span: Span,
    pub title: Option<Text>,
    /// `run`, `exec`, `sql` or `http`.
    pub action: Action,
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drill {
    /// In namespaces of its own.
    pub isolated: bool,
    /// Steps without `needs`; an `id` that is not typed is `world-1`, `inject-2`, `teardown-1`.
    pub world: Vec<Step>,
    pub params: Vec<(Text, Node)>,
    pub inject: Vec<Step>,
    pub symptom: Vec<Check>,
    /// Who is told instead of the playbook's own channels of these names.
    pub channels: Vec<Channel>,
    /// Expressions over `run.outcome`, `run.rto`, `run.rpo`, `run.phases`, `steps`, `params`.
    pub assert: Vec<Text>,
    /// Must hold of the world when the run is over.
    pub proof: Vec<Check>,
    /// What people say, by step.
    pub answers: Vec<(Text, Text)>,
    pub teardown: Vec<Step>,
    /// Several drills on worlds that have much in common.
    pub variants: Vec<Variant>,
}

/// One of several drills of a playbook.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    pub name: Text,
    pub title: Option<Text>,
    /// What it adds to the drill; neither isolated nor with variants of its own.
    pub adds: Drill,
}

impl Drill {
    /// The drill that a variant makes of this one: its steps, checks and assertions come after those that all have (in
    /// the teardown before them), its parameters, answers and channels instead of those of the same name.
    #[must_use]
    pub fn with(&self, variant: &Variant) -> Self {
        fn instead<T: Clone>(all: &[(Text, T)], own: &[(Text, T)]) -> Vec<(Text, T)> {
            let kept = all.iter().filter(|(name, _)| !own.iter().any(|(n, _)| n.value == name.value));
            kept.chain(own).cloned().collect()
        }
        let adds = &variant.adds;
        let kept = self.channels.iter();
        let kept = kept.filter(|c| !adds.channels.iter().any(|own| own.name.value == c.name.value));
        Self {
            isolated: self.isolated,
            world: [self.world.as_slice(), &adds.world].concat(),
            params: instead(&self.params, &adds.params),
            inject: [self.inject.as_slice(), &adds.inject].concat(),
            symptom: [self.symptom.as_slice(), &adds.symptom].concat(),
            channels: kept.chain(&adds.channels).cloned().collect(),
            assert: [self.assert.as_slice(), &adds.assert].concat(),
            proof: [self.proof.as_slice(), &adds.proof].concat(),
            answers: instead(&self.answers, &adds.answers),
            teardown: [adds.teardown.as_slice(), &self.teardown].concat(),
            variants: Vec::new(),
        }
    }
}

/// `runbook.yaml`: what playbooks share.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Folders, relative to the file's own folder.
    pub playbooks: Vec<Text>,
    pub state: Option<Text>,
    pub environments: Vec<Environment>,
    pub hosts: Vec<HostDecl>,
    pub groups: Vec<(Text, Vec<Text>)>,
    pub channels: Vec<Channel>,
    pub escalation: Vec<Level>,
    pub updates: Option<Updates>,
    /// For the channels.
    pub secrets: Vec<SecretDecl>,
    /// Accounts by role; the first of each is the primary.
    pub roles: Vec<(Text, Vec<Text>)>,
    pub responsibilities: Vec<(Text, Vec<Text>)>,
    pub contacts: Vec<(Text, Text)>,
}
