//! The texts that a template may become, with a placeholder for each `{{ }}`, so that a script's or query's quoting is
//! checked before anything runs.
//!
//! A template with `{% if %}` is looked at twice, with every condition true and with every condition false, and a
//! loop's body once. What only another mixture of branches shows is found when the text is rendered: the same check
//! runs there again on the text as it really is, and that one decides.

use std::ops::Range;

use minijinja::machinery::ast::{Expr, Stmt};

use super::analysis::{Walker, whole};
use super::environment::placeholder;
use super::{Dialect, Place, TemplateError, shell, sql};

/// What stands in for spliced text, which is not known yet: a character without a meaning of its own.
const SPLICED: char = '\u{10fffb}';

#[derive(Default)]
struct Flat {
    text: String,
    /// The source range of each placeholder.
    ranges: Vec<Range<usize>>,
}

pub(super) fn check(stmts: &[Stmt<'_>], place: Place, walker: &mut Walker<'_>) {
    if !matches!(place, Place::Script(_) | Place::Query(_)) {
        return;
    }
    for branch in [true, false] {
        let mut flat = Flat::default();
        if !flatten(stmts, branch, walker, &mut flat) {
            walker.errors.push(TemplateError::new("the text holds too many values", None));
            return;
        }
        match place {
            Place::Script(which) => script(&flat, which, walker),
            Place::Query(dialect) => query(&flat, dialect, walker),
            _ => {}
        }
    }
    walker.reparsed.sort_by_key(|(range, _)| range.start);
    walker.reparsed.dedup();
}

/// False if there are more values than placeholders.
fn flatten(stmts: &[Stmt<'_>], branch: bool, walker: &Walker<'_>, flat: &mut Flat) -> bool {
    stmts.iter().all(|stmt| match stmt {
        Stmt::EmitRaw(raw) => {
            flat.text.push_str(raw.raw);
            true
        }
        Stmt::EmitExpr(emit) => match (&emit.expr, placeholder(flat.ranges.len())) {
            (Expr::Filter(filter), _) if filter.name == "raw" => {
                flat.text.push(SPLICED);
                true
            }
            (expr, Some(mark)) => {
                flat.text.push(mark);
                flat.ranges.push(walker.range(whole(expr)));
                true
            }
            (_, None) => false,
        },
        Stmt::IfCond(cond) => {
            flatten(if branch { &cond.true_body } else { &cond.false_body }, branch, walker, flat)
        }
        Stmt::ForLoop(l) => flatten(&l.body, branch, walker, flat),
        Stmt::WithBlock(w) => flatten(&w.body, branch, walker, flat),
        _ => true,
    })
}

fn script(flat: &Flat, which: crate::plan::Shell, walker: &mut Walker<'_>) {
    let woven = shell::weave(&flat.text, which);
    let range = |index: Option<usize>| index.and_then(|i| flat.ranges.get(i)).cloned();
    for refusal in woven.refusals {
        let at = range(refusal.value).or_else(|| flat.ranges.first().cloned());
        walker.errors.push(TemplateError { message: refusal.message, range: at, help: Some(refusal.help) });
    }
    for (value, by) in woven.reparsed {
        walker.reparsed.extend(range(Some(value)).map(|r| (r, by)));
    }
}

fn query(flat: &Flat, dialect: Dialect, walker: &mut Walker<'_>) {
    if flat.ranges.is_empty() {
        return;
    }
    // Where nobody knows yet, only what is wrong in either.
    if dialect == Dialect::Unknown && sql::number(&flat.text, Dialect::Sqlite).is_ok() {
        return;
    }
    for misplaced in sql::number(&flat.text, dialect).err().unwrap_or_default() {
        let range = misplaced.value.and_then(|i| flat.ranges.get(i)).or(flat.ranges.first()).cloned();
        walker.errors.push(TemplateError { message: misplaced.message, range, help: Some(misplaced.help) });
    }
}
