#!/usr/bin/env python3
"""Finds the newest SQLite backup that verifies, and counts rows. Nothing but Python's standard library.

  sqlite_backups.py newest FOLDER DATABASE OUTPUT [--require-checksum]
      Looks at every *.db, *.sqlite, *.sqlite3, *.bak in FOLDER but DATABASE itself, newest first by the time in its own
      NAME, read as UTC (a copy or a restore changes the modification time, never the name). A backup is good if it is
      whole without a write-ahead log beside it, its checksum agrees and SQLite's integrity_check answers exactly "ok"
      (it exits 0 even when it found damage). Every refused backup is named on stderr with the reason. Writes path,
      taken_at and rows to the file OUTPUT. Exit 1: no good backup.
  sqlite_backups.py rows DATABASE
      Prints the number of rows in all tables of the database.
  sqlite_backups.py in-use DATABASE
      Exit 1, with the processes named, if a process still has the database open.
"""

import hashlib
import os
import re
import sqlite3
import sys
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

SUFFIXES = {".db", ".sqlite", ".sqlite3", ".bak"}
STAMP = re.compile(
    r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?:[T_ -]?(\d{2})[:-]?(\d{2})(?:[:-]?(\d{2}))?)?(?!\d)"
)


def time_of(path):
    """The time the name states (UTC); else the file's modification time, which is said on stderr."""
    match = STAMP.search(path.name)
    if match:
        parts = [int(part or 0) for part in match.groups()]
        try:
            return datetime(*parts, tzinfo=timezone.utc)
        except ValueError:
            pass
    print(f"note: {path.name} has no time in its name; its modification time is used", file=sys.stderr)
    return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)


def stated_checksum(path):
    """The SHA-256 that NAME.sha256 or SHA256SUMS states for the file, if any."""
    beside = path.with_name(path.name + ".sha256")
    if beside.exists():
        words = beside.read_text(errors="replace").split()
        return words[0].lower() if words else "empty"
    sums = path.with_name("SHA256SUMS")
    if sums.exists():
        for line in sums.read_text(errors="replace").splitlines():
            words = line.split(maxsplit=1)
            if len(words) == 2 and words[1].strip().lstrip("*") == path.name:
                return words[0].lower()
    return None


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def open_untouched(path):
    """Opens a database so that nothing at all is written beside it."""
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)


def count_rows(connection):
    # A virtual table keeps its rows in ordinary ones, and its module may not be here.
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall()
    total = 0
    for (name,) in names:
        escaped = name.replace('"', '""')
        total += connection.execute(f'SELECT count(*) FROM "{escaped}"').fetchone()[0]
    return total


def refusal(path, require_checksum):
    """Why the backup cannot be trusted; None if it can."""
    if path.stat().st_size == 0:
        return "it is empty"
    if any(ord(c) < 32 for c in path.name):
        return "its name holds a control character"
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > 0:
        return f"part of it is in {log.name}, which a restore would leave behind"
    stated = stated_checksum(path)
    if stated is None:
        if require_checksum:
            return "it has no checksum"
        print(f"note: {path.name} has no checksum; only its integrity is checked", file=sys.stderr)
    elif stated != sha256(path):
        return "its checksum does not agree"
    try:
        connection = open_untouched(path)
        try:
            answers = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return f"SQLite cannot read it: {error}"
    if answers != ["ok"]:
        first = str(answers[0]).splitlines()
        return f"integrity_check: {first[-1] if first else 'no answer'}"
    return None


def newest(folder, database, output, require_checksum):
    if not folder.is_dir():
        sys.exit(f"{folder}: no such folder")
    damaged = database.resolve()
    candidates = [
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.resolve() != damaged
    ]
    dated = sorted(((time_of(p), p.name, p) for p in candidates), reverse=True)
    refused = 0
    for taken_at, name, path in dated:
        reason = refusal(path, require_checksum)
        if reason:
            refused += 1
            print(f"refused {name}: {reason}", file=sys.stderr)
            continue
        if taken_at > datetime.now(timezone.utc):
            print(f"note: the time of {name} lies in the future; is it in UTC?", file=sys.stderr)
        connection = open_untouched(path)
        rows = count_rows(connection)
        connection.close()
        stamp = taken_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        print(f"{name} from {stamp}, {rows} rows")
        with open(output, "a", encoding="utf-8") as file:
            file.write(f"path={path.resolve()}\ntaken_at={stamp}\nrows={rows}\n")
        return
    if not dated:
        kinds = ", ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        sys.exit(f"there is no backup in {folder} (looked for {kinds}); nothing was restored")
    sys.exit(f"no backup in {folder} can be trusted ({refused} refused); nothing was restored")


def in_use(database):
    targets = {str(database.resolve()) + suffix for suffix in ("", "-wal", "-shm", "-journal")}
    users, unseen = [], 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if any(os.readlink(fd) in targets for fd in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                users.append(f"{process.name} ({command.strip()})")
        except PermissionError:
            unseen += 1
        except OSError:
            continue  # it has ended
    if unseen:
        print(f"note: {unseen} processes of other users could not be looked at", file=sys.stderr)
    if users:
        sys.exit(f"{database} is still open in process {', '.join(users)}; stop it first")


def main(arguments):
    # No `match`: the machines that need this most have an old Python.
    command, rest = (arguments or [""])[0], arguments[1:]
    if command == "newest" and len(rest) >= 3 and set(rest[3:]) <= {"--require-checksum"}:
        newest(Path(rest[0]), Path(rest[1]), rest[2], bool(rest[3:]))
    elif command == "rows" and len(rest) == 1:
        connection = open_untouched(Path(rest[0]))
        print(count_rows(connection))
        connection.close()
    elif command == "in-use" and len(rest) == 1:
        in_use(Path(rest[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (sqlite3.Error, OSError, UnicodeError) as error:
        sys.exit(f"{error}")
