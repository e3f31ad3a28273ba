//! What to write instead of an unknown name.

use crate::model::nearest;

/// The help line for an unknown name: the nearest one, else what there is to choose from.
pub fn help<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>, none: &str) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    if let Some(name) = nearest(typed, known.iter().copied()) {
        return format!("did you mean `{name}`?");
    }
    const SHOWN: usize = 8;
    match known.len() {
        0 => none.to_owned(),
        n => {
            known.sort_unstable();
            let more = if n > SHOWN { ", ..." } else { "" };
            let names = known.iter().take(SHOWN).map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
            format!("known here: {names}{more}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_or_all_of_them() {
        assert_eq!(help("stopapp", ["stop-app", "pick"], "none"), "did you mean `stop-app`?");
        assert_eq!(help("x", ["b", "a"], "none"), "known here: `a`, `b`");
        assert_eq!(help("x", [], "there is none"), "there is none");
    }
}
