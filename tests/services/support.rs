//! A place for a drill: its own home, state and temporary folder; and what it must leave as it was.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::machine::{Machine, walk};

const BIN: &str = env!("CARGO_BIN_EXE_runbook");

/// Far longer than a drill takes, also on a machine with too much to do.
const PATIENCE: Duration = Duration::from_secs(400);

/// The kinds of namespaces that a drill makes.
const KINDS: [&str; 5] = ["pid", "mnt", "net", "ipc", "uts"];

/// Whether all these commands are here. What is missing is said, and with it what was not shown.
pub fn have(drill: &str, commands: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &&&str| !std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let missing: Vec<_> = commands.iter().filter(there).collect();
    for name in &missing {
        println!("SKIPPED: there is no {name} here, so the drill of {drill} was not shown");
    }
    missing.is_empty()
}

pub struct Place {
    root: tempfile::TempDir,
    playbooks: PathBuf,
    program: PathBuf,
    /// Whose the drill is, if not of who runs the test.
    user: Option<u32>,
    /// The machine that its drills see.
    machine: Option<Machine>,
}

impl Place {
    /// With the playbooks where they are.
    pub fn new() -> Self {
        let mut place = Self::folder();
        place.settle();
        place
    }

    fn folder() -> Self {
        let root = tempfile::Builder::new().prefix("runbook-svc-").tempdir().unwrap();
        for folder in ["home", "tmp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::set_permissions(root.path().join(folder), fs::Permissions::from_mode(0o711)).unwrap();
        }
        // The account of a database has to get through to its own folder.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let playbooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
        Self { root, playbooks, program: PathBuf::from(BIN), user: None, machine: None }
    }

    fn settle(&mut self) {
        let program = self.program.parent().unwrap();
        self.machine = Machine::new(self.root.path(), Path::new(env!("CARGO_MANIFEST_DIR")), program);
    }

    /// With all that another user needs, which is then theirs.
    pub fn of_user(user: u32) -> Self {
        let mut place = Self::folder();
        place.user = Some(user);
        let (from, to) = (&place.playbooks, place.root.path().join("playbooks"));
        let copied = Command::new("cp").arg("-r").args([from, &to]).status().unwrap();
        assert!(copied.success());
        place.playbooks = to;
        place.program = place.root.path().join("runbook");
        fs::copy(BIN, &place.program).unwrap();
        let owned =
            Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(place.root.path()).status();
        assert!(owned.unwrap().success());
        place.settle();
        place
    }

