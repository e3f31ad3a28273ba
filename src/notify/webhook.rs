//! Any receiver: the whole notice as JSON, signed if the channel has a key.

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::Keys;
use super::http::Post;
use crate::model::{Notice, WebhookChannel};
use crate::planted::{self, Bug};

/// What the body is, for receivers. A released field never changes its meaning.
const FORMAT: &str = "runbook-notice/v1";
pub const SIGNATURE: &str = "Runbook-Signature";

pub fn post(channel: &WebhookChannel, notice: &Notice, keys: &Keys) -> Result<Post, String> {
    let mut post = Post::json(&channel.url, &body(notice)?, &notice.id, keys)?;
    for (name, value) in &channel.headers {
        post.header(name, value, keys)?;
    }
    if let Some(key) = &channel.sign {
        post.sign(keys.resolve(key)?);
    }
    Ok(post)
}

/// Also what a command finds in its environment.
pub fn body(notice: &Notice) -> Result<Value, String> {
    let mut body = json!({ "format": FORMAT });
    let fields = serde_json::to_value(notice).map_err(|error| error.to_string())?;
    if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), fields) {
        body.extend(fields);
        // By name, as receivers read them.
        let facts = notice.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        body.insert("facts".into(), Value::Object(facts.collect()));
    }
    Ok(body)
}

/// The value of the header `Runbook-Signature`: `t=SECONDS,v1=HEX`, where HEX is the HMAC-SHA-256 of the seconds since 1970,
/// a full stop and the bytes of the body. The time is in it so that a receiver can refuse what is old.
pub fn signature(key: &[u8], now: u64, body: &[u8]) -> String {
    // A key of any length is good for HMAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return format!("t={now}") };
    if !planted::is(Bug::SignWithoutTime) {
        mac.update(now.to_string().as_bytes());
        mac.update(b".");
    }
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    format!("t={now},v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret`.
    #[test]
    fn the_signature_is_what_openssl_makes() {
        assert_eq!(
            signature(b"secret", 1_700_000_000, br#"{"a":1}"#),
            "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"
        );
    }
}
