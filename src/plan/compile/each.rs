//! `foreach`: what the list is, and a step for each of its items in the place of the one that was typed.
//!
//! The list is known before the first step, like everything that decides what a run does: `plan` shows every item, the
//! plan's hash covers them, and the engine, a resume and every report see ordinary steps.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::build::{Builder, MAX_STEPS};
use super::text::Site;
use crate::plan::template::Place;
use crate::plan::{
    Action, Auth, Body, Check, Command, Expr, ForEach, Http, HttpBody, JsonTemplate, OnFailure,
    OnItemFailure, Plan, Retry, Sql, Step, StepIx, Template, Use,
};
use crate::playbook::ast::{self, Items, Node, NodeKind};
use crate::playbook::diagnostic::Diagnostic;
use crate::playbook::format::MAX_ITEMS;
use crate::playbook::source::{Span, Text};

/// A `foreach` whose list is not read yet.
pub(super) struct EachDraft {
    pub list: ListDraft,
    /// Parameters that the list reads, and where.
    pub params: Vec<(String, Span)>,
    /// Of the list.
    pub span: Span,
    pub max_parallel: Option<usize>,
    pub on_item_failure: OnItemFailure,
    pub at_least: Option<(usize, Span)>,
}

pub(super) enum ListDraft {
    Expr(Expr),
    Items(Vec<(ItemDraft, Span)>),
}

pub(super) enum ItemDraft {
    Value(Value),
    Text(Template),
    List(Vec<ItemDraft>),
    Map(Vec<(String, ItemDraft)>),
}

impl Builder<'_> {
    /// Notes the step's list, and says what is wrong with it as far as that is known without parameters.
    pub(super) fn foreach(&mut self, ix: StepIx) {
        let Some(typed) = &self.drafts[ix].ast.foreach else { return };
        let scope = self.drafts[ix].scope;
        let mut params = Vec::new();
        let list = match &typed.items {
            Items::Expression(text) => ListDraft::Expr(self.early_expr(text, scope, &mut params)),
            Items::List(items) => ListDraft::Items(
                items.iter().map(|node| (self.item(node, scope, &mut params), node.span)).collect(),
            ),
        };
        let at_least = typed.at_least.as_ref().map(|n| (n.value as usize, n.span));
        let on_item_failure = match typed.on_item_failure.as_ref().map(|f| f.value) {
            Some(ast::OnItemFailure::Stop) => OnItemFailure::Stop,
            Some(ast::OnItemFailure::Continue) => OnItemFailure::Continue,
            // Whoever can do with fewer wants the others tried.
            None if at_least.is_some() => OnItemFailure::Continue,
            None => OnItemFailure::Stop,
        };
        let max_parallel = typed.max_parallel.as_ref().map(|n| n.value as usize);
        let draft = EachDraft { list, params, span: typed.span, max_parallel, on_item_failure, at_least };
        if let ListDraft::Items(items) = &draft.list {
            let known: Option<Vec<Value>> = items.iter().map(|(item, _)| item.known()).collect();
            if let Some(Err(wrong)) = known.map(|known| draft.check(known)) {
                self.push(*wrong);
            }
        }
        self.each.insert(ix, draft);
    }

    fn early_expr(&mut self, text: &Text, scope: usize, params: &mut Vec<(String, Span)>) -> Expr {
        let bare = text.value.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
        if let Some(bare) = bare {
            self.push(
                Diagnostic::error("template", text.span, "an expression stands here without braces")
                    .help(format!("write `foreach: {}`", bare.trim())),
            );
            return Expr::default();
        }
        let before = self.diagnostics.len();
        let (expr, read, late) = self.expr_reading(text, Site::start(scope));
        self.only_params(late && self.diagnostics.len() == before, text.span);
        params.extend(read.into_iter().map(|p| (p, text.span)));
        expr
    }

    fn item(&mut self, node: &Node, scope: usize, params: &mut Vec<(String, Span)>) -> ItemDraft {
        match &node.kind {
            NodeKind::Text(text) if text.value.contains("{{") => {
                let before = self.diagnostics.len();
                let read = self.read(text, Place::Text, Site::start(scope));
                self.only_params(read.late && self.diagnostics.len() == before, text.span);
                params.extend(read.params.into_iter().map(|p| (p, text.span)));
                ItemDraft::Text(read.template)
            }
            NodeKind::List(items) => {
                ItemDraft::List(items.iter().map(|item| self.item(item, scope, params)).collect())
            }
            NodeKind::Map(entries) => {
                let entry =
                    |(key, value): &(Text, Node)| (key.value.clone(), self.item(value, scope, params));
                ItemDraft::Map(entries.iter().map(entry).collect())
            }
            _ => ItemDraft::Value(self.value(node)),
        }
    }

    fn only_params(&mut self, late: bool, span: Span) {
        if late {
            self.push(
                Diagnostic::error(
                    "not-known-yet",
                    span,
                    "the list of `foreach` is read before the run starts",
                )
                .label("only `params` can be read here")
                .help("a list that a step finds is for a script: let one step go through it"),
            );
        }
    }

    /// A list in an included playbook that reads what is known only when the playbook's step starts.
    pub(super) fn check_late_items(&self, late: &[HashSet<&str>]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (ix, each) in &self.each {
            let late = &late[self.drafts[*ix].scope];
            for (param, span) in each.params.iter().filter(|(param, _)| late.contains(param.as_str())) {
                let message = "the list of `foreach` is read before the run starts";
                found.push(
                    Diagnostic::error("not-known-yet", *span, message)
                        .label(format!("`params.{param}` is known only when the playbook's step starts")),
                );
            }
        }
        found
    }
}

