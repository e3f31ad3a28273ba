//! Values in shell scripts: each becomes a reference to a variable, quoted as its lexical place asks.
//!
//! The script's text is read once by a lexer for what bash and dash have in common, plus bash's own forms where the
//! shell is bash. Where a value stands decides what is written for it:
//!
//! | place | written |
//! |---|---|
//! | a word, also joined to text | `"${RB_V1}"` |
//! | double quotes, here-document, comment | `${RB_V1}` |
//! | single quotes | `'"${RB_V1}"'` |
//! | `$'...'` | `'"${RB_V1}"$'` |
//! | `$(( ))`, `(( ))` | `(${RB_V1})`, and the value must be an integer |
//! | a subscript, `let`, `-eq` in `[[ ]]`, a variable that arithmetic reads | as a word, and an integer |
//!
//! Everything else is refused: quoted here-documents, names, `${ }`, backslashes before a value, and whatever bash and
//! dash read differently. A script without values is left alone. What is not covered: a value that begins with a dash
//! is still one argument, but the command it is given to may read it as an option (write `--` before it).

mod command;
mod heredoc;
mod lexer;
mod word;

use std::collections::BTreeSet;

use super::environment::{self, Rendered, placeholder_index};
use super::names::SecretMark;
use super::{Ctx, Script, TemplateError, analysis, text};
use crate::plan::Shell;
use minijinja::value::{Value, ValueKind};

/// Why a value cannot stand where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The value's index; none for a script that cannot be followed.
    pub value: Option<usize>,
    pub message: String,
    pub help: String,
}

/// A script with quoting around each placeholder; the placeholder itself is to become the variable's name.
#[derive(Debug, Default)]
pub(super) struct Woven {
    pub text: String,
    /// Values that must be integers.
    pub integers: BTreeSet<usize>,
    pub refusals: Vec<Refusal>,
    /// Values that are parsed a second time, and by what.
    pub reparsed: Vec<(usize, String)>,
}

/// Puts quoting around the placeholders of `text`.
pub(super) fn weave(text: &str, shell: Shell) -> Woven {
    if !text.chars().any(|c| placeholder_index(c).is_some()) {
        return Woven { text: text.to_owned(), ..Woven::default() };
    }
    lexer::Lexer::new(text, shell).run()
}

pub(super) fn render_script(src: &str, shell: Shell, ctx: &Ctx<'_>) -> Result<Script, TemplateError> {
    let Rendered { text, values } = environment::render(src, ctx)?;
    if text.contains('\0') {
        return Err(TemplateError::new("a script cannot hold a NUL character", None));
    }
    let woven = weave(&text, shell);
    if let Some(refusal) = woven.refusals.into_iter().next() {
        return Err(TemplateError { message: refusal.message, range: None, help: Some(refusal.help) });
    }
    let mut script = String::with_capacity(woven.text.len());
    let mut env: Vec<(String, String)> = Vec::new();
    for c in woven.text.chars() {
        let Some(index) = placeholder_index(c) else {
            script.push(c);
            continue;
        };
        let Some(value) = values.get(index) else {
            return Err(TemplateError::new("a script holds a reserved character", None));
        };
        let value = variable(value, woven.integers.contains(&index))?;
        let at = match env.iter().position(|(_, known)| *known == value) {
            Some(at) => at,
            None => {
                env.push((format!("RB_V{}", env.len() + 1), value));
                env.len() - 1
            }
        };
        script.push_str(&env[at].0);
    }
    Ok(Script { script, env })
}

/// A value as the text of an environment variable.
fn variable(value: &Value, integer: bool) -> Result<String, TemplateError> {
    let refuse = |message: String, help: &str| {
        Err(TemplateError { message, range: None, help: Some(help.to_owned()) })
    };
    if value.downcast_object_ref::<SecretMark>().is_some() {
        return Err(TemplateError::new(analysis::SECRET_PLACE, None));
    }
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return refuse(
            "a list or map cannot enter a script".into(),
            "take one item, join the items, write {% for x in list %}, or pass it as JSON: {{ x | tojson }}",
        );
    }
    let text = text::plain(value)?;
    if integer {
        return match text.trim().parse::<i64>() {
            // Written anew: a leading zero would make it octal.
            Ok(number) => Ok(number.to_string()),
            Err(_) => refuse(
                format!("{} is not an integer, and it stands in shell arithmetic", quoted(&text)),
                "arithmetic runs commands that a value holds, so only an integer is let in",
            ),
        };
    }
    if text.contains('\0') {
        return refuse(
            format!("{} holds a NUL character, which no variable can hold", quoted(&text)),
            "write it to a file",
        );
    }
    Ok(text)
}

/// A value for a message, not longer than a line.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
}

#[cfg(test)]
mod tests;
