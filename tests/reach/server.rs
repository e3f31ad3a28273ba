//! A PostgreSQL server of a test's own: its own folder, port, socket and passwords. It runs as another user where this is
//! root, which PostgreSQL refuses to be, and is gone with the test.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use crate::ca::Pair;

/// With what it costs a URL: `@`, `/`, `%` and a quote.
pub const PASSWORD: &str = "s3cr3t/@:%'\"pass";

pub struct Postgres {
    root: tempfile::TempDir,
    programs: PathBuf,
    user: Option<User>,
    pub port: u16,
    child: Option<Child>,
}

/// The newest server that is installed; they stand in no PATH.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, bin)| bin)
}

impl Postgres {
    /// None: there is no server here, which is said.
    pub fn start() -> Option<Self> {
        Self::configured(None, "")
    }

    pub fn with_tls(pair: &Pair) -> Option<Self> {
        Self::configured(Some(pair), "")
    }

    /// `settings`: lines of its configuration.
    pub fn configured(pair: Option<&Pair>, settings: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            println!(
                "SKIPPED: there is no PostgreSQL server here (pg_ctlcluster has one), so queries to it are not tested"
            );
            return None;
        };
        let user = geteuid().is_root().then(|| {
            let known = |name| User::from_name(name).ok().flatten();
            known("postgres").or_else(|| known("nobody")).expect("an account for the server")
        });
        let root = tempfile::Builder::new().prefix("runbook-pg-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { root, programs, user, port, child: None };
        server.give(server.root.path());
        server.write("password", PASSWORD);
        server.program(
            "initdb",
            &[
                "-D",
                "data",
                "-U",
                "admin",
                "-A",
                "scram-sha-256",
                "--pwfile=password",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
            ],
        );
        let mut conf = format!(
            "listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories='{}'\nfsync=off\nshared_buffers=16MB\n\
             max_connections=30\nlog_min_messages=warning\n{settings}\n",
            server.socket().display()
        );
        if let Some(pair) = pair {
            server.write("server.pem", fs::read_to_string(&pair.cert).unwrap());
            server.write("server.key", fs::read_to_string(&pair.key).unwrap());
            conf += "ssl=on\nssl_cert_file='../server.pem'\nssl_key_file='../server.key'\n";
        }
        server.write("data/postgresql.auto.conf", conf);
        server.write(
            "data/pg_hba.conf",
            "local all all scram-sha-256\n\
             host all clear 127.0.0.1/32 password\nhost all digest 127.0.0.1/32 md5\nhostnossl all tlsonly 127.0.0.1/32 reject\n\
             host all all 127.0.0.1/32 scram-sha-256\n",
        );
        server.boot();
        Some(server)
    }

    /// The folder of its socket.
    pub fn socket(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    pub fn url(&self, rest: &str) -> String {
        format!("postgres://admin@127.0.0.1:{}/postgres{rest}", self.port)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
    }

    fn give(&self, path: &Path) {
        if let Some(user) = &self.user {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        // Whatever becomes of this test, the server does not outlive it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(user) = &self.user {
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups");
        }
        command
            .arg(self.programs.join(program))
            .current_dir(self.root.path())
            .env_remove("LC_ALL")
            .env("LC_ALL", "C");
        command
    }

    fn program(&self, name: &str, args: &[&str]) {
        let shown = self.command(name).args(args).output().unwrap();
        assert!(
            shown.status.success(),
            "{name}: {}{}",
            String::from_utf8_lossy(&shown.stdout),
            String::from_utf8_lossy(&shown.stderr)
        );
    }

    /// Starts the server and waits until it takes statements.
    pub fn boot(&mut self) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.root.path().join("log")).unwrap();
        let child = self
            .command("postgres")
            .args(["-D", "data"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let began = Instant::now();
        while !self.psql("select 1").is_ok_and(|answer| answer == "1") {
            let log = fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "the server does not come up: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What PostgreSQL's own program makes of a statement.
    pub fn psql(&self, query: &str) -> Result<String, String> {
        let shown = Command::new(self.programs.join("psql"))
            .args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-U", "admin"])
            .arg("-h")
            .arg(self.socket())
            .arg("-p")
            .arg(self.port.to_string())
            .args(["-c", query])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if shown.status.success() { Ok(text(&shown.stdout)) } else { Err(text(&shown.stderr)) }
    }

    #[track_caller]
    pub fn sql(&self, query: &str) -> String {
        self.psql(query).unwrap()
    }

    /// The process that carries out the one statement which holds this text.
    pub fn serving(&self, text: &str) -> Option<i32> {
        // Not merely read by the server, but sleeping.
        let ask = "select pid from pg_stat_activity where wait_event = 'PgSleep' and pid <> pg_backend_pid()";
        self.psql(&format!("{ask} and query like '%{text}%'")).ok()?.parse().ok()
    }

    pub fn postmaster(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Takes note of its end, whoever brought it about.
    pub fn wait(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGQUIT);
            let _ = child.wait();
        }
    }
}
