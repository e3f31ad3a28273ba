//! `db-corruption` on databases that were broken by hand: what is restored, what is refused, and what is left alone.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::drill::shipped;
use crate::support::{Shown, World, shown};

/// Makes a database with `rows` rows in a table and, if `wal`, in write-ahead mode.
fn database(world: &World, path: &Path, rows: u32) {
    python(
        world,
        "import sqlite3, sys\n\
         c = sqlite3.connect(sys.argv[1]); c.execute('create table t(id integer primary key, text)')\n\
         c.executemany('insert into t(text) values(?)', [('row %d' % i + 'x' * 200,) for i in range(int(sys.argv[2]))])\n\
         c.commit(); c.close()",
        &[path.to_str().unwrap(), &rows.to_string()],
    );
}

fn python(world: &World, script: &str, args: &[&str]) {
    let shown = shown(world.command("python3").arg("-c").arg(script).args(args));
    assert_eq!(shown.code, 0, "{shown:?}");
}

/// Overwrites pages in the middle.
fn corrupt(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    bytes[4096..end - 4096].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

fn checksum(path: &Path) {
    use std::fmt::Write as _;
    let mut hex = String::new();
    for byte in Sha256::digest(fs::read(path).unwrap()) {
        write!(hex, "{byte:02x}").unwrap();
    }
    let name = path.file_name().unwrap().to_str().unwrap();
    fs::write(format!("{}.sha256", path.display()), format!("{hex}  {name}\n")).unwrap();
}

struct Incident {
    world: World,
    database: PathBuf,
    backups: PathBuf,
}

impl Incident {
    /// A broken database of 500 rows and an empty folder for its backups.
    fn new() -> Self {
        let world = World::new();
        let (database_path, backups) = (world.path("tasks.db"), world.path("backups"));
        fs::create_dir(&backups).unwrap();
        database(&world, &database_path, 500);
        corrupt(&database_path);
        Self { world, database: database_path, backups }
    }

    /// A good backup with its checksum.
    fn backup(&self, name: &str, rows: u32) -> PathBuf {
        let path = self.backups.join(name);
        database(&self.world, &path, rows);
        checksum(&path);
        path
    }

    fn recover(&self, more: &[&str]) -> Shown {
        let book = shipped("db-corruption.yaml");
        self.world.write("answers.yaml", "strategy: backup\nrestore: approve\n");
        let args = ["run", &book, "-p", "database=tasks.db", "-p", "backups=backups"];
        self.world.run(&[&args[..], &["--answers", "answers.yaml"], more].concat())
    }

    /// Rows of the database that can be read now.
    fn rows(&self) -> String {
        let count = "import sqlite3, sys\nprint(sqlite3.connect(sys.argv[1]).execute('select count(*) from t').fetchone()[0])";
        let mut command = self.world.command("python3");
        shown(command.arg("-c").arg(count).arg(&self.database)).exits(0).out.trim().to_owned()
    }

    fn damaged(&self, name: &str) -> PathBuf {
        self.world.run_dir(&self.world.last_run()).join("damaged").join(name)
    }
}

#[test]
fn the_newest_good_backup_by_its_own_time_is_restored() {
    let incident = Incident::new();
    let broken = fs::read(&incident.database).unwrap();
    // The oldest is written last: a modification time says nothing about a backup's age.
    let newer = incident.backup("tasks-2026-11-20T0300.db", 450);
    incident.backup("tasks-2026-11-19T0300.db", 400);
    let shown = incident.recover(&[]).exits(0).says(&["recovered", "RPO"]);
    assert!(shown.out.contains("runbook report"), "the next command is said");
    assert_eq!(fs::read(&incident.database).unwrap(), fs::read(newer).unwrap());
    assert_eq!(fs::read(incident.damaged("database")).unwrap(), broken, "the damaged file is kept as it was");
}

#[test]
fn with_only_bad_backups_nothing_is_touched() {
    let incident = Incident::new();
    let broken = fs::read(&incident.database).unwrap();
    fs::write(incident.database.with_file_name("tasks.db-wal"), b"old log").unwrap();
    fs::write(incident.backups.join("tasks-2026-11-20T0400.db"), b"").unwrap();
    let corrupted = incident.backup("tasks-2026-11-20T0300.db", 450);
    corrupt(&corrupted);
    checksum(&corrupted);
    let changed = incident.backup("tasks-2026-11-19T0300.db", 400);
    database(&incident.world, &changed.with_file_name("other.tmp"), 401);
    fs::rename(changed.with_file_name("other.tmp"), &changed).unwrap();
    fs::write(incident.backups.join("tasks-2026-11-18T0300.db"), b"no database at all, but some text")
        .unwrap();

    incident.recover(&[]).exits(1).says(&[
        "failed",
        "refused tasks-2026-11-20T0400.db: it is empty",
        "refused tasks-2026-11-20T0300.db: ",
        "refused tasks-2026-11-19T0300.db: its checksum does not agree",
        "refused tasks-2026-11-18T0300.db: SQLite cannot read it: file is not a database",
        "4 refused",
        "nothing was restored",
        "runbook resume ",
    ]);
    assert_eq!(fs::read(&incident.database).unwrap(), broken, "the database is byte for byte as before");
    assert_eq!(fs::read(incident.damaged("database")).unwrap(), broken);
    assert_eq!(fs::read(incident.damaged("database-wal")).unwrap(), b"old log");
    assert_eq!(incident.world.read("tasks.db-wal"), "old log");
    assert_eq!(incident.world.outcome("pick"), "failed");
    assert_eq!(incident.world.outcome("restore"), "none");
}

#[test]
fn after_a_good_backup_arrives_the_failed_run_goes_on() {
    let incident = Incident::new();
    fs::write(incident.backups.join("tasks-2026-11-20.db"), b"").unwrap();
    incident.recover(&[]).exits(1);
    let good = incident.backup("tasks-2026-11-19.db", 77);
    incident.world.run(&["resume", "last", "--answers", "answers.yaml"]).exits(0).says(&["recovered"]);
    assert_eq!(fs::read(&incident.database).unwrap(), fs::read(good).unwrap());
    let kept = incident.world.events_named("step_ended");
    let kept = kept.iter().filter(|e| e["step"] == "keep-evidence").count();
    assert_eq!(kept, 1, "what succeeded was not done again");
}

#[test]
fn a_backup_without_a_checksum_is_taken_unless_one_is_required() {
    let incident = Incident::new();
    let bare = incident.backups.join("tasks-2026-11-20.db");
    database(&incident.world, &bare, 50);
    let broken = fs::read(&incident.database).unwrap();
    incident
        .recover(&["-p", "require_checksum=true"])
        .exits(1)
        .says(&["refused tasks-2026-11-20.db: it has no checksum"]);
    assert_eq!(fs::read(&incident.database).unwrap(), broken);
    incident.world.run(&["cancel", "last"]);
    incident.recover(&[]).exits(0).says(&["recovered"]);
    assert_eq!(fs::read(&incident.database).unwrap(), fs::read(bare).unwrap());
}

#[test]
fn a_stale_write_ahead_log_is_not_mixed_in() {
    let incident = Incident::new();
    let wal = incident.database.with_file_name("tasks.db-wal");
    // A real log: the writer dies without a checkpoint, so its last row is in the log alone.
    fs::remove_file(&incident.database).unwrap();
    python(
        &incident.world,
        "import sqlite3, sys, os\n\
         c = sqlite3.connect(sys.argv[1]); c.execute('pragma journal_mode=wal')\n\
         c.execute('create table t(id integer primary key, text)'); c.commit()\n\
         c.execute('pragma wal_checkpoint(truncate)')\n\
         c.executemany('insert into t(text) values(?)', [('stale',)] * 30); c.commit(); os._exit(0)",
        &[incident.database.to_str().unwrap()],
    );
    assert!(wal.metadata().unwrap().len() > 0, "the log is there");
    incident.backup("tasks-2026-11-20.db", 60);
    incident.recover(&[]).exits(0);
    assert!(!wal.exists());
    assert!(incident.damaged("database-wal").metadata().unwrap().len() > 0, "it is kept as evidence");
    python(
        &incident.world,
        "import sqlite3, sys\n\
         c = sqlite3.connect(sys.argv[1]); assert c.execute('pragma integrity_check').fetchall() == [('ok',)]\n\
         assert c.execute('select count(*) from t').fetchone() == (60,)\n\
         assert c.execute(\"select count(*) from t where text = 'stale'\").fetchone() == (0,)",
        &[incident.database.to_str().unwrap()],
    );
}

#[test]
fn a_restore_that_turns_out_wrong_is_taken_back() {
    let incident = Incident::new();
    let broken = fs::read(&incident.database).unwrap();
    incident.backup("tasks-2026-11-20.db", 60);
    // The restored file is synced before it takes its place: this `sync` spoils it on the way, as a bad disk would.
    let real = ["/usr/bin/sync", "/bin/sync"].into_iter().find(|p| Path::new(p).exists()).unwrap();
    let spoil = format!(
        "#!/bin/sh\nfor last; do :; done\ncase $last in *.restoring)\n  head -c 8192 /dev/zero | tr '\\0' x | \
         dd of=\"$last\" bs=4096 seek=1 conv=notrunc 2>/dev/null ;;\nesac\nexec {real} \"$@\"\n"
    );
    incident.world.write("bin/sync", spoil);
    fs::set_permissions(incident.world.path("bin/sync"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = std::env::var("PATH").unwrap();
    let book = shipped("db-corruption.yaml");
    incident.world.write("answers.yaml", "strategy: backup\nrestore: approve\n");
    let given = ["-p", "database=tasks.db", "-p", "backups=backups", "--answers", "answers.yaml"];
    let args = [&["run", book.as_str()], &given[..]].concat();
    let mut command = incident.world.cmd(&args);
    command.env("PATH", format!("{}:{path}", incident.world.path("bin").display()));
    shown(&mut command).exits(6).says(&["rolled-back", "integrity"]);
    assert_eq!(fs::read(&incident.database).unwrap(), broken, "the damaged database is back, byte for byte");
    let events = incident.world.events_named("step_undone");
    assert!(events.iter().any(|e| e["step"] == "restore"), "{events:?}");
}

#[test]
fn a_database_that_is_in_use_is_not_replaced() {
    let incident = Incident::new();
    incident.backup("tasks-2026-11-20.db", 60);
    let broken = fs::read(&incident.database).unwrap();
    let held = fs::File::open(&incident.database).unwrap();
    incident.recover(&[]).exits(1).says(&["is still open in process", "stop it first"]);
    drop(held);
    assert_eq!(fs::read(&incident.database).unwrap(), broken);
}

/// Without somebody who agrees, the database is left alone; and whoever says no is heard.
#[test]
fn nothing_is_replaced_before_somebody_agrees() {
    let incident = Incident::new();
    let good = incident.backup("tasks-2026-11-20.db", 60);
    let broken = fs::read(&incident.database).unwrap();
    let book = shipped("db-corruption.yaml");
    let args = ["run", &book, "-p", "database=tasks.db", "-p", "backups=backups"];
    incident.world.run(&args).exits(3).says(&[
        "Newest good backup: tasks-2026-11-20.db, 60 rows",
        "strategy waits for a person",
        "runbook choose",
    ]);
    incident.world.run(&["choose", "last", "strategy", "backup"]).exits(0);
    incident
        .world
        .run(&["resume", "last"])
        .exits(3)
        .says(&["New: the backup tasks-2026-11-20.db", "runbook approve"]);
    incident.world.run(&["reject", "last", "--reason", "wait for the vendor"]).exits(0);
    incident.world.run(&["resume", "last"]).exits(1).says(&["wait for the vendor"]);
    assert_eq!(fs::read(&incident.database).unwrap(), broken);
    // Asked again by a resume.
    incident.world.run(&["resume", "last"]).exits(3);
    incident.world.run(&["approve", "last"]).exits(0);
    incident.world.run(&["resume", "last"]).exits(0).says(&["recovered"]);
    assert_eq!(fs::read(&incident.database).unwrap(), fs::read(good).unwrap());
}

/// Rows on pages that are not damaged are kept, those before, between and behind the damage; and no backup is needed.
#[test]
fn what_can_still_be_read_is_offered_and_kept() {
    let incident = Incident::new();
    // Anew: of the fixture's database nothing is left but its ends.
    fs::remove_file(&incident.database).unwrap();
    database(&incident.world, &incident.database, 500);
    let mut bytes = fs::read(&incident.database).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 25, "{pages}");
    for page in [7, 8, 20] {
        bytes[page * 4096 + 8..page * 4096 + 4000].fill(0xa5);
    }
    fs::write(&incident.database, &bytes).unwrap();
    // Only a bad backup: the suggestion follows the facts.
    fs::write(incident.backups.join("tasks-2026-11-20.db"), b"").unwrap();
    incident.recover(&[]).exits(3).says(&["Newest good backup: none", "salvage (suggested)"]);
    let refused = incident.world.run(&["choose", "last", "strategy", "backup"]).exits(8);
    refused.says(&["option backup cannot be taken now"]);
    incident.world.run(&["choose", "last", "strategy", "salvage"]).exits(0);
    let shown = incident.world.run(&["resume", "last", "--answers", "answers.yaml"]).exits(0);
    shown.says(&["recovered", "New: what was salvaged, "]);
    let rows: u32 = incident.rows().parse().unwrap();
    // Three leaves of some 17 rows each.
    assert!((430..490).contains(&rows), "{rows}");
    assert_eq!(fs::read(incident.damaged("database")).unwrap(), bytes, "what was damaged is kept as it was");
    python(
        &incident.world,
        "import sqlite3, sys\n\
         c = sqlite3.connect(sys.argv[1]); ids = {r[0] for r in c.execute('select id from t')}\n\
         assert {1, 2, 3, 498, 499, 500} <= ids, 'both ends'\n\
         assert any(120 < i < 300 for i in ids), 'between the damaged pages'\n\
         assert c.execute(\"select count(*) from t where text not like 'row ' || (id - 1) || 'xx%'\").fetchone() == (0,)",
        &[incident.database.to_str().unwrap()],
    );
}
