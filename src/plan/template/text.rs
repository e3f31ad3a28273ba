//! Values in plain text, in text with secrets, in JSON, and whole values.

use minijinja::value::{Value, ValueKind};
use serde_json::Value as Json;

use super::environment::{self, Part};
use super::names::{RawText, SecretMark};
use super::{Ctx, TemplateError};
use crate::model::{Piece, SecretName, SecretText};
use crate::plan::JsonTemplate;

/// A value as text: a string as it is, a number or boolean in its usual form, a list or map as JSON. Null is an error.
pub(super) fn plain(value: &Value) -> Result<String, TemplateError> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    match value.kind() {
        ValueKind::Undefined => Err(TemplateError::new("a value is undefined", None)),
        ValueKind::None => Err(TemplateError {
            message: "a value is null and cannot be written as text".into(),
            range: None,
            help: Some("say what to write instead: `{{ x if x is not none else 'nothing' }}`".into()),
        }),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        _ => match json(value)? {
            Json::Number(n) => Ok(n.to_string()),
            other => Ok(other.to_string()),
        },
    }
}

/// A value as JSON.
pub(super) fn json(value: &Value) -> Result<Json, TemplateError> {
    if value.is_undefined() {
        return Err(TemplateError::new("a value is undefined", None));
    }
    if value.downcast_object_ref::<SecretMark>().is_some() {
        return Err(secret_refused());
    }
    if let Some(raw) = value.downcast_object_ref::<RawText>() {
        return Ok(Json::from(raw.0.as_str()));
    }
    serde_json::to_value(value)
        .map_err(|e| TemplateError::new(format!("a value cannot be written as JSON: {e}"), None))
}

fn secret_refused() -> TemplateError {
    TemplateError::new(super::analysis::SECRET_PLACE, None)
}

pub(super) fn render_text(src: &str, ctx: &Ctx<'_>) -> Result<String, TemplateError> {
    let mut out = String::new();
    for part in environment::render(src, ctx)?.parts() {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Value(value) if value.downcast_object_ref::<SecretMark>().is_some() => {
                return Err(secret_refused());
            }
            Part::Value(value) => out.push_str(&plain(value)?),
        }
    }
    Ok(out)
}

/// Builds text piece by piece; neighbouring plain text becomes one piece.
#[derive(Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    pub fn text(&mut self, text: &str) {
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Plain(last)) => last.push_str(text),
            _ => self.0.push(Piece::Plain(text.to_owned())),
        }
    }
    pub fn secret(&mut self, name: &str) {
        self.0.push(Piece::Secret(SecretName(name.to_owned())));
    }
    pub fn json_secret(&mut self, name: &str) {
        self.0.push(Piece::JsonSecret(SecretName(name.to_owned())));
    }
    pub fn url_secret(&mut self, name: &str) {
        self.0.push(Piece::UrlSecret(SecretName(name.to_owned())));
    }
    pub fn done(self) -> SecretText {
        SecretText(self.0)
    }
}

pub(super) fn render_secret_text(src: &str, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    let mut pieces = Pieces::default();
    for part in environment::render(src, ctx)?.parts() {
        match part {
            Part::Text(text) => pieces.text(text),
            Part::Value(value) => match value.downcast_object_ref::<SecretMark>() {
                Some(secret) => pieces.secret(&secret.0),
                None => pieces.text(&plain(value)?),
            },
        }
    }
    Ok(pieces.done())
}

/// A text that is one `{{ }}` and nothing else keeps the value's type.
pub(super) fn render_value(src: &str, ctx: &Ctx<'_>) -> Result<Json, TemplateError> {
    let rendered = environment::render(src, ctx)?;
    if let [Part::Value(value)] = rendered.parts()[..]
        && !src.contains("{%")
    {
        return json(value);
    }
    render_text(src, ctx).map(Json::from)
}

pub(super) fn render_json(template: &JsonTemplate, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    let mut pieces = Pieces::default();
    write_json(template, ctx, &mut pieces)?;
    Ok(pieces.done())
}

fn write_json(template: &JsonTemplate, ctx: &Ctx<'_>, out: &mut Pieces) -> Result<(), TemplateError> {
    match template {
        JsonTemplate::Value(value) => out.text(&value.to_string()),
        JsonTemplate::Text(template) => write_json_text(&template.src, ctx, out)?,
        JsonTemplate::List(items) => {
            out.text("[");
            for (i, item) in items.iter().enumerate() {
                out.text(if i == 0 { "" } else { "," });
                write_json(item, ctx, out)?;
            }
            out.text("]");
        }
        JsonTemplate::Map(entries) => {
            out.text("{");
            for (i, (key, value)) in entries.iter().enumerate() {
                out.text(if i == 0 { "" } else { "," });
                out.text(&Json::from(key.as_str()).to_string());
                out.text(":");
                write_json(value, ctx, out)?;
            }
            out.text("}");
        }
    }
    Ok(())
}

fn write_json_text(src: &str, ctx: &Ctx<'_>, out: &mut Pieces) -> Result<(), TemplateError> {
    let rendered = environment::render(src, ctx)?;
    let parts = rendered.parts();
    if let [Part::Value(value)] = parts[..]
        && !src.contains("{%")
        && value.downcast_object_ref::<SecretMark>().is_none()
    {
        out.text(&json(value)?.to_string());
        return Ok(());
    }
    out.text("\"");
    for part in parts {
        match part {
            Part::Text(text) => out.text(escaped(text).as_str()),
            Part::Value(value) => match value.downcast_object_ref::<SecretMark>() {
                Some(secret) => out.json_secret(&secret.0),
                None => out.text(escaped(&plain(value)?).as_str()),
            },
        }
    }
    out.text("\"");
    Ok(())
}

/// Text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Json::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
