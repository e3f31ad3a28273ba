//! Reading a text before anything runs: syntax, names, filters, secrets, and how its values stand in their place.

use std::ops::Range;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Span, parse, parse_expr, tokenize};

use super::compare;
use super::environment;
use super::filters::{FILTERS, FUNCTIONS, TESTS};
use super::flatten;
use super::normalise::{Normalised, normalise};
use super::{Analysis, Place, Reference, TemplateError};
use crate::model::nearest;

pub(super) const SECRET_PLACE: &str = "a secret may only be used in `env`, `stdin`, `http` headers, bodies, URLs and `auth`, and the database and password of `sql`";

const ROOTS: &[&str] = &["drill", "groups", "item", "params", "result", "run", "secrets", "steps"];
const DRILL_FIELDS: &[&str] = &["dir", "port", "run"];
const RUN_FIELDS: &[&str] =
    &["dir", "environment", "id", "operator", "outcome", "phases", "rpo", "rto", "started_at"];
const PHASE_FIELDS: &[&str] = &["took"];
const STEP_FIELDS: &[&str] = &["choice", "items", "outcome", "outputs", "result"];
const RESULT_FIELDS: &[&str] = &[
    "affected", "body", "columns", "duration", "exit", "headers", "json", "lines", "notices", "rows",
    "signal", "status", "stderr", "stdout",
];

pub(super) fn analyse(source: &str, place: Place) -> Result<Analysis, Vec<TemplateError>> {
    let normalised = normalise(source, place).map_err(|e| vec![e])?;
    let mut walker = Walker::new(&normalised, place);
    let text = normalised.text.as_str();
    if place == Place::Expression {
        if text.trim().is_empty() {
            return Err(vec![TemplateError::new("the expression is empty", Some(0..source.len()))]);
        }
        match readable(text, true).and_then(|()| parse_expr(text)) {
            Ok(expr) => walker.expr(&expr),
            Err(e) => walker.syntax(&e),
        }
    } else if text.contains("{{") || text.contains("{%") {
        match readable(text, false).and_then(|()| parse(text, "", environment::syntax())) {
            Ok(Stmt::Template(template)) => {
                walker.block(&template.children);
                if walker.errors.is_empty() {
                    flatten::check(&template.children, place, &mut walker);
                }
            }
            Ok(_) => {}
            Err(e) => walker.syntax(&e),
        }
    }
    walker.finish()
}

/// The first thing that is no part of the language. MiniJinja's parser forgets it when it stands behind a quoted text:
/// `x == 'a' && y` would be read as `x == 'a'`.
fn readable(text: &str, in_expression: bool) -> Result<(), minijinja::Error> {
    tokenize(text, in_expression, environment::syntax()).try_for_each(|token| token.map(|_| ()))
}

pub(super) struct Walker<'n> {
    normalised: &'n Normalised,
    place: Place,
    /// Names bound by `for`, `with` and `set`, innermost last.
    locals: Vec<String>,
    pub errors: Vec<TemplateError>,
    references: Vec<Reference>,
    raw: Vec<Range<usize>>,
    pub reparsed: Vec<(Range<usize>, String)>,
    /// Stretches of the normalised text to replace.
    pub rewrites: Vec<(Range<usize>, String)>,
}

/// `["steps", "a", "outputs", "x"]` of `steps.a.outputs.x`, as far as the path is constant.
pub(super) struct Path {
    pub parts: Vec<String>,
    pub span: Span,
    /// The path goes on with something that is not constant.
    pub open: bool,
}

impl<'n> Walker<'n> {
    fn new(normalised: &'n Normalised, place: Place) -> Self {
        Self {
            normalised,
            place,
            locals: Vec::new(),
            errors: Vec::new(),
            references: Vec::new(),
            raw: Vec::new(),
            reparsed: Vec::new(),
            rewrites: Vec::new(),
        }
    }