impl ItemDraft {
    /// The value, if nothing has to be read for it.
    fn known(&self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Text(_) => None,
            Self::List(items) => items.iter().map(Self::known).collect(),
            Self::Map(entries) => {
                let entry = |(key, item): &(String, Self)| Some((key.clone(), item.known()?));
                entries.iter().map(entry).collect::<Option<_>>().map(Value::Object)
            }
        }
    }

    /// The value, `render` giving that of a text.
    pub fn value<E>(&self, render: &mut impl FnMut(&Template) -> Result<Value, E>) -> Result<Value, E> {
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::Text(template) => render(template)?,
            Self::List(items) => items.iter().map(|item| item.value(render)).collect::<Result<_, E>>()?,
            Self::Map(entries) => {
                let entry = |(key, item): &(String, Self)| Ok((key.clone(), item.value(render)?));
                Value::Object(entries.iter().map(entry).collect::<Result<_, E>>()?)
            }
        })
    }
}

impl EachDraft {
    /// The items, if they can stand as they are.
    pub fn check(&self, items: Vec<Value>) -> Result<Vec<Value>, Box<Diagnostic>> {
        let at = |number: usize| match &self.list {
            ListDraft::Items(typed) => typed.get(number).map_or(self.span, |(_, span)| *span),
            ListDraft::Expr(_) => self.span,
        };
        let wrong = |span, message: String| Diagnostic::error("bad-items", span, message);
        if items.len() > MAX_ITEMS {
            let message = format!("`foreach` has {} items", items.len());
            return Err(Box::new(wrong(self.span, message).label(format!("at most {MAX_ITEMS}"))));
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for (number, item) in items.iter().enumerate() {
            if item.is_null() {
                let message = format!("item {} of `foreach` is nothing", number + 1);
                return Err(Box::new(wrong(at(number), message).help("remove it, or give it a value")));
            }
            if let Some(first) = seen.insert(canonical(item).to_string(), number) {
                let message = format!("item {} of `foreach` is the same as item {}", number + 1, first + 1);
                let same = wrong(at(number), message)
                    .label(shown(item))
                    .help("the same thing would be done twice, perhaps at once: remove one of them");
                return Err(Box::new(same));
            }
        }
        match &self.at_least {
            Some((least, span)) if *least > items.len() => {
                let message = format!("`at_least: {least}` can never be reached");
                let items = match items.len() {
                    0 => "there are no items".to_owned(),
                    1 => "there is 1 item".to_owned(),
                    n => format!("there are {n} items"),
                };
                Err(Box::new(wrong(*span, message).label(items)))
            }
            _ => Ok(items),
        }
    }
}

/// The value with every map in the order of its keys: who typed it in another order means the same.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(map) => {
            let sorted: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            Value::Object(sorted.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        other => other.clone(),
    }
}

