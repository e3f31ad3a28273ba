//! "Did you mean": the known name nearest to the one typed.

/// A longer text is no mistyped name, and the distance takes time in the square of the length.
const LONGEST: usize = 64;

/// The known name that the typed one most likely stands for, if one is near enough to be worth saying: at most a third
/// of it mistyped. Case does not count, nor `_` for `-`: people mix them up.
pub fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = typed.chars().count();
    if length > LONGEST {
        return None;
    }
    let fold = |text: &str| text.to_lowercase().replace('_', "-");
    let folded = fold(typed);
    let limit = length.max(3) / 3;
    known
        .into_iter()
        .filter(|name| name.len() <= LONGEST * 2)
        .map(|name| (strsim::damerau_levenshtein(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= limit && *distance < length)
        .min()
        .map(|(_, name)| name)
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
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"pick".repeat(100), known), None);
    }
}
