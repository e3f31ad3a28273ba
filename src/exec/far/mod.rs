//! Commands that run elsewhere: what is started here for them, and what they are sent.
//!
//! Theory. The keeper starts an ordinary process that leads there (`ssh`, `podman exec`, ...) with a short constant
//! command, [`BOOT`]. That says `ready`, reads all of its standard input and runs it if it has come whole. Before `ready`
//! nothing has been sent, so a way that fails until then has surely started nothing. What is sent is a script for any POSIX
//! sh: the scripts beside this file, with every value quoted. Nothing of it stands in an argument list or in an
//! environment on either side, but for what the command itself is given.
//!
//! There, a folder for each task is made before the task begins, and who makes `go` in it decides whether it ever does.
//! That outlives the link, so whoever asks later ([`Orders::ask`]) learns the truth, or sees to it that there is no
//! beginning any more. What is said in band (how it ended, `$RUNBOOK_OUTPUT`) stands in lines that begin with a mark
//! that nobody else writes; [`filter`] takes them out of the output.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::protocol::Bytes;
use crate::model::{Host, Millis, ProcessOp, Reach, Ssh, TaskId};

pub(super) mod filter;
mod look;

pub use look::{Look, Looked};

const COMMON: &str = include_str!("common.sh");
const START: &str = include_str!("start.sh");
const ASK: &str = include_str!("ask.sh");
const STOP: &str = include_str!("stop.sh");
const CLEAN: &str = include_str!("clean.sh");

/// Understood by every login shell when it stands in single quotes: without a backslash, a line break or a `!`.
const BOOT: &str =
    r#"echo "$0 ready"; echo "$0 ready" >&2; s=$(cat); case $s in *"$0") eval "$s";; *) exit 93;; esac"#;

/// Writes down who it is, takes `go`, and becomes the command. `true` and not `:`, for a shell may end when that one cannot
/// write.
const BECOME: &str = r#"read -r s < /proc/$$/stat; f() { s=${s##*") "}; set -- $s; shift 19; st=$1; }; f; bt=; [ -r /proc/sys/kernel/random/boot_id ] && read -r bt < /proc/sys/kernel/random/boot_id; echo "$$ $st $bt" > "$0/pid" && set -C && { true > "$0/go"; } 2>/dev/null || { rm -f "$0/pid"; exit 125; }; exec "$@""#;

/// A stop that went well ends with this code.
pub(super) const GONE: i32 = 7;

/// A task on another host, for the keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Far {
    pub host: String,
    /// Stands in front of `ready`.
    pub token: String,
    /// Stands in front of everything else that is said in band.
    pub mark: String,
    /// It was started before; this asks what became of it.
    pub asks: bool,
    /// How long it may take until it says `ready`.
    pub patience: Millis,
    /// Asks the task to end; `G=SECONDS` goes before it.
    pub stop: Bytes,
    /// Takes the run's folders there away; `KEEP=TASKS` goes before it.
    pub clean: Bytes,
    /// A connection that all tasks of the host share.
    pub master: Option<Master>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Master {
    /// From the run's folder: a path from the root may be longer than a socket's can be.
    pub socket: String,
    pub argv: Vec<String>,
}

/// The orders for one task on one host.
pub(super) struct Orders<'a> {
    pub run_dir: &'a Path,
    pub task: &'a TaskId,
    pub host: &'a Host,
}

/// A command elsewhere with nothing left to resolve.
pub(super) struct Content<'a> {
    pub op: &'a ProcessOp,
    pub env: &'a [(String, Bytes)],
    pub stdin: Option<&'a Bytes>,
    /// What it writes is not kept there either.
    pub sensitive: bool,
}

