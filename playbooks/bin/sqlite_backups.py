#!/usr/bin/env python3
"""Finds the newest SQLite backup that verifies, and counts rows. Nothing but Python's standard library.

  sqlite_backups.py newest FOLDER DATABASE OUTPUT [--require-checksum]
      Looks at every *.db, *.sqlite, *.sqlite3, *.bak in FOLDER but DATABASE itself, newest first by the time in its own
      NAME, read as UTC (a copy or a restore changes the modification time, never the name). A backup is good if it is
      whole without a write-ahead log beside it, its checksum agrees and SQLite's integrity_check answers exactly "ok"
      (it exits 0 even when it found damage). Every refused backup is named on stderr with the reason. Writes path,
      taken_at, rows and, for people, `is` to the file OUTPUT. Exit 1: no good backup; rows is 0.
  sqlite_backups.py salvage DATABASE NEW OUTPUT
      Writes to NEW the rows that can still be read of the database and its write-ahead log, which stay as they are.
      Writes rows, taken_at (when the files were last written) and `is` to the file OUTPUT; rows is 0 if nothing can be
      used.
  sqlite_backups.py rows DATABASE
      Prints the number of rows in all tables of the database.
  sqlite_backups.py in-use DATABASE
      Exit 1, with the processes named, if a process still has the database open.
"""

import hashlib
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

SUFFIXES = {".db", ".sqlite", ".sqlite3", ".bak"}
STAMP = re.compile(
    r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?:[T_ -]?(\d{2})[:-]?(\d{2})(?:[:-]?(\d{2}))?)?(?!\d)"
)
# Seconds in which parts of a damaged table are looked for: the choice that it is for should not wait long.
SALVAGE_WITHIN = 120


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
        age = int((datetime.now(timezone.utc) - taken_at).total_seconds() // 60)
        tell(output, f"{name}, {rows} rows, {age} minutes old", rows, taken_at, path.resolve())
        return
    tell(output, "none", 0)
    if not dated:
        kinds = ", ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        sys.exit(f"there is no backup in {folder} (looked for {kinds}); nothing was restored")
    sys.exit(f"no backup in {folder} can be trusted ({refused} refused); nothing was restored")


def tell(output, what, rows, taken_at=None, path=""):
    """Prints what was found, and writes it as the step's outputs."""
    print(what)
    stamp = taken_at.strftime("%Y-%m-%dT%H:%M:%SZ") if taken_at else ""
    with open(output, "a", encoding="utf-8") as file:
        file.write(f"is={what}\npath={path}\ntaken_at={stamp}\nrows={rows}\n")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def ends(source, table, rowid):
    """The lowest and the highest row that can be reached; a damaged page may hide those at the very end."""
    found = set()

    def look(query, *values):
        try:
            row = source.execute(query, values).fetchone()
            # A damaged page may give any number: only one that leads back to its row is one.
            if row and source.execute(f"SELECT 1 FROM {table} WHERE {rowid} = ?", row).fetchone():
                found.add(row[0])
        except sqlite3.DatabaseError:
            pass

    for end in ("min", "max"):
        look(f"SELECT {end}({rowid}) FROM {table}")
    for near in (int(2 ** (step / 16)) for step in range(62 * 16)):
        look(f"SELECT {rowid} FROM {table} WHERE {rowid} >= ? ORDER BY {rowid} LIMIT 1", near)
        look(f"SELECT {rowid} FROM {table} WHERE {rowid} <= ? ORDER BY {rowid} DESC LIMIT 1", near)
    return [(min(found), max(found))] if found else []


def readable(source, table, rowid, deadline):
    """The rows of a table that can be read, each once. A stretch is read from both ends up to what is damaged, then
    both halves of what is left are: so whatever lies between two damaged pages is found."""
    stretches = deque(ends(source, table, rowid))
    while stretches:
        low, high = stretches.popleft()
        before, errors = (low, high), 0
        for order in ("ASC", "DESC"):
            if time.monotonic() > deadline:
                print(f"note: {table} was not read to its end within {SALVAGE_WITHIN} seconds", file=sys.stderr)
                return
            query = f"SELECT {rowid}, * FROM {table} WHERE {rowid} BETWEEN ? AND ? ORDER BY {rowid} {order}"
            try:
                for row in source.execute(query, (low, high)):
                    # A damaged page may give any number.
                    if not low <= row[0] <= high:
                        raise sqlite3.DatabaseError("out of order")
                    yield row
                    low, high = (row[0] + 1, high) if order == "ASC" else (low, row[0] - 1)
            except sqlite3.DatabaseError:
                errors += 1
        if low > high or (errors == 0 and (low, high) == before):
            continue  # all of it is read, or there is nothing
        if (low, high) != before:
            # A scan may also end early without an error: a damaged page looked like the end.
            stretches.append((low, high))
        elif low < high:
            middle = (low + high) // 2
            stretches.extend([(low, middle), (middle + 1, high)])


def copy_readable(source, new):
    """Copies the schema and what can be read; gives the number of rows."""
    deadline = time.monotonic() + SALVAGE_WITHIN
    schema = source.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    tables = [(name, sql) for kind, name, sql in schema if kind == "table" and not name.startswith("sqlite_")]
    rows = 0
    for name, sql in tables:
        new.execute(sql)
        columns = [column[1] for column in new.execute(f"PRAGMA table_info({quoted(name)})")]
        rowid = next((r for r in ("rowid", "_rowid_", "oid") if r not in [c.lower() for c in columns]), None)
        if rowid is None or "WITHOUT ROWID" in sql.upper() or sql.upper().startswith("CREATE VIRTUAL"):
            print(f"note: table {name} is of a kind that cannot be salvaged", file=sys.stderr)
            continue
        names = ", ".join([rowid] + [quoted(c) for c in columns])
        marks = ", ".join("?" * (len(columns) + 1))
        for row in readable(source, quoted(name), rowid, deadline):
            # What its own table refuses is damaged too.
            rows += new.execute(f"INSERT OR IGNORE INTO {quoted(name)} ({names}) VALUES ({marks})", row).rowcount
    for kind, name, sql in schema:
        if kind != "table":
            new.execute(sql)
    for setting in ("user_version", "application_id"):
        new.execute(f"PRAGMA {setting} = {source.execute(f'PRAGMA {setting}').fetchone()[0]}")
    new.commit()
    answer = new.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if answer != "ok":
        raise sqlite3.DatabaseError(f"what was read is not sound: {answer}")
    return rows


def salvage(database, new, output):
    names = [database.name + suffix for suffix in ("", "-wal", "-journal")]
    files = [database.with_name(name) for name in names if database.with_name(name).exists()]
    rows, what = 0, "nothing"
    with tempfile.TemporaryDirectory(dir=new.parent) as work:
        # SQLite writes to what it opens, and what is kept as evidence stays as it is.
        for file in files:
            shutil.copyfile(file, Path(work) / file.name)
        new.unlink(missing_ok=True)
        source, target = sqlite3.connect(Path(work) / database.name), sqlite3.connect(new)
        try:
            rows = copy_readable(source, target)
        except sqlite3.Error as error:
            what = f"nothing ({error})"
        finally:
            source.close()
            target.close()
    if rows == 0:
        return tell(output, what, 0)
    written = datetime.fromtimestamp(max(f.stat().st_mtime for f in files), timezone.utc)
    tell(output, f"{rows} rows, last written {written:%H:%M} UTC", rows, written, new)


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
    elif command == "salvage" and len(rest) == 3:
        salvage(Path(rest[0]), Path(rest[1]), rest[2])
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