    fn finish(mut self) -> Result<Analysis, Vec<TemplateError>> {
        if !self.errors.is_empty() {
            self.errors.sort_by_key(|e| e.range.as_ref().map_or(0, |r| r.start));
            self.errors.dedup();
            return Err(self.errors);
        }
        let mut normalised = self.normalised.text.clone();
        self.rewrites.sort_by_key(|(range, _)| range.start);
        self.rewrites.dedup();
        for (range, text) in self.rewrites.into_iter().rev() {
            normalised.replace_range(range, &text);
        }
        Ok(Analysis { normalised, references: self.references, raw: self.raw, reparsed: self.reparsed })
    }

    pub fn range(&self, span: Span) -> Range<usize> {
        self.normalised.to_source(span.start_offset as usize..span.end_offset as usize)
    }

    pub fn text(&self) -> &str {
        &self.normalised.text
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>, help: Option<String>) {
        let range = Some(self.range(span));
        self.errors.push(TemplateError { message: message.into(), range, help });
    }

    fn syntax(&mut self, error: &minijinja::Error) {
        let (message, range) = environment::syntax_error(error);
        let range = range.map(|r| self.normalised.to_source(r));
        let help = (self.place != Place::Expression).then(|| {
            "braces that are not a template are written between {% raw %} and {% endraw %}".to_owned()
        });
        self.errors.push(TemplateError { message, range, help });
    }

