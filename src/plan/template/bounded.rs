//! The tree of a text as it is carried out: each place where much could be made out of little goes through one of the
//! checks in [`super::limits`]. MiniJinja's operators cannot be replaced and its fuel counts instructions, so `a ~ a` said
//! thirty times would be gigabytes for thirty instructions.
//!
//! An operator becomes a filter with two values; what builds a value (a list, a filter, a call) is followed by a look at
//! what it built. Nothing is folded while the text is compiled, for a filter is no constant. Raw text becomes a value that
//! is written, so that it is counted like every other.

use minijinja::machinery::Span;
use minijinja::machinery::ast::*;
use minijinja::value::Value;

use super::limits::{ADD, CONCAT, MADE, MULTIPLY};
use super::names::RawText;

pub(super) fn stmts<'a>(all: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    all.iter().filter_map(stmt).collect()
}

/// None for what the language does not have: it was refused when the text was read.
fn stmt<'a>(stmt: &Stmt<'a>) -> Option<Stmt<'a>> {
    Some(match stmt {
        Stmt::Template(t) => {
            Stmt::Template(Spanned::new(Template { children: stmts(&t.children) }, t.span()))
        }
        Stmt::EmitRaw(raw) => {
            let value = Value::from_object(RawText(raw.raw.to_owned()));
            let expr = Expr::Const(Spanned::new(Const { value }, raw.span()));
            Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, raw.span()))
        }
        Stmt::EmitExpr(e) => Stmt::EmitExpr(Spanned::new(EmitExpr { expr: expr(&e.expr) }, e.span())),
        Stmt::IfCond(c) => Stmt::IfCond(Spanned::new(
            IfCond { expr: expr(&c.expr), true_body: stmts(&c.true_body), false_body: stmts(&c.false_body) },
            c.span(),
        )),
        Stmt::ForLoop(l) => Stmt::ForLoop(Spanned::new(
            ForLoop {
                target: target(&l.target)?,
                iter: expr(&l.iter),
                filter_expr: l.filter_expr.as_ref().map(expr),
                recursive: l.recursive,
                body: stmts(&l.body),
                else_body: stmts(&l.else_body),
            },
            l.span(),
        )),
        Stmt::WithBlock(w) => {
            let assignments = w.assignments.iter().map(|(name, value)| Some((target(name)?, expr(value))));
            let assignments = assignments.collect::<Option<Vec<_>>>()?;
            Stmt::WithBlock(Spanned::new(WithBlock { assignments, body: stmts(&w.body) }, w.span()))
        }
        Stmt::Set(s) => {
            Stmt::Set(Spanned::new(Set { target: target(&s.target)?, expr: expr(&s.expr) }, s.span()))
        }
        _ => return None,
    })
}

/// The names that are assigned to: no values, so they stay as they are.
fn target<'a>(e: &Expr<'a>) -> Option<Expr<'a>> {
    let all = |items: &[Expr<'a>]| items.iter().map(target).collect::<Option<Vec<_>>>();
    Some(match e {
        Expr::Var(v) => Expr::Var(Spanned::new(Var { id: v.id }, v.span())),
        Expr::List(l) => Expr::List(Spanned::new(List { items: all(&l.items)? }, l.span())),
        Expr::Tuple(t) => Expr::Tuple(Spanned::new(Tuple { items: all(&t.items)? }, t.span())),
        _ => return None,
    })
}

fn exprs<'a>(all: &[Expr<'a>]) -> Vec<Expr<'a>> {
    all.iter().map(expr).collect()
}

fn args<'a>(all: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let arg = |arg: &CallArg<'a>| match arg {
        CallArg::Pos(e) => CallArg::Pos(expr(e)),
        CallArg::Kwarg(name, e) => CallArg::Kwarg(name, expr(e)),
        CallArg::PosSplat(e) => CallArg::PosSplat(expr(e)),
        CallArg::KwargSplat(e) => CallArg::KwargSplat(expr(e)),
    };
    all.iter().map(arg).collect()
}

