//! What must be there before the first step, with the parameters put in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::format_bytes;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requires {
    pub commands: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<Version>,
    /// Absolute.
    pub files: Vec<PathBuf>,
    pub free_space: Option<(PathBuf, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_ports: Vec<String>,
    /// Each an [`Address`], but in a plan for the eye, in which parameters stand by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_ports: Vec<String>,
    /// Names of variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Names of [`super::Plan::hosts`], groups opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl Requires {
    /// A line for each requirement, for people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.commands.iter().map(|c| format!("command {c}")).collect();
        lines.extend(self.versions.iter().map(|v| format!("command {v}")));
        lines.extend(self.files.iter().map(|f| format!("file {}", f.display())));
        let free =
            |(path, bytes): &(PathBuf, u64)| format!("{} free in {}", format_bytes(*bytes), path.display());
        lines.extend(self.free_space.iter().map(free));
        lines.extend(self.free_ports.iter().map(|port| format!("port {port} free")));
        lines.extend(self.open_ports.iter().map(|port| format!("port {port} open")));
        lines.extend(self.env.iter().map(|name| format!("variable {name}")));
        lines.extend(self.hosts.iter().map(|name| format!("host {name}")));
        lines
    }
}

/// A command that must not be too old.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    pub command: String,
    pub at_least: VersionNumber,
    /// The argv that makes it say its version; never empty.
    pub ask: Vec<String>,
}

/// `psql >= 15`.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} >= {}", self.command, self.at_least)
    }
}

/// Numbers with dots between them. A part that is not there is 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionNumber(Vec<u64>);

impl VersionNumber {
    /// The version in what a command says: the first number with a dot in it, else the first number.
    pub fn found_in(text: &str) -> Option<Self> {
        let numbers = || {
            text.split(|c: char| !c.is_ascii_digit() && c != '.')
                .map(|word| word.trim_matches('.'))
                .filter(|word| !word.is_empty())
                .filter_map(|word| word.parse::<Self>().ok())
        };
        numbers().find(|number| number.0.len() > 1).or_else(|| numbers().next())
    }

    fn parts(&self) -> &[u64] {
        let end = self.0.iter().rposition(|part| *part != 0).map_or(0, |last| last + 1);
        &self.0[..end]
    }
}

impl FromStr for VersionNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let parts: Option<Vec<u64>> = text.split('.').map(part).collect();
        parts.map(Self).ok_or_else(|| {
            format!("{text:?} is not a version: write numbers with dots, such as 15 or 3.10.2")
        })
    }
}

impl TryFrom<String> for VersionNumber {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<VersionNumber> for String {
    fn from(number: VersionNumber) -> Self {
        number.to_string()
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

impl PartialEq for VersionNumber {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for VersionNumber {}

impl PartialOrd for VersionNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for VersionNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(other.parts())
    }
}

/// A TCP port, of this machine if no host is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name or an address, without brackets.
    pub host: Option<String>,
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a port: write PORT or HOST:PORT, an IPv6 address in brackets");
        let (host, port) = match text.rsplit_once(':') {
            None => (None, text),
            Some((host, port)) => {
                let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
                let host = match bare {
                    Some(bare) => bare,
                    None if host.contains(':') => return Err(bad()),
                    None => host,
                };
                let fits = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
                if host.is_empty() || !host.chars().all(fits) {
                    return Err(bad());
                }
                (Some(host.to_owned()), port)
            }
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port > 0 => Ok(Self { host, port }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_version_is_found_in_what_commands_say() {
        for (said, version) in [
            ("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)\nCopyright (C) 2022", "5.2.15"),
            ("psql (PostgreSQL) 16.4 (Debian 16.4-1.pgdg120+1)", "16.4"),
            ("3.46.1 2024-08-13 09:16:08 c9c2ab54ba1f (64-bit)", "3.46.1"),
            ("jq-1.7.1", "1.7.1"),
            ("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.14 4 Jun 2024", "9.2"),
            ("Docker version 26.1.5+dfsg1, build a72d7cd", "26.1.5"),
            ("openjdk version \"17.0.10\" 2024-01-16", "17.0.10"),
            ("Client Version: v1.29.0", "1.29.0"),
            ("less 590 (GNU regular expressions)", "590"),
            ("version: 2.", "2"),
        ] {
            assert_eq!(
                VersionNumber::found_in(said).map(|v| v.to_string()).as_deref(),
                Some(version),
                "{said}"
            );
        }
        assert_eq!(VersionNumber::found_in("usage: tool [-x]"), None);
        assert_eq!(VersionNumber::found_in("99999999999999999999999"), None);
    }

    #[test]
    fn versions_are_compared_by_number_not_by_text() {
        let v = |text: &str| text.parse::<VersionNumber>().unwrap();
        assert!(v("3.10") > v("3.9") && v("15.1") > v("15") && v("0.9") < v("1"));
        assert!(v("15") == v("15.0.0") && v("15") >= v("15.0"));
        for bad in ["", "1.", ".1", "1..2", "v1", "1.x", "-1", " 1"] {
            assert!(bad.parse::<VersionNumber>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_as_people_write_them() {
        for good in ["80", "db.example.org:5432", "127.0.0.1:1", "[::1]:65535", "[fe80::1%eth0]:22"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "0",
            "65536",
            "-1",
            "+80",
            ":80",
            "::1:80",
            "host:",
            "a b:80",
            "[]:80",
            "http://h:80",
            "host",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn the_order_of_versions_is_that_of_their_parts(
            a in proptest::collection::vec(0u64..30, 1..5),
            b in proptest::collection::vec(0u64..30, 1..5),
        ) {
            let padded = |v: &[u64]| { let mut v = v.to_vec(); v.resize(5, 0); v };
            let (x, y) = (VersionNumber(a.clone()), VersionNumber(b.clone()));
            prop_assert_eq!(x.cmp(&y), padded(&a).cmp(&padded(&b)));
            prop_assert_eq!(x.to_string().parse::<VersionNumber>(), Ok(x.clone()));
            prop_assert_eq!(VersionNumber::found_in(&format!("tool-v{x} (c) 1999")).is_some(), true);
        }

        #[test]
        fn an_address_is_read_as_it_is_written(text in "\\PC{0,20}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
