//! Variables of the environment that are not handed on.

use std::ffi::OsStr;

/// Variables that change a shell behind its back, and this tool's own.
pub fn changes_a_shell(name: &OsStr) -> bool {
    const NAMES: [&str; 11] = [
        "BASH_ENV",
        "ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "TMOUT",
        "PROMPT_COMMAND",
        "CDPATH",
        "GLOBIGNORE",
        "PS4",
        "IFS",
        "POSIXLY_CORRECT",
    ];
    let name = name.as_encoded_bytes();
    NAMES.iter().any(|n| n.as_bytes() == name) || name.starts_with(b"BASH_FUNC_") || name.starts_with(b"RB_V")
}
