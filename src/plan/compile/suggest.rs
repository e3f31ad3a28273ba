//! "Did you mean": the known name nearest to the one typed.

/// The known name that the typed one most likely stands for, if one is near enough to be worth saying.
pub fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = typed.chars().count().max(3) / 3;
    known
        .into_iter()
        .filter(|name| name.len().abs_diff(typed.len()) <= limit.max(1) * 4)
        .map(|name| (distance(typed, name), name))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, name)| name)
}

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

/// Levenshtein's distance, with two swapped neighbours as one edit. `_` and `-` are the same: people mix them up.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.chars().map(|c| if c == '_' { '-' } else { c.to_ascii_lowercase() }).collect();
    let (a, b): (Vec<char>, Vec<char>) = (fold(a), fold(b));
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["stop-app", "restore", "pick"];
        assert_eq!(nearest("stopapp", known), Some("stop-app"));
        assert_eq!(nearest("stop_app", known), Some("stop-app"));
        assert_eq!(nearest("resotre", known), Some("restore"));
        assert_eq!(nearest("Pick", known), Some("pick"));
        assert_eq!(nearest("verify", known), None);
        assert_eq!(help("x", ["b", "a"], "none"), "known here: `a`, `b`");
        assert_eq!(help("x", [], "there is none"), "there is none");
    }
}