/// An item in a few words.
fn shown(item: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A step for each item in the place of each step with a `foreach`. Every number of the plan moves; the second value
/// gives the new one of each step.
pub(super) fn open(
    plan: &mut Plan,
    drafts: &BTreeMap<StepIx, EachDraft>,
    items: BTreeMap<StepIx, Vec<Value>>,
) -> Result<Vec<StepIx>, Box<Diagnostic>> {
    let mut new_of = Vec::with_capacity(plan.steps.len());
    let mut at = 0;
    for ix in 0..plan.steps.len() {
        new_of.push(at);
        at += 1 + items.get(&ix).map_or(0, Vec::len);
        if let (true, Some(draft)) = (at > MAX_STEPS, drafts.get(&ix)) {
            let error = Diagnostic::error("too-many-steps", draft.span, "the plan has too many steps");
            return Err(Box::new(error.help(format!("at most {MAX_STEPS} steps, those of items counted"))));
        }
    }
    if items.is_empty() {
        return Ok(new_of);
    }
    let moved = |ix: &mut StepIx| *ix = new_of[*ix];
    let mut steps = Vec::with_capacity(at);
    for (ix, mut step) in std::mem::take(&mut plan.steps).into_iter().enumerate() {
        step.parent.iter_mut().for_each(moved);
        step.needs.iter_mut().for_each(moved);
        match &mut step.body {
            Body::AnyOf(inside) | Body::Playbook { steps: inside, .. } => inside.iter_mut().for_each(moved),
            _ => {}
        }
        match (drafts.get(&ix), items.get(&ix)) {
            (Some(draft), Some(items)) => open_one(step, (ix, &new_of), draft, items, &mut steps),
            _ => {
                each_use(&mut step, &mut |used| moved(&mut used.step));
                steps.push(step);
            }
        }
    }
    plan.steps = steps;
    plan.phases.iter_mut().flat_map(|phase| &mut phase.steps).for_each(moved);
    for scope in &mut plan.scopes {
        scope.group.iter_mut().for_each(moved);
        scope.late.iter_mut().flat_map(|late| &mut late.value.uses).for_each(|used| moved(&mut used.step));
    }
    let data_as_of = plan.objectives.data_as_of.iter_mut();
    data_as_of.flat_map(|expr| &mut expr.uses).for_each(|used| moved(&mut used.step));
    Ok(new_of)
}

/// The group of a step typed with a `foreach`, and its items' steps.
fn open_one(
    typed: Step,
    (ix, new_of): (StepIx, &[StepIx]),
    draft: &EachDraft,
    items: &[Value],
    steps: &mut Vec<Step>,
) {
    let group_ix = steps.len();
    let mut group = Step {
        body: Body::ForEach(ForEach {
            steps: (group_ix + 1..=group_ix + items.len()).collect(),
            max_parallel: draft.max_parallel,
            on_item_failure: draft.on_item_failure,
            at_least: draft.at_least.map(|(least, _)| least),
        }),
        unless: None,
        expect: Vec::new(),
        outputs: Vec::new(),
        retry: Retry::never(),
        verify: Vec::new(),
        undo: None,
        irreversible: false,
        check: None,
        idempotent: false,
        destructive: false,
        sensitive: false,
        keep_result: false,
        ..typed.clone()
    };
    each_use(&mut group, &mut |used| used.step = new_of[used.step]);
    steps.push(group);
    for (number, item) in items.iter().enumerate() {
        let own = steps.len();
        let id = typed.id.child(&(number + 1).to_string());
        let mut step = Step {
            // A number is a name.
            id: id.unwrap_or_else(|_| typed.id.clone()),
            title: format!("{}: {}", typed.title, shown(item)),
            parent: Some(group_ix),
            needs: Vec::new(),
            when: None,
            approval: None,
            on_failure: OnFailure::Stop,
            escalate: None,
            item: Some(item.clone()),
            ..typed.clone()
        };
        // What the step reads of itself is what this item gave.
        each_use(&mut step, &mut |used| used.step = if used.step == ix { own } else { new_of[used.step] });
        steps.push(step);
    }
}

/// Every mention of a step in the texts of a step.
fn each_use(step: &mut Step, visit: &mut dyn FnMut(&mut Use)) {
    let mut lists: Vec<&mut Vec<Use>> = Vec::new();
    let Step { when, unless, approval, body, expect, outputs, retry, verify, undo, check, .. } = step;
    lists.extend(when.iter_mut().chain(expect).map(|e| &mut e.uses));
    lists.extend(outputs.iter_mut().map(|(_, e)| &mut e.uses));
    lists.extend(approval.iter_mut().map(|ask| &mut ask.prompt.uses));
    match body {
        Body::Command(command) => command_uses(command, &mut lists),
        Body::Choose(choose) => {
            lists.push(&mut choose.ask.prompt.uses);
            let options = choose.options.iter_mut().filter_map(|o| o.when.as_mut());
            lists.extend(options.chain(&mut choose.suggest).map(|e| &mut e.uses));
        }
        Body::Manual(ask) => lists.push(&mut ask.prompt.uses),
        Body::Notify(tell) => lists.push(&mut tell.message.uses),
        Body::Wait(_) | Body::AnyOf(_) | Body::Playbook { .. } | Body::ForEach(_) | Body::Nothing => {}
    }
    retry_uses(retry, &mut lists);
    for Check { command, expect, .. } in
        unless.as_deref_mut().into_iter().chain(verify).chain(check.as_deref_mut())
    {
        command_uses(command, &mut lists);
        lists.extend(expect.iter_mut().map(|e| &mut e.uses));
    }
    if let Some(undo) = undo {
        lists.extend(undo.approval.iter_mut().map(|ask| &mut ask.prompt.uses));
        command_uses(&mut undo.command, &mut lists);
        lists.extend(undo.expect.iter_mut().map(|e| &mut e.uses));
        retry_uses(&mut undo.retry, &mut lists);
    }
    lists.into_iter().flatten().for_each(visit);
}

fn retry_uses<'s>(retry: &'s mut Retry, lists: &mut Vec<&'s mut Vec<Use>>) {
    lists.extend(retry.when.iter_mut().map(|e| &mut e.uses));
    retry.remedies.iter_mut().for_each(|(_, command)| command_uses(command, lists));
}