    fn block(&mut self, stmts: &[Stmt<'_>]) {
        for stmt in stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &Stmt<'_>) {
        match stmt {
            Stmt::Template(t) => self.block(&t.children),
            Stmt::EmitRaw(_) => {}
            Stmt::EmitExpr(emit) => self.emit(&emit.expr),
            Stmt::IfCond(cond) => {
                self.expr(&cond.expr);
                self.block(&cond.true_body);
                self.block(&cond.false_body);
            }
            Stmt::ForLoop(l) => {
                self.expr(&l.iter);
                if l.recursive {
                    self.error(l.span(), "a recursive loop is not available", None);
                }
                let scope = self.locals.len();
                self.bind(&l.target);
                self.locals.push("loop".into());
                if let Some(filter) = &l.filter_expr {
                    self.expr(filter);
                }
                self.block(&l.body);
                self.locals.truncate(scope);
                self.block(&l.else_body);
            }
            Stmt::WithBlock(w) => {
                let scope = self.locals.len();
                for (target, expr) in &w.assignments {
                    self.expr(expr);
                    self.bind(target);
                }
                self.block(&w.body);
                self.locals.truncate(scope);
            }
            Stmt::Set(set) => {
                self.expr(&set.expr);
                self.bind(&set.target);
            }
            Stmt::SetBlock(s) => self.error(
                s.span(),
                "`{% set %}` around text is not available",
                Some("write {% set name = expression %}".into()),
            ),
            Stmt::FilterBlock(f) => self.error(
                f.span(),
                "`{% filter %}` is not available",
                Some("filter each value: {{ x | upper }}".into()),
            ),
            Stmt::AutoEscape(a) => self.error(a.span(), "`{% autoescape %}` is not available", None),
            Stmt::Do(d) => self.error(d.span(), "`{% do %}` is not available", None),
        }
    }

    /// The names a `for`, `with` or `set` binds.
    fn bind(&mut self, target: &Expr<'_>) {
        match target {
            Expr::Var(var) if ROOTS.contains(&var.id) => {
                self.error(target.span(), format!("`{}` cannot be given another meaning", var.id), None);
            }
            Expr::Var(var) => self.locals.push(var.id.to_owned()),
            Expr::List(list) => list.items.iter().for_each(|item| self.bind(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.bind(item)),
            _ => self.error(target.span(), "only a name can be assigned to", None),
        }
    }

    /// What stands between `{{` and `}}`.
    fn emit(&mut self, expr: &Expr<'_>) {
        if let Expr::Filter(filter) = expr
            && filter.name == "raw"
            && let Some(inner) = &filter.expr
        {
            self.raw.push(self.range(whole(expr)));
            return self.expr(inner);
        }
        let Some(path) = path(expr).filter(|p| p.parts[0] == "secrets" && !self.is_local("secrets")) else {
            return self.expr(expr);
        };
        if !matches!(self.place, Place::SecretText | Place::Url) {
            self.error(path.span, SECRET_PLACE, None);
        } else if path.open || path.parts.len() != 2 {
            self.secret_alone(path.span);
        } else {
            self.references.push(Reference { path: path.parts, range: self.range(path.span) });
        }
    }

    fn secret_alone(&mut self, span: Span) {
        let help = Some("write {{ secrets.name }}, without filters or conditions".into());
        self.error(span, "a secret can only be used as it is", help);
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|local| local == name)
    }

    pub fn expr(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::Const(_) => {}
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.lookup(expr),
            Expr::Slice(s) => {
                self.expr(&s.expr);
                for part in [&s.start, &s.stop, &s.step].into_iter().flatten() {
                    self.expr(part);
                }
            }
            Expr::UnaryOp(op) => self.expr(&op.expr),
            Expr::BinOp(op) => {
                self.expr(&op.left);
                self.expr(&op.right);
                compare::binary(self, op);
            }
            Expr::Compare(chain) => {
                self.expr(&chain.expr);
                for op in &chain.ops {
                    self.expr(&op.expr);
                }
                compare::chain(self, chain);
            }
            Expr::IfExpr(cond) => {
                self.expr(&cond.test_expr);
                self.expr(&cond.true_expr);
                match &cond.false_expr {
                    Some(otherwise) => self.expr(otherwise),
                    None => self.error(
                        whole(expr),
                        "this `if` has no `else`",
                        Some("say what the value is otherwise: a if b else c".into()),
                    ),
                }
            }
            Expr::Filter(filter) => {
                self.known("filter", filter.name, FILTERS, whole(expr));
                if filter.name == "raw" {
                    let help = Some("write `| raw` as the last filter of a {{ }}".into());
                    self.error(whole(expr), "`raw` only makes sense at the end of a {{ }}", help);
                }
                self.filter_argument(filter.name, &filter.args, FILTERS);
                if let Some(inner) = &filter.expr {
                    self.expr(inner);
                }
                self.args(&filter.args);
            }
            Expr::Test(test) => {
                self.known("test", test.name, TESTS, whole(expr));
                self.expr(&test.expr);
                self.args(&test.args);
            }
            Expr::Call(call) => self.call(&call.expr, &call.args),
            Expr::List(list) => list.items.iter().for_each(|item| self.expr(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expr(item)),
            Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|item| self.expr(item)),
        }
    }