    pub fn drill(&self, name: &str, more: &[&str]) -> Command {
        let mut command = match &self.machine {
            Some(machine) => machine.enter(self.user, &self.program),
            None => self.as_user(Command::new(&self.program)),
        };
        let path = self.root.path();
        command
            .arg("drill")
            .arg(self.playbooks.join(format!("{name}.yaml")))
            .args(more)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", path.join("home"))
            .env("RUNBOOK_STATE", self.state())
            .env("TMPDIR", path.join("tmp"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(path)
            .stdin(Stdio::null());
        command
    }

    fn as_user(&self, mut command: Command) -> Command {
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub fn start(&self, mut command: Command) -> Running {
        let files = ["out", "err"].map(|name| self.root.path().join(name));
        let [out, err] = files.clone().map(|path| fs::File::create(path).unwrap());
        let child = command.stdout(out).stderr(err).spawn().unwrap();
        Running { child, files }
    }

    /// Drills, and asserts that the drill passed and left nothing. None if the machine gives it no namespaces.
    pub fn passes(&self, name: &str, variant: Option<&str>) -> Option<Drilled> {
        let command = self.drill(name, &variant.map_or(Vec::new(), |v| vec!["--variant", v]));
        let (code, shown) = self.start(command).wait();
        if refused(code, &shown) {
            return None;
        }
        assert_eq!(code, 0, "{shown}");
        let drilled = self.drilled();
        let report = &drilled.report;
        assert_eq!(report["verdict"], "passed", "{shown}");
        assert_eq!(report["isolated"], true);
        assert_eq!(report["left_running"], Value::Array(Vec::new()), "its own teardown ended everything");
        assert_eq!(names(self.root.path().join("tmp")).count(), 0, "the world's folder is gone");
        self.assert_as_before();
        Some(drilled)
    }

    /// The newest drill's report and the events of its run.
    pub fn drilled(&self) -> Drilled {
        let drills = self.state().join("drills");
        let mut reports: Vec<Value> = names(&drills)
            .map(|name| fs::read(drills.join(name).join("drill.json")).unwrap())
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .collect();
        reports.sort_by_key(|report| report["started"].as_str().unwrap().to_owned());
        let report = reports.pop().expect("a drill is recorded");
        let run = self.state().join("runs").join(report["run"].as_str().expect("the playbook ran"));
        let journal = fs::read_to_string(run.join("journal.jsonl")).unwrap();
        let events =
            journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone());
        let events = events.collect();
        Drilled { report, events, run }
    }

    /// Every live process that was started from here, in whatever namespace.
    pub fn processes(&self) -> Vec<i32> {
        let mark = [b"RUNBOOK_STATE=", self.state().as_os_str().as_bytes(), b"\0"].concat();
        let has = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.windows(mark.len()).any(|window| window == mark)
        };
        pids().filter(has).collect()
    }

    /// Every process of the drill that is under way, with what it is; also those that have emptied their environment, as a
    /// container does.
    pub fn inside(&self) -> Vec<(i32, String)> {
        let net = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let own: Vec<PathBuf> = self.outside().into_iter().filter_map(net).collect();
        let marked = self.processes();
        let theirs: BTreeSet<PathBuf> =
            marked.iter().filter_map(|pid| net(*pid)).filter(|ns| !own.contains(ns)).collect();
        let of_drill = |pid: &i32| marked.contains(pid) || net(*pid).is_some_and(|ns| theirs.contains(&ns));
        pids().filter(of_drill).map(|pid| (pid, command_line(pid))).collect()
    }

    /// A process of this machine, and one of that which the drill sees.
    fn outside(&self) -> Vec<i32> {
        let machine = self.machine.iter().map(|machine| machine.first);
        std::iter::once(i32::try_from(std::process::id()).unwrap()).chain(machine).collect()
    }

    /// The namespaces that these processes do not share with those outside of the drill.
    pub fn namespaces(&self, inside: &[(i32, String)]) -> BTreeSet<PathBuf> {
        let own: BTreeSet<PathBuf> =
            self.outside().iter().flat_map(|pid| namespaces_of(&pid.to_string())).collect();
        let theirs = inside.iter().flat_map(|(pid, _)| namespaces_of(&pid.to_string()));
        theirs.filter(|namespace| !own.contains(namespace)).collect()
    }

    /// Asserts that nothing of a drill is to be found: no process that was started from here or names a file from here
    /// (as the monitor of a container does), and no mount; and that the machine which it saw is what it was, file by file,
    /// with all that runs, is mounted or listens there. That a drill cannot reach the real one is shown by
    /// tests/cli/isolation.rs.
    pub fn assert_as_before(&self) {
        let root = self.root.path().to_str().unwrap();
        let began = Instant::now();
        // A keeper that was let go, or a process that was killed, is given the time to leave.
        loop {
            let naming = pids().filter(|pid| command_line(*pid).contains(root));
            let left: Vec<String> = self.processes().into_iter().chain(naming).map(command_line).collect();
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "left running: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(root), "{mounts}");
        assert_eq!(self.groups(), [] as [PathBuf; 0], "groups of processes that nobody needs any more");
        let Some(machine) = &self.machine else { return };
        loop {
            let changed = machine.changed();
            if changed.is_empty() {
                break;
            }
            assert!(began.elapsed() < PATIENCE / 4, "the machine is not what it was: {changed:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The groups of processes, which are the machine's for all, that the hosts of drills from here were in.
    pub fn groups(&self) -> Vec<PathBuf> {
        let mut owners = BTreeSet::new();
        walk(&self.state(), &mut |path| {
            let plan = path.file_name().is_some_and(|name| name == "plan.json");
            let plan = plan.then(|| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap());
            if let Some(dir) = plan.as_ref().and_then(|plan| plan["drill"]["dir"].as_str()) {
                let hash = Sha256::digest(format!("{dir}\n"));
                let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                owners.insert(format!("drill-{}-", &hex[..12]));
            }
        });
        let folders = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let all = folders
            .into_iter()
            .flat_map(|folder| names(folder).map(move |name| Path::new(folder).join(name)));
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            owners.iter().any(|owner| name.starts_with(owner))
        };
        all.filter(ours).collect()
    }

    /// Whether a run here has recorded this.
    pub fn recorded(&self, text: &str) -> bool {
        let runs = self.state().join("runs");
        let journal =
            |run: String| fs::read_to_string(runs.join(run).join("journal.jsonl")).unwrap_or_default();
        names(&runs).any(|run| journal(run).contains(text))
    }

    /// Asserts that no process is in these namespaces any more, and that nothing else keeps them.
    pub fn assert_gone(&self, namespaces: &BTreeSet<PathBuf>) {
        let began = Instant::now();
        loop {
            let alive: BTreeSet<PathBuf> = pids().flat_map(|pid| namespaces_of(&pid.to_string())).collect();
            let left: Vec<_> = alive.intersection(namespaces).collect();
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "namespaces with processes in them: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for namespace in namespaces {
            assert!(!mounts.contains(namespace.to_str().unwrap()), "{namespace:?} is held by a mount");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended in between.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

pub struct Drilled {
    pub report: Value,
    pub events: Vec<Value>,
    /// The files of its run, as long as the place is there.
    pub run: PathBuf,
}

impl Drilled {
    /// What is recorded under this name for this step, in order.
    pub fn of<'a>(&'a self, event: &'a str, step: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter_map(move |e| e.get(event)).filter(move |body| body["step"] == step)
    }

    /// The report that people read.
    pub fn page(&self) -> String {
        fs::read_to_string(self.run.join("report.md")).unwrap()
    }
}

pub struct Running {
    child: Child,
    files: [PathBuf; 2],
}

impl Running {
    pub fn shown(&self) -> String {
        self.files.clone().map(|path| fs::read_to_string(path).unwrap_or_default()).join("\n")
    }

    /// Waits until the run there has recorded this; false if it ended before.
    pub fn reaches(&mut self, place: &Place, text: &str) -> bool {
        let began = Instant::now();
        while !place.recorded(text) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {text:?}\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// The exit code (or the negated signal), and all it showed.
    pub fn wait(mut self) -> (i32, String) {
        use std::os::unix::process::ExitStatusExt;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let code = status.code().unwrap_or_else(|| -status.signal().unwrap());
                return (code, self.shown());
            }
            assert!(began.elapsed() < PATIENCE, "it does not end\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the machine gave the drill no namespaces; it is said.
pub fn refused(code: i32, shown: &str) -> bool {
    let refused = code == 8 && shown.contains("no namespaces for the drill");
    if refused {
        println!("SKIPPED: no right to namespaces here, so no drill on real components was shown");
    }
    refused
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn names(folder: impl AsRef<Path>) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn pids() -> impl Iterator<Item = i32> {
    names("/proc").filter_map(|name| name.parse().ok())
}

fn namespaces_of(pid: &str) -> impl Iterator<Item = PathBuf> + use<> {
    let links = KINDS.map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")));
    links.into_iter().flatten()
}