fn command_uses<'s>(command: &'s mut Command, lists: &mut Vec<&'s mut Vec<Use>>) {
    // Every field by name, so that a new text is not forgotten here.
    let Command { action, env, on, workdir, stdin, timeout: _, grace: _, want: _ } = command;
    match action {
        Action::Script { script, .. } => lists.push(&mut script.uses),
        Action::Exec(commands) => lists.extend(commands.iter_mut().flatten().map(|arg| &mut arg.uses)),
        Action::Sql(sql) => {
            let Sql { database, password, ca_file, query } = &mut **sql;
            lists.extend([&mut database.uses, &mut query.uses]);
            lists.extend(password.iter_mut().chain(ca_file).map(|text| &mut text.uses));
        }
        Action::Http(http) => {
            let Http { method: _, url, headers, body, auth, ca_file } = &mut **http;
            lists.push(&mut url.uses);
            lists.extend(ca_file.iter_mut().map(|text| &mut text.uses));
            match auth {
                Some(Auth::Bearer(token)) => lists.push(&mut token.uses),
                Some(Auth::Basic { user, password }) => lists.extend([&mut user.uses, &mut password.uses]),
                None => {}
            }
            lists.extend(headers.iter_mut().map(|(_, value)| &mut value.uses));
            match body {
                Some(HttpBody::Text(text)) => lists.push(&mut text.uses),
                Some(HttpBody::Json(json)) => json_uses(json, lists),
                None => {}
            }
        }
    }
    lists.extend(env.iter_mut().map(|(_, value)| &mut value.uses));
    lists.extend(on.iter_mut().chain(workdir).chain(stdin).map(|text| &mut text.uses));
}

fn json_uses<'s>(json: &'s mut JsonTemplate, lists: &mut Vec<&'s mut Vec<Use>>) {
    match json {
        JsonTemplate::Value(_) => {}
        JsonTemplate::Text(text) => lists.push(&mut text.uses),
        JsonTemplate::List(items) => items.iter_mut().for_each(|item| json_uses(item, lists)),
        JsonTemplate::Map(entries) => entries.iter_mut().for_each(|(_, value)| json_uses(value, lists)),
    }
}
