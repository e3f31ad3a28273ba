#!/usr/bin/env python3
"""The world of the drill of full-outage: three hosts with an application, a name server, copies kept elsewhere.

    outage.py build DIR      builds it and starts it; DIR is the drill's folder
    outage.py lose DIR       the power of the three hosts is cut
    outage.py doom DIR NAME  the host NAME will lose its power while it restores its data
    outage.py provision DIR NAME   a new host, as a provider makes one
    outage.py destroy DIR NAME     it is given back
    outage.py gone DIR       takes everything down; also what is left of a build that failed

What is made lies in DIR; what runs is the hosts (netns_host.sh), a real BIND and a web server with the copies, both on
the network's first address.
"""

import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import signal
import socketserver
import sqlite3
import subprocess
import sys
import tarfile
import time
from datetime import datetime, timedelta, timezone

HERE = pathlib.Path(__file__).resolve().parent
HOST = HERE / "netns_host.sh"
# The last part of each host's address.
OLD = {"old1": 11, "old2": 12, "old3": 13}
NEW = {"first": 21, "second": 22, "third": 23}
NET = "10.231.7"
ZONE = "shop.example"
ORDERS = 2000

APP = '''#!/usr/bin/env python3
"""A shop: counts its orders, and is healthy if it can read them all."""
import http.server, json, sqlite3
CONFIG = json.load(open("/etc/shop/config.json"))

class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            db = sqlite3.connect("file:/srv/shop/orders.db?mode=ro", uri=True)
            (sound,) = db.execute("PRAGMA quick_check").fetchone()
            (orders,) = db.execute("SELECT count(*) FROM orders").fetchone()
            ok, say = sound == "ok", {"host": open("/etc/hostname").read().strip(), "orders": orders}
        except (OSError, sqlite3.Error) as error:
            ok, say = False, {"error": str(error)}
        body = json.dumps({"name": CONFIG["name"], **say}).encode()
        self.send_response(200 if ok else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("", CONFIG["port"]), Shop).serve_forever()
'''

UNIT = """[Unit]
Description=The shop
[Service]
ExecStart=/usr/bin/python3 /srv/shop/shop.py
Restart=on-failure
[Install]
WantedBy=drill.target
"""


def host(*args):
    subprocess.run(["bash", str(HOST), *map(str, args)], check=True, stdin=subprocess.DEVNULL)


def packed(files):
    """A tar.gz of {name: (mode, bytes)}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, (mode, data) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), mode, int(time.time())
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def orders(path, count, until):
    """A database of `count` orders, one a second, the last at `until`."""
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, at TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0))")
    rows = ((n, (until - timedelta(seconds=count - n)).isoformat(timespec="seconds"), n % 97 + 1) for n in range(1, count + 1))
    db.executemany("INSERT INTO orders VALUES (?, ?, ?)", rows)
    db.commit()
    db.close()
    return path.read_bytes()


def copies(root):
    """What is kept elsewhere: program, configuration, and three copies of the data, the newest of them torn."""
    kept = root / "kept"
    kept.mkdir()
    now = datetime.now(timezone.utc)
    write = {
        "shop.tar.gz": packed({
            "srv/shop/shop.py": (0o755, APP.encode()),
            "etc/systemd/system/shop.service": (0o644, UNIT.encode()),
        }),
        "config.tar.gz": packed({"etc/shop/config.json": (0o600, json.dumps({"name": "shop", "port": 8080}).encode())}),
    }
    for count, age in ((ORDERS - 400, 6 * 60), (ORDERS, 20), (ORDERS + 50, 5)):
        taken = now - timedelta(minutes=age)
        data = gzip.compress(orders(root / "orders.tmp", count, taken))
        write[f"orders-{taken:%Y%m%dT%H%M%SZ}.db.gz"] = data
    (root / "orders.tmp").unlink()
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in write.items())
    newest = max(name for name in write if name.startswith("orders-"))
    # Its sum was written, the copy itself was not finished when the hosts went.
    write[newest] = write[newest][: len(write[newest]) // 2]
    for name, data in write.items():
        (kept / name).write_bytes(data)
    (kept / "SHA256SUMS").write_text(sums)
    return write


def name_server(root):
    folder = root / "dns"
    folder.mkdir(mode=0o755)
    key = subprocess.run(["tsig-keygen", "drill"], check=True, capture_output=True, text=True).stdout
    (folder / "key").write_text(key)
    os.chmod(folder / "key", 0o600)
    (folder / "zone.db").write_text(
        f"$TTL 5\n@ SOA ns.{ZONE}. hostmaster.{ZONE}. (1 60 60 600 5)\n@ NS ns.{ZONE}.\nns A {NET}.1\n"
        + "".join(f"www A {NET}.{number}\n" for number in OLD.values())
    )
    (folder / "named.conf").write_text(f"""{key}
