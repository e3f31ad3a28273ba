//! Who drives a run, and where.

use std::fs;

use crate::model::{ResumeInfo, StartInfo};

/// Who types, on which machine, with which binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub operator: String,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub boot_id: String,
}

impl Identity {
    pub fn current() -> Self {
        Self {
            operator: user_name(nix::unistd::getuid().as_raw()),
            host: nix::unistd::gethostname()
                .map_or_else(|_| "unknown".into(), |h| h.to_string_lossy().into_owned()),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            boot_id: boot_id(),
        }
    }

    pub fn resume_info(&self) -> ResumeInfo {
        ResumeInfo {
            operator: self.operator.clone(),
            host: self.host.clone(),
            pid: self.pid,
            version: self.version.clone(),
            boot_id: self.boot_id.clone(),
        }
    }

    /// Copies who and where into a start record.
    pub fn stamp(&self, info: &mut StartInfo) {
        info.operator.clone_from(&self.operator);
        info.host.clone_from(&self.host);
        info.pid = self.pid;
        info.version.clone_from(&self.version);
        info.boot_id.clone_from(&self.boot_id);
    }
}

/// Names the machine's present boot; a pid means nothing after another boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |id| id.trim().to_owned())
}

/// The user's name from /etc/passwd. Not by the C library, which may open sockets to ask a directory server, and
/// looking must change nothing; a user who is only in a directory shows as the variable USER says, or by number.
pub(crate) fn user_name(uid: u32) -> String {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    for line in passwd.lines() {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1));
        if let (Some(name), Some(id)) = (name, id)
            && id.parse() == Ok(uid)
        {
            return name.to_owned();
        }
    }
    let own = nix::unistd::getuid().as_raw() == uid;
    match std::env::var("USER") {
        Ok(name) if own && !name.is_empty() => name,
        _ => format!("uid {uid}"),
    }
}
