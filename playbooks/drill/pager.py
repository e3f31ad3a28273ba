#!/usr/bin/env python3
"""A service that pages people, for drills: takes what PagerDuty's Events API v2 takes, and keeps it.

    pager.py start DIR PORT     listens at 127.0.0.1:PORT in the background; returns once it does
    pager.py paged DIR RUN      exit 0 if the run in the folder RUN has paged exactly once: one alert, whose journal head
                                is that of the run's journal when it was sent, and which was resolved if the run recovered
    pager.py stop DIR

What came is in DIR/pages, one JSON object a line.
"""

import hashlib
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

KEY = "drill"


class Pager(http.server.BaseHTTPRequestHandler):
    pages = pathlib.Path()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, say = 202, {"status": "success", "message": "Event processed"}
        try:
            event = json.loads(body)
            needed = {"routing_key", "event_action", "dedup_key", "payload"}
            if self.path != "/v2/enqueue" or not needed <= event.keys() or event["routing_key"] != KEY:
                raise ValueError("no event of this service")
        except ValueError as error:
            status, say = 400, {"status": "invalid event", "message": str(error)}
        else:
            event["id"] = self.headers["Idempotency-Key"]
            with open(self.pages, "a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())
        answer = json.dumps(say).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


def serve(root, port):
    Pager.pages = root / "pages"
    Pager.pages.touch()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Pager)
    (root / "pager.pid").write_text(str(os.getpid()))
    server.serve_forever()


def start(root, port):
    log = open(root / "pager.log", "ab")
    child = subprocess.Popen(
        [sys.executable, __file__, "serve", str(root), port],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )
    for _ in range(600):
        if (root / "pager.pid").exists():
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit("the pager does not come up:\n" + (root / "pager.log").read_text())


def stop(root):
    try:
        pid = int((root / "pager.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        # Whoever ended keeps its number until somebody has collected it.
        for _ in range(200):
            if str(root).encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                break
            time.sleep(0.05)
    except (FileNotFoundError, ProcessLookupError):
        pass


def paged(root, run):
    pages = [json.loads(line) for line in (root / "pages").read_text().splitlines()]
    lines = (pathlib.Path(run) / "journal.jsonl").read_bytes().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    begun = [page for page in pages if page["event_action"] == "trigger"]
    assert len(begun) == 1, f"paged {len(begun)} times: {pages}"
    page = begun[0]
    assert len({page["dedup_key"] for page in pages}) == 1, "more than one alert"
    assert len({page["id"] for page in pages}) == len(pages), "something came twice"
    assert page["payload"]["summary"].startswith("[drill] "), page["payload"]["summary"]
    assert page["payload"]["class"] == "drill"
    # The head is the hash of a line of this very journal: of the notice, or of one that was written with it.
    heads = [hashlib.sha256(line).hexdigest() for line in lines]
    head = page["payload"]["custom_details"]["journal head"]
    assert head in heads, f"{head} is no head of this journal"
    notice = next(at for at, event in enumerate(events) if "notice" in event)
    told = next(at for at, event in enumerate(events) if "notice_ended" in event)
    assert notice <= heads.index(head) < told, "the head is not of when it was sent"
    assert events[told]["notice_ended"]["delivered"], events[told]
    outcome = next(event["run_ended"]["outcome"] for event in reversed(events) if "run_ended" in event)
    resolved = sum(page["event_action"] == "resolve" for page in pages)
    assert resolved == (outcome in ("recovered", "degraded")), f"{outcome}, and {resolved} times resolved"
    print(f"paged once, at {head[:12]}; {'resolved' if resolved else 'left open'}")


def main(arguments):
    commands = {"start": (start, 2), "serve": (serve, 2), "paged": (paged, 2), "stop": (stop, 1)}
    command, count = commands.get(arguments[0] if arguments else "", (None, 0))
    if command is None or len(arguments) != count + 1:
        sys.exit(__doc__)
    command(pathlib.Path(arguments[1]).resolve(), *arguments[2:])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except AssertionError as error:
        sys.exit(str(error))
