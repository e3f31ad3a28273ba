//! In a container that podman runs, and by kubectl's words (a stand-in for kubectl: no cluster is to be had here).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{World, shown, wait_until};

/// A container with nothing in it but busybox.
struct Container<'w> {
    world: &'w World,
    name: String,
}

impl<'w> Container<'w> {
    /// None, and why is said, if it cannot be had here.
    fn new(world: &'w World) -> Option<Self> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| {
            fs::exists(path).unwrap_or(false)
                && Command::new("ldd").arg(path).output().is_ok_and(|o| !o.status.success())
        });
        let name = format!("runbook-hosts-{}", std::process::id());
        let container = Self { world, name };
        let skip = |why: &str| println!("SKIPPED: a container ({why})");
        let Some(busybox) = busybox else {
            skip("needs a static busybox");
            return None;
        };
        world.write(
            "containers.conf",
            "[containers]\nnetns=\"host\"\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n[engine]\nruntime=\"runc\"\n\
             cgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n",
        );
        let place = world.dir();
        world.write(
            "storage.conf",
            format!(
                "[storage]\ndriver=\"vfs\"\ngraphroot=\"{0}/graph\"\nrunroot=\"{0}/runroot\"\n",
                place.display()
            ),
        );
        let root = world.path("root");
        for folder in ["bin", "tmp", "root", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy(busybox, root.join("bin/busybox")).unwrap();
        let applets = Command::new(busybox).arg("--list").output().unwrap();
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|name| *name != "busybox") {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(applet));
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        let import = format!("tar -C {} -c . | podman import - {}", root.display(), container.name);
        let made = container.podman("sh").args(["-c", &import]).output();
        let ran = container
            .podman("podman")
            .args(["run", "-d", "--name", &container.name, &container.name, "/bin/sleep", "600"])
            .output();
        match (made, ran) {
            (Ok(made), Ok(ran)) if made.status.success() && ran.status.success() => Some(container),
            (made, ran) => {
                let said = |output: std::io::Result<std::process::Output>| {
                    output.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).into_owned())
                };
                skip(&format!("podman: {} {}", said(made), said(ran)).replace('\n', " "));
                None
            }
        }
    }

    fn podman(&self, program: &str) -> Command {
        let mut command = self.world.command(program);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        let file = |name: &str| self.world.path(name);
        command
            .env("CONTAINERS_CONF", file("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", file("storage.conf"));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.podman("podman").args(["rm", "-f", "-t", "0", &self.name]).output();
        let _ = self.podman("podman").args(["rmi", "-f", &self.name]).output();
    }
}

#[test]
fn in_a_container() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: a container (needs root)");
    }
    let world = World::new();
    let Some(container) = Container::new(&world) else { return };
    world.playbook(
        "inside",
        &r#"
hosts: { box: { container: NAME, engine: podman } }
params: { v: { type: string, default: "it's $(id) é" } }
steps:
  - id: look
    on: box
    shell: sh
    stdin: "a\nb"
    run: |
      [ ! -e /usr ] && wc -c && printf '%s' {{ params.v }} && echo "x=7" >> "$RUNBOOK_OUTPUT"
    outputs: { said: result.stdout }
  - { id: here, run: "[ {{ steps.look.outputs.x }} = 7 ] && printf '%s' {{ steps.look.outputs.said }} | grep -qF \"it's \\$(id) é\"" }
  - { id: code, on: box, exec: [sh, -c, "exit 125"], on_failure: continue }
  - { id: killed, on: box, exec: [sh, -c, "kill -9 $$"], on_failure: continue }
  - { id: late, on: box, shell: sh, timeout: 2s, grace: 1s, run: "trap '' TERM; sleep 4031 & sleep 4032; sleep 4033", on_failure: continue }
"#
        .replace("NAME", &container.name),
    );
    let mut command = world.cmd(&["run", "inside"]);
    container.environment(&mut command);
    shown(&mut command).exits(4);
    let ends = world.events_named("task_ended");
    let kinds: Vec<String> = ends.iter().map(|body| body["end"]["kind"].to_string()).collect();
    assert_eq!(kinds[2..], [r#"{"exited":{"code":125}}"#, r#"{"signaled":{"signal":9}}"#, r#""timed_out""#]);
    let left = || {
        let mut top = container.podman("podman");
        top.args([
            "exec",
            &container.name,
            "sh",
            "-c",
            "ps; ls -A /root/.cache/runbook /tmp 2>/dev/null; true",
        ]);
        shown(&mut top).out
    };
    wait_until("the container to be as it was", || {
        !left().contains("sleep 403") && !left().contains("inside-")
    });
    // One that is gone has surely begun nothing.
    let doctor = |engine: &dyn Fn(&mut Command), code: i32, says: &[&str]| {
        let mut command = world.cmd(&["doctor", "needs", "--timeout", "60s"]);
        engine(&mut command);
        shown(&mut command).exits(code).says(says);
    };
    let ours: &dyn Fn(&mut Command) = &|command| container.environment(command);
    world.playbook(
        "needs",
        &"hosts: { box: { container: NAME, engine: podman } }\nrequires: { hosts: [box] }\n\
          steps: [{ id: go, on: box, shell: sh, run: 'true' }, { id: more, on: box, run: 'true' }]\n"
            .replace("NAME", &container.name),
    );
    doctor(ours, 0, &["it answers, but bash is not in PATH there; step go and 1 more would fail"]);
    assert!(!left().contains("runbook-0"), "{}", left());
    let mut gone = container.podman("podman");
    gone.args(["stop", "-t", "0", &container.name]);
    shown(&mut gone).exits(0);
    doctor(ours, 8, &["container state improper", "start it: `podman exec -i"]);
    let mut gone = container.podman("podman");
    gone.args(["rm", "-f", "-t", "0", &container.name]);
    shown(&mut gone).exits(0);
    let mut command = world.cmd(&["run", "inside"]);
    container.environment(&mut command);
    shown(&mut command).exits(1).says(&["box cannot be reached:", "no such container"]);
    doctor(ours, 8, &["there is no such container", "see its name, or make it: `podman exec -i"]);
    let bare: &dyn Fn(&mut Command) = &|command| _ = command.env("PATH", "/nowhere");
    doctor(bare, 8, &["podman: no such file or folder", "install podman here"]);
}

#[test]
fn by_the_words_of_kubectl() {
    let world = World::new();
    let bin = world.path("bin");
    fs::create_dir_all(&bin).unwrap();
    // A stand-in: it writes down how it was called, and runs what it was given here.
    write_program(
        &bin.join("kubectl"),
        "#!/bin/sh\nprintf '%s ' \"$@\" >> calls; echo >> calls\nwhile [ \"$1\" != -- ]; do shift; done; shift\nexec \"$@\"\n",
    );
    world.playbook(
        "pod",
        r#"
hosts: { web: { kubectl: deploy/web, namespace: prod, context: east, pod_container: app } }
steps:
  - { id: look, on: web, run: "echo hello; exit 3", expect: "result.exit == 3 and result.stdout == 'hello\n'" }
"#,
    );
    let mut command = world.cmd(&["run", "pod"]);
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    shown(&mut command).exits(0);
    let calls = world.read("calls");
    assert!(
        calls.starts_with("--context east --namespace prod exec -i deploy/web --container app -- sh -c "),
        "{calls}"
    );
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
