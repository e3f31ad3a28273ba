//! From a validated tree to the [`Playbook`].
//!
//! Nothing is reported here: the validator has said everything. What does not fit is left out, so that a file with
//! mistakes still gives a playbook in which later checks can find more mistakes; such a playbook is never run.

use super::ast::*;
use super::read;
use super::source::{Span, Spanned, Style, Text};
use crate::model::{IncidentStatus, Millis};

/// The playbook of a tree; None if it has no name. `source` is the text of the file.
pub fn playbook(root: &Node, source: &str) -> Option<Playbook> {
    let map = Map::of(root, source)?;
    let phases = if let Some(phases) = map.list("phases") {
        phases.iter().filter_map(|node| phase(node, source)).collect()
    } else {
        let key = map.entry("steps").map_or(root.span, |(key, _)| key.span);
        vec![Phase {
            id: Text { value: "steps".into(), span: key, style: Style::Plain },
            title: None,
            deadline: None,
            status: None,
            steps: steps(map.list("steps"), source),
        }]
    };
    Some(Playbook {
        span: root.span,
        name: map.text("name")?,
        title: map.text("title"),
        description: map.text("description"),
        severity: map.word("severity", |word| {
            Some(match word {
                "critical" => Severity::Critical,
                "high" => Severity::High,
                "medium" => Severity::Medium,
                "low" => Severity::Low,
                _ => return None,
            })
        }),
        owner: map.text("owner"),
        reviewed: map.word("reviewed", |text| read::date(text).ok()),
        review_every: map.duration("review_every"),
        symptoms: map.texts("symptoms"),
        objectives: map.map("objectives").map(objectives).unwrap_or_default(),
        params: map.entries("params").filter_map(|entry| param(entry, source)).collect(),
        secrets: map.entries("secrets").filter_map(|entry| secret(entry, source)).collect(),
        environments: environments(map),
        channels: channels(map),
        escalation: escalation(map),
        updates: map.map("updates").map(updates),
        roles: lists(map, "roles"),
        requires: map.map("requires").map(requires).unwrap_or_default(),
        defaults: map.map("defaults").map(defaults).unwrap_or_default(),
        max_parallel: map.u32("max_parallel"),
        lock: map.text("lock"),
        workdir: map.text("workdir"),
        phases,
        drill: map.map("drill").map(drill),
    })
}

/// The contents of `runbook.yaml`.
pub fn config(root: &Node, source: &str) -> Option<Config> {
    let map = Map::of(root, source)?;
    Some(Config {
        playbooks: map.texts("playbooks"),
        state: map.text("state"),
        environments: environments(map),
        channels: channels(map),
        escalation: escalation(map),
        updates: map.map("updates").map(updates),
        secrets: map.entries("secrets").filter_map(|entry| secret(entry, source)).collect(),
        roles: lists(map, "roles"),
        responsibilities: lists(map, "responsibilities"),
        contacts: map.pairs("contacts"),
    })
}

/// A map of names to lists of texts.
fn lists(map: Map<'_>, key: &str) -> Vec<(Text, Vec<Text>)> {
    map.entries(key).filter_map(|(name, node)| Some((name.clone(), texts(list(node)?)))).collect()
}

/// A map node, for looking keys up.
#[derive(Clone, Copy)]
struct Map<'n> {
    source: &'n str,
    span: Span,
    entries: &'n [(Text, Node)],
}

impl<'n> Map<'n> {
    fn of(node: &'n Node, source: &'n str) -> Option<Self> {
        match &node.kind {
            NodeKind::Map(entries) => Some(Self { source, span: node.span, entries }),
            _ => None,
        }
    }

    fn entry(self, key: &str) -> Option<(&'n Text, &'n Node)> {
        self.entries.iter().find(|(k, _)| k.value == key).map(|(k, v)| (k, v))
    }

