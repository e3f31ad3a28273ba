//! Incoming webhooks of Slack, and of what speaks like it (Mattermost, Rocket.Chat).
//!
//! Only `text` is sent: every one of them knows it, and it is what a telephone shows.

use serde_json::json;

use super::http::Post;
use super::{Keys, clean};
use crate::model::{Notice, SlackChannel};

/// Slack cuts a message that is longer than 4,000 characters in two.
const LONGEST: usize = 3000;

pub fn post(channel: &SlackChannel, notice: &Notice, keys: &Keys) -> Result<Post, String> {
    Post::json(&channel.url, &json!({ "text": text(notice), "mrkdwn": true }), &notice.id, keys)
}

fn text(notice: &Notice) -> String {
    let mut out = format!("*{}*\n", escape(&notice.subject));
    if !notice.text.is_empty() {
        out.push_str(&escape(&clean::clip(&notice.text, LONGEST)));
        out.push('\n');
    }
    let facts = notice.facts.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in facts.chain(clean::origin(notice)) {
        out.push_str(&format!("{}: {}\n", escape(name), escape(value)));
    }
    out.truncate(out.trim_end().len());
    out
}

/// The three characters by which Slack knows links and mentions: with them escaped, no text can call a whole channel.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_call_anybody() {
        assert_eq!(escape("<!channel> a & b &amp;"), "&lt;!channel&gt; a &amp; b &amp;amp;");
        let mut notice = clean::tests::notice();
        notice.subject = "<@U123>".into();
        notice.facts = vec![("<!here>".into(), "<!everyone>".into())];
        let text = text(&notice);
        assert!(!text.contains(['<', '>']), "{text}");
        assert!(
            text.starts_with(
                "*&lt;@U123&gt;*\nStep restore failed &lt;exit 1&gt; &amp; more\n&lt;!here&gt;: "
            )
        );
        assert!(text.ends_with(&format!("journal head: {}", "ab".repeat(32))), "{text}");
    }
}
