//! Questions about a plan's graph: what runs when, what comes before what, what can be taken back.

use std::collections::VecDeque;

use super::template::{Dialect, Place, analyse};
use super::{
    Action, Auth, Body, Check, Command, ForEach, Http, HttpBody, JsonTemplate, Plan, Sql, Step, StepIx,
    Template,
};

/// Where each step stands in a list of steps.
#[derive(Debug)]
pub struct Places {
    first: StepIx,
    /// From `first` on, as far as the list reaches: those of one list stand close together in a plan.
    at: Vec<Option<u32>>,
}

impl Places {
    pub fn of(list: &[StepIx]) -> Self {
        let first = list.iter().copied().min().unwrap_or_default();
        let end = list.iter().max().map_or(first, |last| last + 1);
        let mut at = vec![None; end - first];
        for (place, ix) in list.iter().enumerate() {
            at[ix - first] = u32::try_from(place).ok();
        }
        Self { first, at }
    }

    pub fn get(&self, ix: StepIx) -> Option<usize> {
        let place = *self.at.get(ix.checked_sub(self.first)?)?;
        place.map(|place| place as usize)
    }
}

impl Plan {
    /// The steps directly inside a group; none for what is no group.
    pub fn inside(&self, ix: StepIx) -> &[StepIx] {
        match self.steps.get(ix).map(|step| &step.body) {
            Some(Body::AnyOf(steps) | Body::Playbook { steps, .. }) => steps,
            Some(Body::ForEach(each)) => &each.steps,
            _ => &[],
        }
    }

    /// The `foreach` of a step, if it has one.
    pub fn foreach(&self, ix: StepIx) -> Option<&ForEach> {
        match self.steps.get(ix).map(|step| &step.body) {
            Some(Body::ForEach(each)) => Some(each),
            _ => None,
        }
    }

    /// The group of an item's step.
    pub fn foreach_around(&self, ix: StepIx) -> Option<StepIx> {
        self.steps.get(ix)?.parent.filter(|parent| self.foreach(*parent).is_some())
    }

    /// The steps in waves: each in the earliest wave in which it can start if every step takes one wave. A group
    /// stands in the wave before its first steps; alternatives stand in the order in which they are tried.
    pub fn waves(&self) -> Vec<Vec<StepIx>> {
        let mut wave = vec![0; self.steps.len()];
        let mut end = 0;
        for phase in &self.phases {
            end = self.place(&phase.steps, end, &mut wave);
        }
        let mut waves = vec![Vec::new(); end];
        for (ix, wave) in wave.into_iter().enumerate() {
            if let Some(wave) = waves.get_mut(wave) {
                wave.push(ix);
            }
        }
        waves
    }

    /// Gives the steps of one list their waves from `start` on; the first wave that is free after them all.
    /// Recurses into groups only, whose depth is bounded.
    fn place(&self, list: &[StepIx], start: usize, wave: &mut [usize]) -> usize {
        let places = Places::of(list);
        let mut ends = vec![None; list.len()];
        let mut last = start;
        for ix in self.in_order(list) {
            let step = &self.steps[ix];
            let needs = step.needs.iter().filter_map(|need| ends[places.get(*need)?]);
            let begin = needs.max().unwrap_or(start);
            wave[ix] = begin;
            let mut end = begin + 1;
            match &step.body {
                Body::AnyOf(inside) => {
                    for alternative in inside {
                        end = self.place(std::slice::from_ref(alternative), end, wave);
                    }
                }
                Body::Playbook { steps, .. } => end = self.place(steps, end, wave),
                Body::ForEach(each) => end = self.place(&each.steps, end, wave),
                _ => {}
            }
            if let Some(place) = places.get(ix) {
                ends[place] = Some(end);
            }
            last = last.max(end);
        }
        last
    }