    fn get(self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|(_, value)| value)
    }

    fn map(self, key: &str) -> Option<Self> {
        self.get(key).and_then(|node| Self::of(node, self.source))
    }

    fn list(self, key: &str) -> Option<&'n [Node]> {
        self.get(key).and_then(list)
    }

    fn entries(self, key: &str) -> impl Iterator<Item = &'n (Text, Node)> {
        self.map(key).map_or(&[][..], |map| map.entries).iter()
    }

    fn text(self, key: &str) -> Option<Text> {
        self.get(key).and_then(text)
    }

    fn texts(self, key: &str) -> Vec<Text> {
        self.list(key).map(texts).unwrap_or_default()
    }

    /// One text, or a list of them.
    fn one_or_list(self, key: &str) -> Vec<Text> {
        match self.get(key) {
            Some(Node { kind: NodeKind::Text(one), .. }) => vec![one.clone()],
            Some(node) => list(node).map(texts).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    fn word<T>(self, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Spanned<T>> {
        let node = self.get(key)?;
        match &node.kind {
            NodeKind::Text(text) => Some(Spanned { value: read(&text.value)?, span: node.span }),
            _ => None,
        }
    }

    fn duration(self, key: &str) -> Option<Spanned<Millis>> {
        self.word(key, |text| read::duration(text).ok())
    }

    fn timeout(self) -> Option<Timeout> {
        self.word("timeout", |text| read::timeout(text).ok())
    }

    fn bool(self, key: &str) -> Option<Spanned<bool>> {
        let node = self.get(key)?;
        match node.kind {
            NodeKind::Bool(value) => Some(Spanned { value, span: node.span }),
            _ => None,
        }
    }

    fn flag(self, key: &str) -> bool {
        self.bool(key).is_some_and(|flag| flag.value)
    }

    fn u32(self, key: &str) -> Option<Spanned<u32>> {
        let node = self.get(key)?;
        match node.kind {
            NodeKind::Int(n) => Some(Spanned { value: u32::try_from(n).ok()?, span: node.span }),
            _ => None,
        }
    }

    fn number(self, key: &str) -> Option<Spanned<f64>> {
        let node = self.get(key)?;
        Some(Spanned { value: read::number(node)?, span: node.span })
    }

    fn values(self, key: &str) -> Vec<(Text, Node)> {
        self.entries(key).cloned().collect()
    }

    /// Names with texts.
    fn pairs(self, key: &str) -> Vec<(Text, Text)> {
        self.entries(key).filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
    }

    /// Variables: a number or a boolean counts as it was typed.
    fn env(self) -> Vec<(Text, Text)> {
        self.entries("env")
            .filter_map(|(name, value)| Some((name.clone(), env_text(value, self.source)?)))
            .collect()
    }
}

fn text(node: &Node) -> Option<Text> {
    match &node.kind {
        NodeKind::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn env_text(node: &Node, source: &str) -> Option<Text> {
    match &node.kind {
        NodeKind::Text(text) => Some(text.clone()),
        NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Bool(_) => {
            let typed = source.get(node.span.start as usize..node.span.end as usize)?;
            Some(Text { value: typed.to_owned(), span: node.span, style: Style::Plain })
        }
        _ => None,
    }
}

fn list(node: &Node) -> Option<&[Node]> {
    match &node.kind {
        NodeKind::List(items) => Some(items),
        _ => None,
    }
}

fn texts(items: &[Node]) -> Vec<Text> {
    items.iter().filter_map(text).collect()
}

fn objectives(map: Map<'_>) -> Objectives {
    Objectives { rto: map.duration("rto"), rpo: map.duration("rpo"), data_as_of: map.text("data_as_of") }
}

fn param((name, node): &(Text, Node), source: &str) -> Option<Param> {
    let map = Map::of(node, source)?;
    let kind = map.word("type", |word| {
        Some(match word {
            "string" => ParamType::String,
            "path" => ParamType::Path,
            "integer" => ParamType::Integer,
            "number" => ParamType::Number,
            "boolean" => ParamType::Boolean,
            "duration" => ParamType::Duration,
            "size" => ParamType::Size,
            "list" => ParamType::List,
            _ => return None,
        })
    });
    let Some(kind) = kind else {
        // The type is a mistake that is reported already; that the parameter is there is true all the same.
        return Some(Param {
            name: name.clone(),
            kind: Spanned { value: ParamType::String, span: name.span },
            description: None,
            required: true,
            default: None,
            pattern: None,
            choices: Vec::new(),
            min: None,
            max: None,
        });
    };
    Some(Param {
        name: name.clone(),
        kind,
        description: map.text("description"),
        required: map.flag("required"),
        default: map.get("default").cloned(),
        pattern: map.text("pattern"),
        choices: map.list("choices").map(<[Node]>::to_vec).unwrap_or_default(),
        min: map.get("min").cloned(),
        max: map.get("max").cloned(),
    })
}

fn secret((name, node): &(Text, Node), source: &str) -> Option<SecretDecl> {
    let map = Map::of(node, source)?;
    let source = if let Some(variable) = map.text("env") {
        SecretSource::Env(variable)
    } else if let Some(file) = map.text("file") {
        SecretSource::File(file)
    } else {
        SecretSource::Command(map.list("command").map(texts)?)
    };
    Some(SecretDecl { name: name.clone(), source })
}

fn environments(map: Map<'_>) -> Vec<Environment> {
    map.entries("environments")
        .filter_map(|(name, node)| {
            let map = Map::of(node, map.source)?;
            Some(Environment {
                name: name.clone(),
                params: map.values("params"),
                confirm: map.text("confirm").is_some(),
            })
        })
        .collect()
}

fn channels(map: Map<'_>) -> Vec<Channel> {
    map.entries("channels")
        .filter_map(|(name, node)| {
            let map = Map::of(node, map.source)?;
            Some(Channel {
                name: name.clone(),
                kind: channel_kind(map)?,
                timeout: map.duration("timeout"),
                retry_for: map.duration("retry_for"),
                ca_file: map.text("ca_file"),
            })
        })
        .collect()
}

fn channel_kind(map: Map<'_>) -> Option<ChannelKind> {
    if let Some(slack) = map.map("slack") {
        return Some(ChannelKind::Slack { url: slack.text("url")? });
    }
    if let Some(pager) = map.map("pagerduty") {
        return Some(ChannelKind::Pagerduty {
            routing_key: pager.text("routing_key")?,
            url: pager.text("url"),
        });
    }
    if let Some(hook) = map.map("webhook") {
        let (url, headers, sign) = (hook.text("url")?, hook.pairs("headers"), hook.text("sign"));
        return Some(ChannelKind::Webhook { url, headers, sign });
    }
    if let Some(email) = map.map("email") {
        return Some(ChannelKind::Email {
            smtp: email.text("smtp")?,
            from: email.text("from")?,
            to: email.one_or_list("to"),
            username: email.text("username"),
            password: email.text("password"),
        });
    }
    Some(ChannelKind::Command { argv: map.list("command").map(texts)?, env: map.env() })
}

fn escalation(map: Map<'_>) -> Vec<Level> {
    let levels = map.list("escalation").unwrap_or_default().iter();
    let level = |node| {
        let map = Map::of(node, map.source)?;
        Some(Level {
            level: map.u32("level")?,
            after: map.duration("after"),
            notify: map.one_or_list("notify"),
            to: map.one_or_list("to"),
        })
    };
    levels.filter_map(level).collect()
}

fn updates(map: Map<'_>) -> Updates {
    let cadences = map.list("every").unwrap_or_default().iter();
    let cadence = |node| {
        let map = Map::of(node, map.source)?;
        Some(Cadence { span: map.span, length: map.duration("for"), every: map.duration("every")? })
    };
    Updates {
        span: map.span,
        channels: map.one_or_list("channels"),
        every: cadences.filter_map(cadence).collect(),
        status_file: map.text("status_file"),
    }
}

fn requires(map: Map<'_>) -> Requires {
    Requires {
        commands: map.texts("commands"),
        files: map.texts("files"),
        free_space: map.map("free_space").and_then(|space| {
            Some(FreeSpace {
                path: space.text("path")?,
                at_least: space.word("at_least", |size| read::size(size).ok())?,
            })
        }),
    }
}

fn defaults(map: Map<'_>) -> Defaults {
    Defaults {
        timeout: map.timeout(),
        grace: map.duration("grace"),
        shell: shell(map),
        retry: map.map("retry").map(retry),
        env: map.env(),
    }
}

fn shell(map: Map<'_>) -> Option<Spanned<Shell>> {
    map.word("shell", |word| match word {
        "bash" => Some(Shell::Bash),
        "sh" => Some(Shell::Sh),
        _ => None,
    })
}

fn phase(node: &Node, source: &str) -> Option<Phase> {
    let map = Map::of(node, source)?;
    Some(Phase {
        id: map.text("id")?,
        title: map.text("title"),
        deadline: map.duration("deadline"),
        status: map.word("status", |word| {
            Some(match word {
                "investigating" => IncidentStatus::Investigating,
                "identified" => IncidentStatus::Identified,
                "monitoring" => IncidentStatus::Monitoring,
                _ => return None,
            })
        }),
        steps: steps(map.list("steps"), source),
    })
}

fn steps(items: Option<&[Node]>, source: &str) -> Vec<Step> {
    items.unwrap_or_default().iter().filter_map(|node| step(node, source, None)).collect()
}

/// A step; `default_id` is used if it has none.
fn step(node: &Node, source: &str, default_id: Option<String>) -> Option<Step> {
    let map = Map::of(node, source)?;
    let id = match (map.entry("id"), default_id) {
        (Some((_, id)), _) => text(id)?,
        (None, Some(value)) => {
            let first = map.entries.first().map_or(map.span, |(key, _)| key.span);
            Text { value, span: first, style: Style::Plain }
        }
        (None, None) => return None,
    };
    Some(Step {
        span: map.span,
        id,
        title: map.text("title"),
        action: action(map),
        options: options(map),
        needs: map.list("needs").map(texts),
        when: map.text("when"),
        unless: map.map("unless").and_then(check).map(Box::new),
        approval: map.map("approval").and_then(|map| ask(map, "prompt", "approvers")).map(Box::new),
        retry: map.map("retry").map(retry),
        expect: map.one_or_list("expect"),
        outputs: map.pairs("outputs"),
        verify: checks(map, "verify"),
        undo: map.map("undo").and_then(undo).map(Box::new),
        irreversible: map.bool("irreversible"),
        check: map.map("check").and_then(check).map(Box::new),
        idempotent: map.bool("idempotent"),
        on_failure: map.word("on_failure", |word| {
            Some(match word {
                "stop" => OnFailure::Stop,
                "continue" => OnFailure::Continue,
                "rollback" => OnFailure::Rollback,
                "ask" => OnFailure::Ask,
                _ => return None,
            })
        }),
        escalate: map.u32("escalate"),
        destructive: map.flag("destructive"),
        sensitive: map.flag("sensitive"),
    })
}

fn options(map: Map<'_>) -> Options {
    Options {
        timeout: map.timeout(),
        grace: map.duration("grace"),
        env: map.env(),
        workdir: map.text("workdir"),
        stdin: map.text("stdin"),
        shell: shell(map),
    }
}

fn action(map: Map<'_>) -> Option<Action> {
    type Read = fn(&Node, &str) -> Option<ActionKind>;
    const READERS: [(&str, Read); 10] = [
        ("run", |node, _| text(node).map(ActionKind::Run)),
        ("exec", |node, _| exec(node).map(ActionKind::Exec)),
        ("sql", |node, source| {
            let map = Map::of(node, source)?;
            Some(ActionKind::Sql { database: map.text("database")?, query: map.text("query")? })
        }),
        ("http", |node, source| Map::of(node, source).and_then(http).map(ActionKind::Http)),
        ("wait", |node, _| {
            let NodeKind::Text(text) = &node.kind else { return None };
            let value = read::duration(&text.value).ok()?;
            Some(ActionKind::Wait(Spanned { value, span: node.span }))
        }),
        ("choose", |node, source| {
            Map::of(node, source).and_then(choose).map(Box::new).map(ActionKind::Choose)
        }),
        ("manual", |node, source| {
            let map = Map::of(node, source)?;
            ask(map, "instructions", "by").map(Box::new).map(ActionKind::Manual)
        }),
        ("notify", |node, source| {
            let map = Map::of(node, source)?;
            let tell = Tell { channels: map.one_or_list("channels"), message: map.text("message")? };
            Some(ActionKind::Notify(Box::new(tell)))
        }),
        ("any_of", |node, source| list(node).map(|items| ActionKind::AnyOf(steps(Some(items), source)))),
        ("playbook", |node, source| {
            let map = Map::of(node, source)?;
            Some(ActionKind::Playbook { name: map.text("name")?, params: map.values("params") })
        }),
    ];
    READERS.iter().find_map(|(key, read)| {
        let (key, node) = map.entry(key)?;
        Some(Action { span: key.span, kind: read(node, map.source)? })
    })
}

/// A question; what is asked and who may answer have other names in each place.
fn ask(map: Map<'_>, prompt: &str, by: &str) -> Option<Ask> {
    Some(Ask {
        span: map.span,
        prompt: map.text(prompt)?,
        approvers: map.texts(by),
        count: map.u32("count"),
        exclude_operator: map.flag("exclude_operator"),
        timeout: map.duration("timeout"),
        on_timeout: map.word("on_timeout", |word| {
            Some(match word {
                "fail" => OnTimeout::Fail,
                "wait" => OnTimeout::Wait,
                "proceed" => OnTimeout::Proceed,
                "suggest" => OnTimeout::Suggest,
                _ => return None,
            })
        }),
        evidence: map.flag("evidence"),
    })
}

fn choose(map: Map<'_>) -> Option<Choose> {
    let option = |(id, node): &(Text, Node)| {
        let option = Map::of(node, map.source)?;
        Some(ChoiceOption {
            id: id.clone(),
            title: option.text("title"),
            eta: option.text("eta"),
            loss: option.text("loss"),
            when: option.text("when"),
        })
    };
    Some(Choose {
        ask: ask(map, "prompt", "by")?,
        options: map.entries("options").filter_map(option).collect(),
        suggest: map.text("suggest"),
    })
}

fn exec(node: &Node) -> Option<Vec<Vec<Text>>> {
    let items = list(node)?;
    if items.iter().any(|item| list(item).is_some()) {
        Some(items.iter().filter_map(list).map(texts).collect())
    } else {
        Some(vec![texts(items)])
    }
}

fn http(map: Map<'_>) -> Option<Http> {
    const METHODS: [(&str, &str); 6] = [
        ("get", "GET"),
        ("post", "POST"),
        ("put", "PUT"),
        ("patch", "PATCH"),
        ("delete", "DELETE"),
        ("head", "HEAD"),
    ];
    let (method, url) = METHODS.iter().find_map(|(key, method)| {
        let (key, url) = map.entry(key)?;
        Some((Spanned { value: *method, span: key.span }, text(url)?))
    })?;
    Some(Http {
        method,
        url,
        headers: map.pairs("headers"),
        body: map.text("body"),
        json: map.get("json").cloned(),
    })
}

fn checks(map: Map<'_>, key: &str) -> Vec<Check> {
    map.list(key).unwrap_or_default().iter().filter_map(|node| check(Map::of(node, map.source)?)).collect()
}

fn check(map: Map<'_>) -> Option<Check> {
    Some(Check {
        span: map.span,
        title: map.text("title"),
        action: action(map)?,
        options: options(map),
        expect: map.one_or_list("expect"),
        within: map.duration("within"),
        every: map.duration("every"),
        required: map.bool("required").is_none_or(|required| required.value),
    })
}

fn undo(map: Map<'_>) -> Option<Undo> {
    Some(Undo {
        span: map.span,
        approval: map.map("approval").and_then(|map| ask(map, "prompt", "approvers")).map(Box::new),
        action: action(map)?,
        options: options(map),
        expect: map.one_or_list("expect"),
        retry: map.map("retry").map(retry),
    })
}

fn retry(map: Map<'_>) -> Retry {
    Retry {
        span: map.span,
        attempts: map.u32("attempts"),
        delay: map.duration("delay"),
        backoff: map.number("backoff"),
        max_delay: map.duration("max_delay"),
        jitter: map.number("jitter"),
        when: map.text("when"),
        remedies: map
            .list("remedies")
            .unwrap_or_default()
            .iter()
            .filter_map(|node| remedy(node, map.source))
            .collect(),
    }
}

fn remedy(node: &Node, source: &str) -> Option<Remedy> {
    let map = Map::of(node, source)?;
    Some(Remedy { span: map.span, title: map.text("title"), action: action(map)?, options: options(map) })
}

fn drill(map: Map<'_>) -> Drill {
    let steps = |key: &str| {
        let items = map.list(key).unwrap_or_default().iter().enumerate();
        items.filter_map(|(n, node)| step(node, map.source, Some(format!("{key}-{}", n + 1)))).collect()
    };
    Drill {
        world: steps("world"),
        params: map.values("params"),
        inject: steps("inject"),
        symptom: checks(map, "symptom"),
        assert: map.one_or_list("assert"),
        answers: map.pairs("answers"),
        teardown: steps("teardown"),
    }
}
