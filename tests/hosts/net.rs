//! Hosts with a real sshd, each in a network namespace of its own, and one for who runs the playbook. No address is on
//! the machine itself, and all is gone with the value.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{BIN, World, wait_until};

pub struct Net {
    pub world: World,
    hosts: usize,
}

/// Runs a command that has to do.
#[track_caller]
fn must(argv: &[&str]) {
    let output = Command::new(argv[0]).args(&argv[1..]).output().unwrap();
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|o| o.status.success())
}

impl Net {
    /// None, and why is said, if it cannot be had here.
    pub fn new(hosts: usize) -> Option<Self> {
        let can = nix::unistd::geteuid().is_root()
            && is_there("ip")
            && is_there("ssh")
            && fs::exists("/usr/sbin/sshd").unwrap_or(false)
            && Command::new("ip").args(["netns", "add", &name(99)]).status().is_ok_and(|s| s.success());
        if !can {
            println!("SKIPPED: hosts by ssh (needs root, network namespaces, ssh and sshd)");
            return None;
        }
        must(&["ip", "netns", "del", &name(99)]);
        let net = Self { world: World::new(), hosts };
        must(&["ip", "netns", "add", &name(0)]);
        must(&["ip", "-n", &name(0), "link", "set", "lo", "up"]);
        fs::create_dir_all("/run/sshd").unwrap();
        for key in ["id", "host"] {
            must(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &net.file(key)]);
        }
        let public = fs::read_to_string(net.file("host.pub")).unwrap();
        let known: String = (1..=hosts).map(|n| format!("{} {public}", address(n))).collect();
        fs::write(net.file("known"), known).unwrap();
        (1..=hosts).for_each(|n| net.host(n));
        Some(net)
    }

    fn host(&self, n: usize) {
        let (here, there, address) = (name(0), name(n), address(n));
        must(&["ip", "netns", "add", &there]);
        let link = format!("h{n}");
        must(&[
            "ip", "-n", &here, "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &there,
        ]);
        must(&["ip", "-n", &here, "addr", "add", &format!("192.0.{n}.1/30"), "dev", &link]);
        must(&["ip", "-n", &here, "link", "set", &link, "up"]);
        must(&["ip", "-n", &there, "addr", "add", &format!("{address}/30"), "dev", "eth0"]);
        must(&["ip", "-n", &there, "link", "set", "eth0", "up"]);
        must(&["ip", "-n", &there, "link", "set", "lo", "up"]);
        let home = self.home(n);
        fs::create_dir_all(&home).unwrap();
        let pid_file = self.file(&format!("sshd{n}.pid"));
        let options = [
            "Port=22".to_owned(),
            format!("ListenAddress={address}"),
            format!("HostKey={}", self.file("host")),
            format!("AuthorizedKeysFile={}", self.file("id.pub")),
            format!("PidFile={pid_file}"),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "LogLevel=VERBOSE".to_owned(),
            // The account's own folder is nobody's business here.
            format!("SetEnv=HOME={}", home.display()),
        ];
        let mut command = Command::new("ip");
        command.args([
            "netns",
            "exec",
            &there,
            "/usr/sbin/sshd",
            "-f",
            "/dev/null",
            "-E",
            &self.file(&format!("log{n}")),
        ]);
        for option in &options {
            command.args(["-o", option]);
        }
        assert!(command.status().unwrap().success());
        wait_until("sshd", || fs::read_to_string(&pid_file).is_ok_and(|text| !text.is_empty()));
    }

    pub fn file(&self, name: &str) -> String {
        self.world.path(name).to_string_lossy().into_owned()
    }

    /// The home on that host.
    pub fn home(&self, n: usize) -> PathBuf {
        self.world.path(&format!("home{n}"))
    }

    /// What sshd of that host has said.
    pub fn log(&self, n: usize) -> String {
        fs::read_to_string(self.file(&format!("log{n}"))).unwrap_or_default()
    }

    /// `hosts:` of a playbook, `h1` and so on.
    pub fn hosts(&self) -> String {
        let host = |n: usize| {
            format!(
                "  h{n}: {{ ssh: \"root@{}\", config: /dev/null, identity: id, options: {{ UserKnownHostsFile: {}, \
                 ServerAliveInterval: 1, ServerAliveCountMax: 3, ConnectTimeout: 3 }} }}\n",
                address(n),
                self.file("known")
            )
        };
        format!("hosts:\n{}", (1..=self.hosts).map(host).collect::<String>())
    }

    pub fn playbook(&self, name: &str, body: &str) {
        self.world.playbook(name, &format!("{}{body}", self.hosts()));
    }

    /// The program, where the hosts can be reached.
    pub fn cmd(&self, args: &[&str]) -> Command {
        let mut command = self.world.command("ip");
        command.args(["netns", "exec", &name(0), BIN]).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> crate::support::Shown {
        self.world.start_command(self.cmd(args)).wait()
    }

    pub fn cut(&self, n: usize) {
        must(&["ip", "-n", &name(0), "link", "set", &format!("h{n}"), "down"]);
    }

    pub fn mend(&self, n: usize) {
        must(&["ip", "-n", &name(0), "link", "set", &format!("h{n}"), "up"]);
    }

    /// Every process on that host.
    pub fn processes(&self, n: usize) -> Vec<i32> {
        let output = Command::new("ip").args(["netns", "pids", &name(n)]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Asserts that a run has left nothing on the host: no process beside the sshd, no folder.
    pub fn assert_clean(&self, n: usize) {
        wait_until("the run's folders to go", || !self.home(n).join(".cache/runbook").exists());
        wait_until("the sessions to end", || self.processes(n).len() == 1);
        self.world.assert_nothing_runs();
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for n in 0..=self.hosts {
            for pid in self.processes(n) {
                // It may have ended in between.
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
            let _ = Command::new("ip").args(["netns", "del", &name(n)]).status();
        }
    }
}

/// Of a namespace: 0 is where the program runs.
fn name(n: usize) -> String {
    format!("rbh-{}-{n}", std::process::id())
}

fn address(n: usize) -> String {
    format!("192.0.{n}.2")
}