options {{ directory "{folder}"; listen-on {{ {NET}.1; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no;
  pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key"; managed-keys-directory "{folder}"; }};
controls {{ }};
zone "{ZONE}" {{ type master; file "zone.db"; allow-update {{ key drill; }}; }};
""")
    start(root, "dns", ["named", "-f", "-4", "-n", "1", "-c", str(folder / "named.conf")])


def start(root, name, argv):
    log = open(root / f"{name}.log", "ab")
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=root)
    started = pathlib.Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    (root / f"{name}.pid").write_text(f"{child.pid} {started}\n")


def stop(root, name):
    """Ends exactly the process that was started, not one that has its number now."""
    try:
        pid, started = (root / f"{name}.pid").read_text().split()
        if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19] == started:
            os.kill(int(pid), signal.SIGKILL)
            for _ in range(100):
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    break
                time.sleep(0.05)
    except (FileNotFoundError, ProcessLookupError):
        pass


def build(root):
    host("net", root)
    files = copies(root)
    good = sorted(name for name in files if name.startswith("orders-"))[-2]
    # The hosts that are lost have what the copies have, and a few orders more.
    image = root / "image"
    for name in ("shop.tar.gz", "config.tar.gz"):
        subprocess.run(["tar", "-xzf", str(root / "kept" / name), "-C", str(image)], check=True)
    (image / "srv/shop/orders.db").write_bytes(gzip.decompress(files[good]))
    wants = image / "etc/systemd/system/drill.target.wants"
    wants.mkdir(parents=True)
    (wants / "shop.service").symlink_to("/etc/systemd/system/shop.service")
    name_server(root)
    start(root, "kept", [sys.executable, __file__, "serve", str(root)])
    for name, number in OLD.items():
        host("up", root, name, number)
    # A new host comes empty.
    subprocess.run(["rm", "-rf", str(image)], check=True)
    image.mkdir()


class Kept(http.server.SimpleHTTPRequestHandler):
    """Serves the copies. A host that is doomed loses its power in the middle of its data."""

    root = pathlib.Path()

    def copyfile(self, source, outputfile):
        doomed = (self.root / "doomed").read_text().split() if (self.root / "doomed").exists() else []
        name = next((name for name in doomed if self.client_address[0] == f"{NET}.{NEW[name]}"), None)
        if name and "/orders-" in self.path:
            outputfile.write(source.read(1000))
            outputfile.flush()
            host("down", self.root, name)
        else:
            super().copyfile(source, outputfile)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def serve(root):
    Kept.root = root
    handler = lambda *args: Kept(*args, directory=str(root / "kept"))
    Server((f"{NET}.1", 8000), handler).serve_forever()


def lose(root):
    for name in OLD:
        host("down", root, name)


def doom(root, name):
    with open(root / "doomed", "a") as file:
        file.write(f"{name}\n")


def provision(root, name):
    host("up", root, name, NEW[name])


def destroy(root, name):
    host("down", root, name)


def gone(root):
    for name in ("kept", "dns"):
        stop(root, name)
    host("gone", root)


def main():
    commands = {"build": build, "lose": lose, "doom": doom, "serve": serve, "provision": provision, "destroy": destroy, "gone": gone}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](pathlib.Path(sys.argv[2]).resolve(), *sys.argv[3:])


if __name__ == "__main__":
    main()
