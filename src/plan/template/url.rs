//! Values in a URL: the base as it is, everything else percent-encoded.

use percent_encoding::utf8_percent_encode;

use super::environment::{self, Part};
use super::names::SecretMark;
use super::text::{self, Pieces};
use super::{Ctx, TemplateError};
use crate::model::{SecretText, URL_COMPONENT};

pub(super) fn render_url(src: &str, ctx: &Ctx<'_>) -> Result<SecretText, TemplateError> {
    let mut pieces = Pieces::default();
    for (i, part) in environment::render(src.trim(), ctx)?.parts().into_iter().enumerate() {
        match part {
            Part::Text(text) => pieces.text(text),
            Part::Value(value) => match value.downcast_object_ref::<SecretMark>() {
                // A webhook's secret is often its whole URL.
                Some(secret) if i == 0 => pieces.secret(&secret.0),
                Some(secret) => pieces.url_secret(&secret.0),
                None if i == 0 => pieces.text(&base(&text::plain(value)?)?),
                None => pieces.text(&utf8_percent_encode(&text::plain(value)?, URL_COMPONENT).to_string()),
            },
        }
    }
    Ok(pieces.done())
}

fn base(value: &str) -> Result<String, TemplateError> {
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    let ok = scheme.is_some_and(|s| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    if !ok || value.chars().any(|c| c.is_control() || c == ' ') {
        return Err(TemplateError {
            message: format!("{value:?} is not the beginning of a URL"),
            range: None,
            help: Some(
                "a value at the beginning of a URL is its base, such as https://example.org:8080/api".into(),
            ),
        });
    }
    Ok(value.to_owned())
}
