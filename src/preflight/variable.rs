//! Variables of the environment. Their values are nobody's business.

use super::{Checks, Finding, Kind};

pub(super) fn set(checks: &mut Checks, name: &str) {
    let about = Finding::new(Kind::Variable, name, "set, and not empty");
    checks.add_found(match std::env::var_os(name) {
        Some(value) if !value.is_empty() => about.ok("set"),
        Some(_) => about.missing("empty", format!("export {name}=VALUE")),
        None => about.missing("not set", format!("export {name}=VALUE")),
    });
}
