#!/usr/bin/env python3
"""A small task manager on SQLite, to be broken in drills. Nothing but Python's standard library.

  task_app.py build DIR         makes DIR/tasks.db with tasks, and DIR/backups with good and bad backups
  task_app.py start DIR PORT    starts the application and waits until it answers
  task_app.py stop DIR          stops it and waits until it is gone
  task_app.py corrupt DIR       overwrites pages of the live database, as a failing disk does
  task_app.py serve DIR PORT    the application itself: GET /health, GET /tasks
"""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

PAGE = 4096


def fill(connection, first, count):
    rows = ((n, f"task {n} " + "x" * 200, n % 2) for n in range(first, first + count))
    with connection:
        connection.executemany("INSERT INTO tasks (id, title, done) VALUES (?, ?, ?)", rows)


def checksum(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")


def damage(path, pages, seed):
    """Overwrites the middle of some pages; the same seed breaks the same bytes."""
    noise = random.Random(seed)
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE + 8)
            file.write(noise.randbytes(600))
        file.flush()
        os.fsync(file.fileno())


def backup(connection, folder, age_minutes, now):
    stamp = (now - timedelta(minutes=age_minutes)).strftime("%Y%m%dT%H%M%SZ")
    path = folder / f"tasks-{stamp}.db"
    copy = sqlite3.connect(path)
    connection.backup(copy)
    copy.close()
    checksum(path)
    return path


def build(root):
    """Good backups of 90, 60 and 30 minutes ago, and two newer ones that must not be trusted."""
    folder = root / "backups"
    folder.mkdir(parents=True)
    connection = sqlite3.connect(root / "tasks.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, title TEXT NOT NULL, done INTEGER NOT NULL)")
    connection.execute("CREATE INDEX tasks_done ON tasks (done)")
    now = datetime.now(timezone.utc)
    fill(connection, 1, 1000)
    oldest = backup(connection, folder, 90, now)
    fill(connection, 1001, 1000)
    backup(connection, folder, 60, now)
    fill(connection, 2001, 1000)
    backup(connection, folder, 30, now)
    fill(connection, 3001, 1000)
    # A copy that rotted on its disk: the checksum was right once.
    damage(backup(connection, folder, 20, now), [12], seed=1)
    # A faithful copy of a database that was broken already: the checksum agrees, the integrity does not.
    unsound = backup(connection, folder, 10, now)
    damage(unsound, [20, 21], seed=2)
    checksum(unsound)
    # Touched last, yet the oldest: its name tells, its modification time does not.
    os.utime(oldest)
    connection.close()


def serve(root, port):
    database = root / "tasks.db"
    # Open for as long as the application lives, as a real one's is: when it ends, the write-ahead log stays.
    held = sqlite3.connect(database, check_same_thread=False)
    held.execute("SELECT count(*) FROM sqlite_master").fetchone()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                connection = sqlite3.connect(f"file:{database}?mode=rw", uri=True)
                try:
                    answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                    if answer != "ok":
                        raise sqlite3.DatabaseError(answer)
                    rows = connection.execute("SELECT count(*) FROM tasks WHERE done >= 0").fetchone()[0]
                finally:
                    connection.close()
                status, body = 200, {"status": "ok", "tasks": rows}
            except sqlite3.Error as error:
                status, body = 500, {"status": "error", "error": str(error)}
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format, *args):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def start(root, port):
    with (root / "app.log").open("ab") as log:
        app = subprocess.Popen(
            [sys.executable, __file__, "serve", str(root), str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (root / "app.pid").write_text(str(app.pid))
    (root / "app.port").write_text(str(port))
    for _ in range(300):
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
            return
        except OSError as error:
            if getattr(error, "code", None) is not None:
                return  # it answers, if only with an error
            if app.poll() is not None:
                sys.exit(f"the application ended at once, see {root / 'app.log'}")
            time.sleep(0.1)
    sys.exit("the application does not answer")


def is_app(pid, root):
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in words and str(root).encode() in words


def stop(root):
    try:
        pid = int((root / "app.pid").read_text())
    except FileNotFoundError:
        return
    if is_app(pid, root):
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            if not is_app(pid, root):
                break
            time.sleep(0.05)
        else:
            sys.exit(f"process {pid} does not end")
    (root / "app.pid").unlink(missing_ok=True)


def corrupt(root):
    """Damages pages of the database, and leaves a write-ahead log behind as a crashed process does: a restore that
    forgets to remove it mixes the log's pages into the restored file."""
    database = root / "tasks.db"
    pid = os.fork()
    if pid == 0:
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        fill(connection, 9001, 50)
        os._exit(0)  # without closing: the log stays
    if os.waitpid(pid, 0)[1] != 0 or not (root / "tasks.db-wal").exists():
        sys.exit("no write-ahead log was left behind")
    damage(database, [8, 9, 10, 30], seed=3)


def main(arguments):
    match arguments:
        case ["build", root]:
            build(Path(root))
        case ["start", root, port]:
            start(Path(root), int(port))
        case ["stop", root]:
            stop(Path(root))
        case ["corrupt", root]:
            corrupt(Path(root))
        case ["serve", root, port]:
            serve(Path(root), int(port))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