    /// The steps of one list, each after all it needs, else as typed.
    pub fn in_order(&self, list: &[StepIx]) -> Vec<StepIx> {
        let places = Places::of(list);
        let mut missing = vec![0; list.len()];
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); list.len()];
        for (me, ix) in list.iter().enumerate() {
            for need in self.steps[*ix].needs.iter().filter_map(|need| places.get(*need)) {
                missing[me] += 1;
                waiting[need].push(me);
            }
        }
        let mut ready: VecDeque<usize> = (0..list.len()).filter(|me| missing[*me] == 0).collect();
        let mut order = Vec::with_capacity(list.len());
        while let Some(me) = ready.pop_front() {
            order.push(list[me]);
            for next in &waiting[me] {
                missing[*next] -= 1;
                if missing[*next] == 0 {
                    ready.push_back(*next);
                }
            }
        }
        order
    }

    /// Every step that is over before this one starts, in the order of the plan: those it needs, directly or not,
    /// those of earlier phases, earlier alternatives, and what is inside all of them. Groups around it are not
    /// among them, but what those need is.
    pub fn ancestors(&self, ix: StepIx) -> Vec<StepIx> {
        let mut before = vec![false; self.steps.len()];
        if let Some(step) = self.steps.get(ix) {
            for phase in self.phases.iter().take(step.phase) {
                self.mark(phase.steps.clone(), &mut before);
            }
        }
        let mut at = Some(ix);
        while let Some(step) = at.and_then(|ix| self.steps.get(ix)) {
            self.mark(step.needs.clone(), &mut before);
            if let (Some(me), Some(parent)) = (at, step.parent)
                && let Some(Body::AnyOf(alternatives)) = self.steps.get(parent).map(|p| &p.body)
            {
                let earlier = alternatives.iter().copied().take_while(|a| *a != me).collect();
                self.mark(earlier, &mut before);
            }
            at = step.parent;
        }
        (0..self.steps.len()).filter(|ix| before[*ix]).collect()
    }

    /// Marks these steps, all they need and all that is inside.
    fn mark(&self, mut open: Vec<StepIx>, marked: &mut [bool]) {
        while let Some(ix) = open.pop() {
            if let Some(mark) = marked.get_mut(ix)
                && !std::mem::replace(mark, true)
            {
                open.extend(&self.steps[ix].needs);
                open.extend(self.inside(ix));
            }
        }
    }

    /// The steps after which there is no way back, in the order of the plan.
    pub fn points_of_no_return(&self) -> Vec<StepIx> {
        (0..self.steps.len()).filter(|ix| self.steps[*ix].irreversible).collect()
    }

    /// What a rollback from this step would take back, in that order: reverse order over the step itself and all that
    /// is over before it, as far as they have an `undo`. Steps that run beside it and have succeeded by then would be
    /// taken back too, but nobody can know that before.
    ///
    /// To ask for many steps, take [`Plan::undo_order`] once and use [`Plan::undone_in`].
    pub fn undone_on_failure(&self, ix: StepIx) -> Vec<StepIx> {
        self.undone_in(ix, &self.undo_order())
    }

    /// As [`Plan::undone_on_failure`], with `order` as [`Plan::undo_order`] gives it.
    pub fn undone_in(&self, ix: StepIx, order: &[StepIx]) -> Vec<StepIx> {
        if order.is_empty() {
            return Vec::new();
        }
        let mut before = self.ancestors(ix);
        before.push(ix);
        let mut included = vec![false; self.steps.len()];
        for ix in before {
            if let Some(mark) = included.get_mut(ix) {
                *mark = true;
            }
        }
        // A failed group is taken back with all that is inside.
        let mut open = self.inside(ix).to_vec();
        while let Some(ix) = open.pop() {
            included[ix] = true;
            open.extend(self.inside(ix));
        }
        order.iter().copied().filter(|ix| included[*ix]).collect()
    }

    /// Every step that has an `undo`, in the order in which a rollback of the whole plan takes them back.
    pub fn undo_order(&self) -> Vec<StepIx> {
        let waves = self.waves();
        let all = waves.iter().rev().flat_map(|wave| wave.iter().rev().copied());
        all.filter(|ix| self.steps[*ix].undo.is_some()).collect()
    }

    /// Steps that destroy something, in the order of the plan.
    pub fn destructive(&self) -> Vec<StepIx> {
        (0..self.steps.len()).filter(|ix| self.steps[*ix].destructive).collect()
    }

    /// Every place where text is spliced into a script or a query unquoted (`raw`): the step and the spliced part.
    pub fn raw_uses(&self) -> Vec<(StepIx, String)> {
        let mut found = Vec::new();
        for (ix, step) in self.steps.iter().enumerate() {
            step.for_each_template(&mut |template, place| {
                if !template.src.contains("raw") {
                    return;
                }
                for range in analyse(&template.src, place).map(|a| a.raw).unwrap_or_default() {
                    found.push((ix, template.src.get(range).unwrap_or_default().to_owned()));
                }
            });
        }
        found
    }
}