impl Orders<'_> {
    fn digest(&self, what: &str) -> String {
        let text = format!("{what}\n{}\n{}\n{}", self.run_dir.display(), self.task, self.host.name);
        let hash = Sha256::digest(text);
        hash.iter().take(12).fold(String::new(), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    fn token(&self) -> String {
        format!("runbook-{}", self.digest("ready"))
    }

    fn mark(&self) -> String {
        format!("\u{1e}runbook-{}", self.digest("mark"))
    }

    fn run(&self) -> String {
        let name = self.run_dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        // Two state folders may have runs of the same name.
        let hash = Sha256::digest(self.run_dir.as_os_str().as_encoded_bytes());
        format!("{name}-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
    }

    /// A whole script: what it needs to know, then its text, then the sign that it has come whole.
    fn script(&self, head: &[u8], body: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(head.len() + COMMON.len() + body.len() + 256);
        assign(&mut out, "R", self.run().as_bytes());
        assign(&mut out, "T", self.task.file_stem().as_bytes());
        assign(&mut out, "M", self.mark().as_bytes());
        out.extend_from_slice(COMMON.as_bytes());
        out.extend_from_slice(head);
        out.extend_from_slice(body.as_bytes());
        out.extend_from_slice(b"\n# ");
        out.extend_from_slice(self.token().as_bytes());
        out
    }

    /// What begins the command there.
    pub fn start(&self, content: &Content<'_>) -> Result<Vec<u8>, String> {
        let Content { op, env, stdin, sensitive } = content;
        let nul = |what: &str| Err(format!("{what} holds a NUL byte, which no process can receive"));
        let mut head = Vec::new();
        assign(&mut head, "K", if *sensitive { b"0" } else { b"1" });
        assign(&mut head, "D", op.workdir.as_os_str().as_encoded_bytes());
        let program =
            op.commands.first().and_then(|argv| argv.first()).ok_or("there is no command to run")?;
        assign(&mut head, "P", program.as_bytes());
        assign(&mut head, "N", if stdin.is_some() { b"1" } else { b"0" });
        let input = stdin.map_or(&[][..], |bytes| &bytes.0);
        // `%b` alone can say a NUL, and then a backslash has to be said, too.
        let has_nul = input.contains(&0);
        assign(&mut head, "F", if has_nul { b"%b" } else { b"%s" });
        assign(&mut head, "I", &if has_nul { escaped(input) } else { input.to_vec() });
        head.extend_from_slice(b"environ() {\n");
        for (name, value) in *env {
            if value.0.contains(&0) {
                return nul(name);
            }
            head.extend_from_slice(b"export ");
            assign(&mut head, name, &value.0);
        }
        head.extend_from_slice(b"export RUNBOOK_OUTPUT=\"$d/kv\" RUNBOOK_FAR=\"$R/$T:\"\n}\n");
        head.extend_from_slice(b"main() { exec \"$setsid_\" \"$sh_\" -c ");
        quote(&mut head, BECOME.as_bytes());
        head.extend_from_slice(b" \"$d\"");
        let argv = match op.commands.as_slice() {
            [one] => one.clone(),
            several => vec!["sh".to_owned(), "-c".to_owned(), pipeline(several)],
        };
        for word in &argv {
            if word.contains('\0') {
                return nul("an argument");
            }
            head.push(b' ');
            quote(&mut head, word.as_bytes());
        }
        if op.commands.len() > 1 {
            head.extend_from_slice(b" \"$d\"");
        }
        head.extend_from_slice(b"\n}\n");
        Ok(self.script(&head, START))
    }

    /// What asks how a task stands that was sent before, so long ago.
    pub fn ask(&self, age: Millis) -> Vec<u8> {
        self.script(format!("A={}\n", age.0.div_ceil(1000)).as_bytes(), ASK)
    }

    /// What the keeper has to know of it.
    pub fn far(&self, asks: bool) -> Far {
        Far {
            host: self.host.name.clone(),
            token: self.token(),
            mark: self.mark(),
            asks,
            patience: self.host.patience(),
            stop: Bytes(self.script(b"", STOP)),
            clean: Bytes(self.script(b"", CLEAN)),
            master: self.master(),
        }
    }

    /// The process that leads there.
    pub fn argv(&self) -> Vec<String> {
        let shared = ["-o".to_owned(), format!("ControlPath={}", self.socket())];
        way(&self.host.reach, &shared, &self.token())
    }

    /// One for each host of a run: the same way is not made twice.
    fn socket(&self) -> String {
        let hash = Sha256::digest(&self.host.name);
        format!("keeper/s{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
    }

    fn master(&self) -> Option<Master> {
        let Reach::Ssh(ssh) = &self.host.reach else { return None };
        let socket = self.socket();
        let mut argv: Vec<String> = ["ssh", "-f", "-M", "-N", "-T"].map(str::to_owned).into();
        argv.extend(ssh_options(ssh));
        argv.extend(["-o".to_owned(), format!("ControlPath={socket}")]);
        // Should nobody be left to end it, it ends itself.
        argv.extend(["-o", "ControlPersist=60", "--", &ssh.to].map(str::to_owned));
        Some(Master { socket, argv })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// What leads to a host and says there that it is `ready`. `shared`: what ssh is told about connections that are shared.
fn way(reach: &Reach, shared: &[String], token: &str) -> Vec<String> {
    let option = |flag: &str, value: &Option<String>| match value {
        Some(value) => vec![flag.to_owned(), value.clone()],
        None => Vec::new(),
    };
    let shell = words(&["sh", "-c", BOOT, token]);
    match reach {
        Reach::Ssh(ssh) => {
            let mut argv = words(&["ssh", "-T"]);
            argv.extend(ssh_options(ssh));
            argv.extend_from_slice(shared);
            argv.extend(words(&["-o", "ControlMaster=no", "--", &ssh.to]));
            // sshd hands this to the login shell, whichever that is.
            argv.push(format!("exec sh -c '{BOOT}' {token}"));
            argv
        }
        Reach::Container { engine, name, user } => {
            let mut argv = words(&[engine, "exec", "-i"]);
            argv.extend(option("--user", user));
            argv.push(name.clone());
            argv.extend(shell);
            argv
        }
        Reach::Kubectl { target, container, namespace, context } => {
            let mut argv = words(&["kubectl"]);
            argv.extend(option("--context", context));
            argv.extend(option("--namespace", namespace));
            argv.extend(words(&["exec", "-i", target]));
            argv.extend(option("--container", container));
            argv.push("--".into());
            argv.extend(shell);
            argv
        }
        Reach::Via(via) => via.iter().cloned().chain(shell).collect(),
    }
}

/// What the playbook says about the way.
fn ssh_words(ssh: &Ssh) -> Vec<String> {
    let mut argv = Vec::new();
    let mut pair = |flag: &str, value: String| argv.extend([flag.to_owned(), value]);
    if let Some(config) = &ssh.config {
        pair("-F", config.to_string_lossy().into_owned());
    }
    if let Some(identity) = &ssh.identity {
        pair("-i", identity.to_string_lossy().into_owned());
    }
    if let Some(port) = &ssh.port {
        pair("-p", port.clone());
    }
    if let Some(user) = &ssh.user {
        pair("-l", user.clone());
    }
    for (name, value) in &ssh.options {
        pair("-o", format!("{name}={value}"));
    }
    argv
}

/// The first of two values counts for ssh: what the playbook says stands in front. A key that is not known is never taken.
fn ssh_options(ssh: &Ssh) -> Vec<String> {
    let mut argv = ssh_words(ssh);
    for fixed in [
        "BatchMode=yes",
        "ConnectTimeout=10",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
        "RemoteCommand=none",
        "ClearAllForwardings=yes",
    ] {
        argv.extend(["-o".to_owned(), fixed.to_owned()]);
    }
    argv
}

/// `NAME='VALUE'` and a line break.
fn assign(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    quote(out, value);
    out.push(b'\n');
}

/// One word for any POSIX shell, whatever bytes it has; but no NUL.
fn quote(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'\'');
    for &byte in value {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(byte),
        }
    }
    out.push(b'\'');
}

/// For `printf %b`.
fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            0 => out.extend_from_slice(b"\\0000"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            byte => out.push(byte),
        }
    }
    out
}

/// Commands joined by pipes; the last one that failed gives the exit code. `$0` is the task's folder.
fn pipeline(commands: &[Vec<String>]) -> String {
    let mut text = Vec::new();
    for (at, argv) in commands.iter().enumerate() {
        text.extend_from_slice(if at == 0 { b"{ " } else { b" | { " });
        for word in argv {
            quote(&mut text, word.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(format!("; echo $? > \"$0/s{at}\"; }}").as_bytes());
    }
    let _ = write!(
        StringTail(&mut text),
        "; r=0; i=0; while [ $i -lt {} ]; do read -r s < \"$0/s$i\"; [ \"$s\" = 0 ] || r=$s; i=$((i + 1)); done; exit $r",
        commands.len()
    );
    // Made of texts and of this text.
    String::from_utf8_lossy(&text).into_owned()
}

struct StringTail<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for StringTail<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