    /// `map('raw')` and the like take a filter or test by name.
    fn filter_argument(&mut self, name: &str, args: &[CallArg<'_>], filters: &[&str]) {
        let Some(CallArg::Pos(first)) = args.first() else { return };
        let Some(named) = constant(first) else { return };
        match name {
            "map" if named == "raw" => {
                self.error(first.span(), "`raw` only makes sense at the end of a {{ }}", None)
            }
            "map" => self.known("filter", &named, filters, first.span()),
            "select" | "reject" => self.known("test", &named, TESTS, first.span()),
            _ => {}
        }
    }

    fn args(&mut self, args: &[CallArg<'_>]) {
        for arg in args {
            match arg {
                CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => {
                    self.expr(e);
                }
            }
        }
    }

    fn call(&mut self, callee: &Expr<'_>, args: &[CallArg<'_>]) {
        self.args(args);
        match callee {
            Expr::Var(var) if !self.is_local(var.id) => {
                self.known("function", var.id, FUNCTIONS, whole(callee));
            }
            Expr::GetAttr(attr) if matches!(&attr.expr, Expr::Var(v) if v.id == "loop" && self.is_local("loop")) =>
                {}
            Expr::GetAttr(attr) => {
                self.expr(&attr.expr);
                let help =
                    FILTERS.contains(&attr.name).then(|| format!("write the filter `| {}`", attr.name));
                self.error(whole(callee), format!("there is no method `{}`", attr.name), help);
            }
            _ => self.error(whole(callee), "this cannot be called", None),
        }
    }

    fn known(&mut self, kind: &str, name: &str, known: &[&str], span: Span) {
        if !known.contains(&name) {
            let help = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            self.error(span, format!("unknown {kind} `{name}`"), help);
        }
    }

    fn lookup(&mut self, expr: &Expr<'_>) {
        let Some(path) = path(expr) else {
            // Not rooted in a name: `(a or b).c`, `[1, 2][0]`.
            match expr {
                Expr::GetAttr(attr) => self.expr(&attr.expr),
                Expr::GetItem(item) => {
                    self.expr(&item.expr);
                    self.expr(&item.subscript_expr);
                }
                _ => {}
            }
            return;
        };
        self.subscripts(expr);
        if self.is_local(&path.parts[0]) {
            return;
        }
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["secrets", ..] if self.place == Place::SecretText || self.place == Place::Url => {
                return self.secret_alone(path.span);
            }
            ["secrets", ..] => return self.error(path.span, SECRET_PLACE, None),
            ["result", ..] if self.place != Place::Expression => {
                let help = Some("keep it as an output of the step and read steps.<id>.outputs".into());
                return self.error(
                    path.span,
                    "`result` is known only in `expect`, `outputs` and `retry.when`",
                    help,
                );
            }
            ["params"] => return self.incomplete(&path, "params", "a parameter: `params.name`"),
            ["steps"] => return self.incomplete(&path, "steps", "a step's id as it is: `steps.id.outcome`"),
            ["steps", id] => {
                let what = format!("a field: {}", list(STEP_FIELDS));
                return self.incomplete(&path, &format!("steps.{id}"), &what);
            }
            ["steps", id, "outputs"] => {
                return self.incomplete(&path, &format!("steps.{id}.outputs"), "an output's name");
            }
            ["groups"] => return self.incomplete(&path, "groups", "a group's name as it is: `groups.web`"),
            ["run"] => return self.incomplete(&path, "run", &format!("a field: {}", list(RUN_FIELDS))),
            ["run", "phases"] => {
                return self.incomplete(&path, "run.phases", "a phase and a field: `run.phases.id.took`");
            }
            ["run", "phases", id] => {
                return self.incomplete(&path, &format!("run.phases.{id}"), "a field: `took`");
            }
            ["run", "phases", id, field, ..] if !PHASE_FIELDS.contains(&field) => {
                self.unknown_field(&path, &format!("run.phases.{id}"), field, PHASE_FIELDS);
            }
            ["drill"] => return self.incomplete(&path, "drill", "a field: `dir`"),
            ["result"] => {
                return self.incomplete(&path, "result", &format!("a field: {}", list(RESULT_FIELDS)));
            }
            ["steps", id, field, ..] if !STEP_FIELDS.contains(&field) => {
                self.unknown_field(&path, &format!("steps.{id}"), field, STEP_FIELDS);
            }
            ["steps", id, "result", field, ..] if !RESULT_FIELDS.contains(&field) => {
                self.unknown_field(&path, &format!("steps.{id}.result"), field, RESULT_FIELDS);
            }
            ["run", field, ..] if !RUN_FIELDS.contains(&field) => {
                self.unknown_field(&path, "run", field, RUN_FIELDS)
            }
            ["result", field, ..] if !RESULT_FIELDS.contains(&field) => {
                self.unknown_field(&path, "result", field, RESULT_FIELDS);
            }
            ["drill", field, ..] if !DRILL_FIELDS.contains(&field) => {
                self.unknown_field(&path, "drill", field, DRILL_FIELDS);
            }
            [root, ..] if !ROOTS.contains(&root) => {
                let names: Vec<&str> =
                    ROOTS.iter().copied().chain(self.locals.iter().map(String::as_str)).collect();
                let help = match nearest(root, names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a text in quotes: '{root}'; a parameter: params.{root}"),
                };
                return self.error(root_span(expr), format!("undefined name `{root}`"), Some(help));
            }
            _ => {}
        }
        self.references.push(Reference { range: self.range(path.span), path: path.parts });
    }

