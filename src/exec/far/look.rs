//! A question to a host, asked beside any run: whether commands could run there, and whether it has some programs. It goes
//! the way of a command, over a connection of its own that ends with it, and changes nothing there.

use super::filter::Filter;
use super::{assign, words};
use crate::model::{Host, Reach};

const LOOK: &str = include_str!("look.sh");
/// Nobody else writes these at the beginning of a line, and nobody gains anything by it.
const TOKEN: &str = "runbook-look-2f6b1c";
const MARK: &str = "\u{1e}runbook-look-2f6b1c";

/// What is started here to ask, and what it is told.
#[derive(Debug, Clone)]
pub struct Look {
    pub argv: Vec<String>,
    pub stdin: Vec<u8>,
}

/// What a host has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// It has said that it reads.
    pub answers: bool,
    /// It has said all.
    pub whole: bool,
    /// What commands need there, and is not there.
    pub lacks: Vec<String>,
    /// No folder can be made there, for these are not to be had.
    pub no_room: Option<String>,
    /// Programs that are not there.
    pub absent: Vec<String>,
}

impl Look {
    pub fn new(host: &Host, programs: &[String]) -> Self {
        // No connection is shared: nobody would be left to end it.
        let alone = ["-o", "ControlPath=none"].map(str::to_owned);
        let mut stdin = Vec::new();
        assign(&mut stdin, "M", MARK.as_bytes());
        stdin.extend_from_slice(b"set --");
        for program in programs {
            stdin.push(b' ');
            super::quote(&mut stdin, program.as_bytes());
        }
        stdin.push(b'\n');
        stdin.extend_from_slice(LOOK.as_bytes());
        stdin.extend_from_slice(format!("# {TOKEN}").as_bytes());
        Self { argv: super::way(&host.reach, &alone, TOKEN), stdin }
    }

    /// What to try by hand, to see the same.
    pub fn by_hand(reach: &Reach) -> Vec<String> {
        match reach {
            Reach::Ssh(ssh) => {
                let mut argv = words(&["ssh"]);
                argv.extend(super::ssh_words(ssh));
                argv.extend([ssh.to.clone(), "true".to_owned()]);
                argv
            }
            // With the shell that they are led to, but without what is said to it.
            other => {
                let mut argv = super::way(other, &[], "");
                argv.truncate(argv.len().saturating_sub(4));
                argv.push("true".to_owned());
                argv
            }
        }
    }
}

impl Looked {
    /// From what came by standard output.
    pub fn read(stdout: &[u8]) -> Self {
        let mut filter = Filter::new(TOKEN, MARK);
        filter.push(stdout, &mut Vec::new());
        let mut looked = Self { answers: filter.is_ready, ..Self::default() };
        for frame in filter.frames {
            match frame.word.as_str() {
                "lacks" => looked.lacks.push(frame.rest),
                "full" => looked.no_room = Some(frame.rest),
                "no" => looked.absent.push(frame.rest),
                "end" => looked.whole = true,
                _ => {}
            }
        }
        looked
    }

    /// The last thing that was said on standard error which is not from here.
    pub fn complaint(stderr: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(stderr);
        let ready = format!("{TOKEN} ready");
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty() && *line != ready);
        line.map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::super::BOOT;
    use super::*;

    fn by_shell(shell: &str, home: &Path, programs: &[&str]) -> Looked {
        let host =
            Host { name: "there".into(), reach: Reach::Via(vec!["env".into()]), connect_timeout: None };
        let look = Look::new(&host, &programs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        let mut child = Command::new(shell)
            .args(["-c", BOOT, TOKEN])
            .env("HOME", home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&look.stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        Looked::read(&output.stdout)
    }

    #[test]
    fn any_shell_answers_and_nothing_is_made() {
        let home = tempfile::tempdir().unwrap();
        for shell in ["sh", "bash", "dash"] {
            if Command::new(shell).args(["-c", ":"]).status().is_err() {
                println!("SKIPPED: {shell}");
                continue;
            }
            let looked = by_shell(shell, home.path(), &["sh", "no such 'program", "cat"]);
            let absent = vec!["no such 'program".to_owned()];
            assert_eq!(looked, Looked { answers: true, whole: true, absent, ..Looked::default() }, "{shell}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
        // The home is a file's; what stands in for it is there.
        std::fs::create_dir(home.path().join(".cache")).unwrap();
        std::fs::write(home.path().join(".cache/runbook"), "").unwrap();
        assert_eq!(by_shell("sh", home.path(), &[]).no_room, None);
    }

    #[test]
    fn half_an_answer_is_none() {
        let said = format!("motd\n{TOKEN} ready\n{MARK} lacks setsid\n{MARK} no psql\n");
        let looked = Looked::read(said.as_bytes());
        assert!(looked.answers && !looked.whole);
        assert_eq!((looked.lacks, looked.absent), (vec!["setsid".to_owned()], vec!["psql".to_owned()]));
        assert_eq!(Looked::read(b"motd\n"), Looked::default());
        let stderr = format!("a\nssh: no\r\n{TOKEN} ready\n");
        assert_eq!(Looked::complaint(stderr.as_bytes()).as_deref(), Some("ssh: no"));
    }
}