fn filter<'a>(name: &'static str, value: Expr<'a>, args: Vec<CallArg<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(Filter { name, expr: Some(value), args }, span))
}

pub(super) fn expr<'a>(e: &Expr<'a>) -> Expr<'a> {
    let made = |value: Expr<'a>| filter(MADE, value, Vec::new(), e.span());
    match e {
        Expr::Var(v) => Expr::Var(Spanned::new(Var { id: v.id }, v.span())),
        Expr::Const(c) => Expr::Const(Spanned::new(Const { value: c.value.clone() }, c.span())),
        Expr::Slice(s) => made(Expr::Slice(Spanned::new(
            Slice {
                expr: expr(&s.expr),
                start: s.start.as_ref().map(expr),
                stop: s.stop.as_ref().map(expr),
                step: s.step.as_ref().map(expr),
            },
            s.span(),
        ))),
        Expr::UnaryOp(u) => {
            // It cannot be copied.
            let is_not = matches!(u.op, UnaryOpKind::Not);
            let op = if is_not { UnaryOpKind::Not } else { UnaryOpKind::Neg };
            Expr::UnaryOp(Spanned::new(UnaryOp { op, expr: expr(&u.expr) }, u.span()))
        }
        Expr::BinOp(b) => {
            let (left, right) = (expr(&b.left), expr(&b.right));
            let name = match b.op {
                BinOpKind::Add => ADD,
                BinOpKind::Mul => MULTIPLY,
                BinOpKind::Concat => CONCAT,
                op => return Expr::BinOp(Spanned::new(BinOp { op, left, right }, b.span())),
            };
            filter(name, left, vec![CallArg::Pos(right)], b.span())
        }
        Expr::Compare(c) => {
            let ops = c.ops.iter().map(|o| CompareOp { op: o.op, expr: expr(&o.expr) }).collect();
            Expr::Compare(Spanned::new(Compare { expr: expr(&c.expr), ops }, c.span()))
        }
        Expr::IfExpr(i) => Expr::IfExpr(Spanned::new(
            IfExpr {
                test_expr: expr(&i.test_expr),
                true_expr: expr(&i.true_expr),
                false_expr: i.false_expr.as_ref().map(expr),
            },
            i.span(),
        )),
        Expr::Filter(f) => made(Expr::Filter(Spanned::new(
            Filter { name: f.name, expr: f.expr.as_ref().map(expr), args: args(&f.args) },
            f.span(),
        ))),
        Expr::Test(t) => {
            let test = Test { name: t.name, expr: expr(&t.expr), args: args(&t.args) };
            Expr::Test(Spanned::new(test, t.span()))
        }
        Expr::GetAttr(g) => {
            Expr::GetAttr(Spanned::new(GetAttr { expr: expr(&g.expr), name: g.name }, g.span()))
        }
        Expr::GetItem(g) => {
            let item = GetItem { expr: expr(&g.expr), subscript_expr: expr(&g.subscript_expr) };
            Expr::GetItem(Spanned::new(item, g.span()))
        }
        Expr::Call(c) => {
            // The name of what is called is no value.
            let callee = match &c.expr {
                Expr::Var(v) => Expr::Var(Spanned::new(Var { id: v.id }, v.span())),
                other => expr(other),
            };
            made(Expr::Call(Spanned::new(Call { expr: callee, args: args(&c.args) }, c.span())))
        }
        Expr::List(l) => made(Expr::List(Spanned::new(List { items: exprs(&l.items) }, l.span()))),
        Expr::Tuple(t) => made(Expr::Tuple(Spanned::new(Tuple { items: exprs(&t.items) }, t.span()))),
        Expr::Map(m) => {
            made(Expr::Map(Spanned::new(Map { keys: exprs(&m.keys), values: exprs(&m.values) }, m.span())))
        }
    }
}