impl Step {
    /// Every template of the step with the place it stands in.
    pub fn for_each_template(&self, visit: &mut dyn FnMut(&Template, Place)) {
        self.for_each_command(&mut |command| command.for_each_template(visit));
    }

    /// Every command that the step may carry out.
    pub fn for_each_command<'s>(&'s self, visit: &mut dyn FnMut(&'s Command)) {
        if let Body::Command(command) = &self.body {
            visit(command);
        }
        self.retry.remedies.iter().for_each(|(_, command)| visit(command));
        self.checks().for_each(|check| visit(&check.command));
        if let Some(undo) = &self.undo {
            visit(&undo.command);
            undo.retry.remedies.iter().for_each(|(_, command)| visit(command));
        }
    }

    /// Every check that may be asked.
    pub fn checks(&self) -> impl Iterator<Item = &Check> {
        self.unless.as_deref().into_iter().chain(&self.verify).chain(self.check.as_deref())
    }
}

impl Step {
    /// Whether its action may be carried out again when nobody knows how it ended.
    pub fn may_be_repeated(&self) -> bool {
        self.idempotent || matches!(&self.body, Body::Command(command) if command.only_asks())
    }
}

impl Command {
    /// A request or a query that changes nothing, by its method or its `?mode=ro`.
    fn only_asks(&self) -> bool {
        match &self.action {
            Action::Http(http) => matches!(http.method.as_str(), "GET" | "HEAD"),
            Action::Sql(sql) => {
                let options = sql.database.src.rsplit_once('?').map_or("", |(_, options)| options);
                options.split('&').any(|option| option == "mode=ro")
            }
            Action::Script { .. } | Action::Exec(_) => false,
        }
    }

    /// Carried out by a process of its own, which outlives this one.
    pub fn is_process(&self) -> bool {
        matches!(self.action, Action::Script { .. } | Action::Exec(_))
    }

    /// Every template of the command with the place it stands in.
    pub fn for_each_template(&self, visit: &mut dyn FnMut(&Template, Place)) {
        match &self.action {
            Action::Script { shell, script } => visit(script, Place::Script(*shell)),
            Action::Exec(commands) => commands.iter().flatten().for_each(|arg| visit(arg, Place::Text)),
            Action::Sql(sql) => {
                let Sql { database, password, ca_file, query } = &**sql;
                visit(database, database_place(database));
                password.iter().for_each(|text| visit(text, Place::SecretText));
                ca_file.iter().for_each(|path| visit(path, Place::Text));
                visit(query, Place::Query(Dialect::of(&database.src)));
            }
            Action::Http(http) => {
                let Http { url, headers, body, auth, ca_file, .. } = &**http;
                visit(url, Place::Url);
                headers.iter().for_each(|(_, value)| visit(value, Place::SecretText));
                match body {
                    Some(HttpBody::Text(text)) => visit(text, Place::SecretText),
                    Some(HttpBody::Json(json)) => json.for_each_template(visit),
                    None => {}
                }
                match auth {
                    Some(Auth::Bearer(token)) => visit(token, Place::SecretText),
                    Some(Auth::Basic { user, password }) => {
                        visit(user, Place::SecretText);
                        visit(password, Place::SecretText);
                    }
                    None => {}
                }
                ca_file.iter().for_each(|path| visit(path, Place::Text));
            }
        }
        self.env.iter().for_each(|(_, value)| visit(value, Place::SecretText));
        self.on.iter().chain(&self.workdir).for_each(|text| visit(text, Place::Text));
        self.stdin.iter().for_each(|text| visit(text, Place::SecretText));
    }
}

/// A server's URL is a URL: what stands in it is percent-encoded, a password above all. A path is not.
pub(super) fn database_place(database: &Template) -> Place {
    match Dialect::of(&database.src) {
        Dialect::Postgres => Place::Url,
        Dialect::Sqlite | Dialect::Unknown => Place::SecretText,
    }
}

impl JsonTemplate {
    fn for_each_template(&self, visit: &mut dyn FnMut(&Template, Place)) {
        match self {
            Self::Value(_) => {}
            Self::Text(text) => visit(text, Place::SecretText),
            Self::List(items) => items.iter().for_each(|item| item.for_each_template(visit)),
            Self::Map(entries) => entries.iter().for_each(|(_, value)| value.for_each_template(visit)),
        }
    }
}