    fn incomplete(&mut self, path: &Path, name: &str, missing: &str) {
        self.error(path.span, format!("`{name}` needs {missing}"), None);
    }

    fn unknown_field(&mut self, path: &Path, of: &str, field: &str, known: &[&str]) {
        let help = match nearest(field, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the fields are {}", list(known)),
        };
        self.error(path.span, format!("`{of}` has no field `{field}`"), Some(help));
    }

    /// Visits the subscripts of a path that are expressions themselves.
    fn subscripts(&mut self, expr: &Expr<'_>) {
        match expr {
            Expr::GetAttr(attr) => self.subscripts(&attr.expr),
            Expr::GetItem(item) => {
                self.subscripts(&item.expr);
                self.expr(&item.subscript_expr);
            }
            _ => {}
        }
    }
}

fn list(names: &[&str]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// The path that `expr` reads, if it begins with a name.
pub(super) fn path(expr: &Expr<'_>) -> Option<Path> {
    let grow = |inner: &Expr<'_>, part: Option<String>, span: Span| {
        let mut path = path(inner)?;
        match part {
            Some(part) if !path.open => {
                path.parts.push(part);
                path.span = join(path.span, span);
            }
            _ => path.open = true,
        }
        Some(path)
    };
    match expr {
        Expr::Var(var) => Some(Path { parts: vec![var.id.to_owned()], span: var.span(), open: false }),
        Expr::GetAttr(attr) => grow(&attr.expr, Some(attr.name.to_owned()), attr.span()),
        Expr::GetItem(item) => {
            let part = constant(&item.subscript_expr);
            grow(&item.expr, part, item.span())
        }
        _ => None,
    }
}

/// A text that is known already. MiniJinja's own way would also multiply it.
fn constant(expr: &Expr<'_>) -> Option<String> {
    const LONGEST: usize = 1 << 10;
    match expr {
        Expr::Const(c) => c.value.as_str().map(str::to_owned),
        Expr::BinOp(op) if matches!(op.op, BinOpKind::Add | BinOpKind::Concat) => {
            let text = constant(&op.left)? + &constant(&op.right)?;
            Some(text).filter(|text| text.len() <= LONGEST)
        }
        _ => None,
    }
}

/// The span of the whole of `expr`. MiniJinja's own begins at the last operator of `a.b | c`.
pub(super) fn whole(expr: &Expr<'_>) -> Span {
    let first = match expr {
        Expr::GetAttr(attr) => &attr.expr,
        Expr::GetItem(item) => &item.expr,
        Expr::Slice(slice) => &slice.expr,
        Expr::Filter(filter) => match &filter.expr {
            Some(inner) => inner,
            None => return expr.span(),
        },
        Expr::Test(test) => &test.expr,
        Expr::Call(call) => &call.expr,
        Expr::BinOp(op) => &op.left,
        Expr::Compare(chain) => &chain.expr,
        Expr::IfExpr(cond) => &cond.true_expr,
        _ => return expr.span(),
    };
    join(whole(first), expr.span())
}

fn join(from: Span, to: Span) -> Span {
    Span { start_line: from.start_line, start_col: from.start_col, start_offset: from.start_offset, ..to }
}

fn root_span(expr: &Expr<'_>) -> Span {
    match expr {
        Expr::GetAttr(attr) => root_span(&attr.expr),
        Expr::GetItem(item) => root_span(&item.expr),
        other => other.span(),
    }
}
