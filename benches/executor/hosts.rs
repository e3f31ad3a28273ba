//! Twenty hosts by ssh: a real sshd for each, on a port of its own of this machine; the program and ansible-core do the same
//! ten steps on all of them.
//!
//! ansible-core gets what makes it fastest: a fork for each host, pipelining, one ssh connection a host kept open
//! (ControlPersist), no facts, its interpreter named, and the strategy that lets no host wait for another.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Failure;
use crate::peers::{self, OWN_PYTHON};
use crate::process;
use crate::work::{PATIENCE, Work};

/// How many hosts.
pub const HOSTS: usize = 20;
/// How many steps on each.
pub const EACH: usize = 10;

pub struct Hosts {
    daemons: Vec<Child>,
    folder: PathBuf,
    /// Ansible's sockets: a path below the build's folder may be longer than a socket's can be.
    sockets: PathBuf,
    ansible: Option<PathBuf>,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It is gone, or it goes now.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // It may never have been made.
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

impl Hosts {
    /// What is missing is said.
    pub fn start(work: &Work) -> Result<Self, Failure> {
        let sshd =
            peers::find("sshd").or_else(|| Some("/usr/sbin/sshd".into()).filter(|p: &PathBuf| p.is_file()));
        let sshd = sshd.ok_or("there is no sshd here")?;
        peers::find("ssh").ok_or("there is no ssh here")?;
        let mut hosts = Self {
            daemons: Vec::new(),
            folder: work.folder.join("hosts"),
            sockets: std::env::temp_dir().join(format!("executor-{}", std::process::id())),
            ansible: peers::find("ansible-playbook"),
        };
        fs::create_dir_all(&hosts.folder)?;
        // Where sshd separates its privileges as root. For others it is of no use and cannot be made.
        let _ = fs::create_dir_all("/run/sshd");
        for key in ["id", "host"] {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(hosts.folder.join(key));
            process::run(&mut command, 0)?;
        }
        let ports = free_ports()?;
        let public = fs::read_to_string(hosts.folder.join("host.pub"))?;
        let known: String = ports.iter().map(|port| format!("[127.0.0.1]:{port} {public}")).collect();
        fs::write(hosts.folder.join("known"), known)?;
        for port in &ports {
            let daemon = hosts.daemon(&sshd, *port)?;
            hosts.daemons.push(daemon);
        }
        for port in &ports {
            let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).ok();
            process::until(PATIENCE, answers).map_err(|_| "sshd does not answer")?;
        }
        hosts.playbooks(work, &ports)?;
        Ok(hosts)
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn daemon(&self, sshd: &Path, port: u16) -> Result<Child, Failure> {
        let mut command = Command::new(sshd);
        command.args(["-D", "-e", "-f", "/dev/null"]);
        for option in [
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".into(),
            format!("HostKey={}", self.path("host")),
            format!("AuthorizedKeysFile={}", self.path("id.pub")),
            "PidFile=none".into(),
            "StrictModes=no".into(),
            "UsePAM=no".into(),
            "PasswordAuthentication=no".into(),
            // What both of them keep in the home over there goes where all of it is removed.
            format!("SetEnv=HOME={}", self.folder.display()),
        ] {
            command.args(["-o", &option]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.spawn()?)
    }

    fn playbooks(&self, work: &Work, ports: &[u16]) -> Result<(), Failure> {
        let user =
            nix::unistd::User::from_uid(nix::unistd::geteuid())?.ok_or("who runs this has no name")?.name;
        let (mut head, mut inventory) = (format!("max_parallel: {HOSTS}\nhosts:\n"), String::from("[all]\n"));
        let (key, known) = (self.path("id"), self.path("known"));
        for (n, port) in ports.iter().enumerate() {
            writeln!(
                head,
                "  h{n}: {{ ssh: \"{user}@127.0.0.1\", port: {port}, config: /dev/null, identity: {key}, options: {{ \
                 UserKnownHostsFile: {known} }} }}"
            )?;
            writeln!(inventory, "h{n} ansible_host=127.0.0.1 ansible_port={port}")?;
        }
        let names: Vec<String> = (0..ports.len()).map(|n| format!("h{n}")).collect();
        writeln!(head, "groups:\n  all: [{}]", names.join(", "))?;
        let step = |n: usize| {
            format!(
                "  - id: s{n}\n    foreach: groups.all\n    on: \"{{{{ item }}}}\"\n    exec: [\"true\"]\n"
            )
        };
        work.playbook("hosts", &head, &(0..EACH).map(step).collect::<String>())?;
        write!(
            inventory,
            "[all:vars]\nansible_user={user}\nansible_ssh_private_key_file={key}\n\
             {OWN_PYTHON}\n"
        )?;
        fs::write(self.folder.join("inventory"), inventory)?;
        let task = |n: usize| format!("    - name: s{n}\n      command: \"true\"\n");
        let tasks: String = (0..EACH).map(task).collect();
        let play = format!("- hosts: all\n  gather_facts: false\n  strategy: free\n  tasks:\n{tasks}");
        fs::write(self.folder.join("playbook.yml"), play)?;
        let settings = format!(
            "[defaults]\nforks = {HOSTS}\nhost_key_checking = true\n[ssh_connection]\npipelining = true\n\
             control_path_dir = {}\nssh_args = -F /dev/null -C -o ControlMaster=auto -o ControlPersist=60s \
             -o UserKnownHostsFile={known}\n",
            self.sockets.display()
        );
        Ok(fs::write(self.folder.join("ansible.cfg"), settings)?)
    }

    /// None if it is not installed. The whole process, in seconds; its connections are new each time.
    pub fn ansible(&self) -> Option<Result<f64, Failure>> {
        let mut command = Command::new(self.ansible.as_ref()?);
        command.args(["-i", "inventory", "playbook.yml"]).current_dir(&self.folder);
        command.env("HOME", &self.folder).env("ANSIBLE_CONFIG", self.folder.join("ansible.cfg"));
        let spent = process::run(&mut command, 0).map(|spent| spent.seconds);
        self.disconnect();
        Some(spent)
    }

    /// The connections that ansible keeps open would spare the next run its handshakes.
    fn disconnect(&self) {
        for socket in fs::read_dir(&self.sockets).into_iter().flatten().flatten() {
            let mut command = Command::new("ssh");
            command
                .arg("-o")
                .arg(format!("ControlPath={}", socket.path().display()))
                .args(["-O", "exit", "h"]);
            // Already gone, or it goes by itself in a minute.
            let _ = process::run(&mut command, 0);
        }
    }
}

/// Held together, so that they differ; a stranger could take one in the moment until sshd does, and then sshd says so.
fn free_ports() -> Result<Vec<u16>, Failure> {
    let held: Vec<TcpListener> =
        (0..HOSTS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
