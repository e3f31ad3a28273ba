//! A machine for one test: this one's files under a layer of its own, with processes, mounts, network, IPC and host name of
//! its own. What a drill leaves anywhere in it is seen, whatever else goes on here at the same time.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Becomes the first process of the machine. Its word on what it is comes first, then `ready`.
const FIRST: &str = r#"
set -eu
read -r pid _ < /proc/self/stat
echo "$pid"
cd "$LAYER"
mkdir upper work all
mount -t overlay machine -o lowerdir=/,upperdir=upper,workdir=work all
cd all
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
for folder in "$CODE" "$PROGRAM"; do
  mkdir -p ".$folder"
  mount --bind "$folder" ".$folder"
  mount -o remount,bind,ro ".$folder"
done
mkdir -p ".$PLACE"
mount --rbind "$PLACE" ".$PLACE"
mkdir old
pivot_root . old
cd /
umount -l old
rmdir old
# It waits for ever without a child, and collects whoever ends without a parent.
exec env -u LAYER -u CODE -u PROGRAM -u PLACE \
  bash -c 'exec 3<> <(:); wait "$!"; echo ready; exec > /dev/null 2>&1; while :; do read -r _ <&3; done'
"#;

pub struct Machine {
    /// Its parent; when that ends, the machine does.
    outer: Child,
    /// Its first process, by its number here.
    pub first: i32,
    /// What is written anywhere but in a file system of its own.
    layer: tempfile::TempDir,
    place: PathBuf,
    /// What there was before the test.
    before: BTreeSet<String>,
}

impl Machine {
    /// None where none can be made; that is said.
    pub fn new(place: &Path, code: &Path, program: &Path) -> Option<Self> {
        let why = match Self::make(place, code, program) {
            Ok(machine) => return Some(machine),
            Err(why) => why,
        };
        let root = nix::unistd::getuid().is_root();
        let lacks = if root { "no file system for it" } else { "it needs root" };
        println!(
            "SKIPPED: no machine for each drill here, so what it leaves was looked for less: {lacks}: {why}"
        );
        None
    }

    fn make(place: &Path, code: &Path, program: &Path) -> Result<Self, String> {
        let layer =
            tempfile::Builder::new().prefix("runbook-machine-").tempdir().map_err(|e| e.to_string())?;
        let kinds = ["--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child=KILL"];
        let mut outer = Command::new("unshare")
            .args(kinds)
            .args(["--propagation", "private", "bash", "-c", FIRST])
            .env("LAYER", layer.path())
            .env("CODE", code)
            .env("PROGRAM", program)
            .env("PLACE", place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut said = BufReader::new(outer.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).map_err(|e| e.to_string())?;
        let first = line.trim().parse();
        line.clear();
        said.read_line(&mut line).map_err(|e| e.to_string())?;
        let (Ok(first), "ready") = (first, line.trim()) else {
            // It has ended, or does now.
            let _ = outer.kill();
            let _ = outer.wait();
            let mut wrong = String::new();
            let mut stderr = outer.stderr.take().unwrap();
            stderr.read_to_string(&mut wrong).map_err(|e| e.to_string())?;
            return Err(wrong);
        };
        let mut machine = Self { outer, first, layer, place: place.to_owned(), before: BTreeSet::new() };
        machine.before = machine.things();
        assert!(machine.before.iter().any(|thing| thing.starts_with("process bash")), "{:?}", machine.before);
        Ok(machine)
    }

    /// The command in this machine, as this user.
    pub fn enter(&self, user: Option<u32>, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--net", "--ipc", "--uts", "--pid"]);
        if let Some(user) = user {
            command.args([format!("--setuid={user}"), format!("--setgid={user}")]);
        }
        // The folder that has this name there.
        command.args(["--", "sh", "-c", r#"cd "$0" && exec "$@""#]).arg(&self.place).arg(program);
        command
    }

    /// What is there now and was not before, and the other way round.
    pub fn changed(&self) -> Vec<String> {
        let now = self.things();
        let new = now.difference(&self.before).map(|thing| format!("left: {thing}"));
        new.chain(self.before.difference(&now).map(|thing| format!("gone: {thing}"))).collect()
    }

    fn of_first(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.first))
    }

    fn things(&self) -> BTreeSet<String> {
        let mut things = BTreeSet::new();
        self.processes(&mut things);
        let text = |file: &str| fs::read_to_string(self.of_first(file)).unwrap_or_default();
        for line in text("mountinfo").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            things.insert(format!("mount {} of {}", fields[4], fields[3]));
        }
        for line in text("net/dev").lines().skip(2) {
            things.insert(format!("interface {}", line.split(':').next().unwrap().trim()));
        }
        for table in ["net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/packet"] {
            for line in text(table).lines().skip(1) {
                let local = line.split_whitespace().nth(1).unwrap_or_default();
                things.insert(format!("socket {table} {local}"));
            }
        }
        for line in text("net/unix").lines().skip(1) {
            if let Some(path) = line.split_whitespace().nth(7) {
                things.insert(format!("socket {path}"));
            }
        }
        for table in ["net/ip_tables_names", "net/ip6_tables_names", "net/arp", "net/route"] {
            things.extend(text(table).lines().map(|line| format!("{table}: {line}")));
        }
        let layer = self.layer.path().join("upper");
        walk(&layer, &mut |path| {
            let name = Path::new("/").join(path.strip_prefix(&layer).unwrap());
            // A folder also comes into the layer when something in it is looked at in order to be changed.
            if !(path.is_dir() && name.is_dir()) {
                things.extend(seen(path).map(|s| s.replace(layer.to_str().unwrap(), "")));
            }
        });
        for own in ["run", "tmp", "dev/shm"] {
            let within = self.of_first("root");
            let place = within.join(self.place.strip_prefix("/").unwrap());
            walk(&within.join(own), &mut |path| {
                if !path.starts_with(&place) {
                    things.extend(seen(path).map(|s| s.replace(within.to_str().unwrap(), "")));
                }
            });
        }
        things
    }

    /// By what they are: numbers are given anew.
    fn processes(&self, things: &mut BTreeSet<String>) {
        let proc = self.of_first("root/proc");
        for entry in fs::read_dir(&proc).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
                continue;
            }
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
            let about = String::from_utf8_lossy(&read("status")).into_owned();
            // One that has ended is about to be collected.
            if about.contains("\nState:") && !about.contains("\nState:\tZ") && !about.contains("\nState:\tX")
            {
                things.insert(format!("process {} ({name})", line.trim()));
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The whole machine ends with it.
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// What a file is, as far as it can be told from another.
fn seen(path: &Path) -> Option<String> {
    let about = fs::symlink_metadata(path).ok()?;
    let size = if about.is_file() { about.len() } else { 0 };
    Some(format!("file {} {:?} {size}", path.display(), about.file_type()))
}

pub fn walk(folder: &Path, found: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        found(&path);
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        }
    }
}
