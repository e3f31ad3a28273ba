#!/usr/bin/env python3
"""Speaks to container registries, and edits a compose file. Nothing but Python's standard library.

  registry.py down SCHEME HOST                           exit 0 if the registry does not serve, 1 if it does
  registry.py up SCHEME HOST                             exit 0 if it serves
  registry.py digest SCHEME HOST IMAGE TAG OUTPUT        writes the digest that the registry has to the file OUTPUT
  registry.py point COMPOSE SERVICE IMAGE DIGEST         has the service use IMAGE@DIGEST, whatever it used before
  registry.py pointed COMPOSE SERVICE IMAGE DIGEST       exit 0 if it does, 1 if not
  registry.py healthy URL MILLISECONDS                   exit 0 once URL answers 200; 1 if it does not, for so long

Only the one line with the service's image is changed: comments and layout of the file are its authors'.
"""

import os
import re
import sys
import time
import urllib.error
import urllib.request

# What a registry may answer with; without it, it would convert the manifest, and its digest would be another's.
KINDS = ", ".join(
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


def serves(scheme, host):
    try:
        with urllib.request.urlopen(f"{scheme}://{host}/v2/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401  # it wants to know who asks: it serves
    except OSError:
        return False


def healthy(url, milliseconds):
    until, why = time.monotonic() + int(milliseconds) / 1000, ""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                why = f"answers {answer.status}"
                if answer.status == 200:
                    return
        except urllib.error.HTTPError as error:
            why = f"answers {error.code}"
        except OSError as error:
            why = str(getattr(error, "reason", error))
        if time.monotonic() >= until:
            sys.exit(f"{url} is not healthy: {why}")
        time.sleep(0.5)


def digest(scheme, host, image, tag, output):
    request = urllib.request.Request(
        f"{scheme}://{host}/v2/{image}/manifests/{tag}", method="HEAD", headers={"Accept": KINDS}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = answer.headers.get("Docker-Content-Digest", "")
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        sys.exit(f"{host} names no digest for {image}:{tag}")
    print(found)
    with open(output, "a", encoding="utf-8") as file:
        file.write(f"digest={found}\n")


def image_line(lines, service):
    """The number of the line with the service's image. The file is read by its indentation, as people lay it out."""
    inside, block, deeper = False, None, None
    for number, line in enumerate(lines):
        text = line.split(" #")[0].rstrip()
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        indent = len(text) - len(text.lstrip())
        if indent == 0:
            inside, block = text == "services:", None
        elif inside and (block is None or indent <= block):
            block, deeper = (indent, None) if text.strip() == f"{service}:" else (None, None)
            if block is None and re.match(rf"\s*['\"]?{re.escape(service)}['\"]?\s*:\s*\S", text):
                sys.exit(f"service {service} stands on one line, which is not edited here")
        elif inside:
            deeper = deeper or indent
            if indent == deeper and re.match(r"\s*image\s*:", text):
                return number
    sys.exit(f"there is no image of the service {service}")


def point(compose, service, wanted):
    with open(compose, encoding="utf-8") as file:
        lines = file.read().splitlines(keepends=True)
    number = image_line(lines, service)
    old = lines[number]
    lines[number] = re.sub(r"(image\s*:\s*)\S+", lambda m: m.group(1) + wanted, old, count=1)
    new = compose + ".new"
    with open(new, "w", encoding="utf-8") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    status = os.stat(compose)
    os.chmod(new, status.st_mode & 0o7777)
    os.chown(new, status.st_uid, status.st_gid)
    os.replace(new, compose)
    print(f"was: {old.strip()}\nnow: {lines[number].strip()}")


def pointed(compose, service, wanted):
    with open(compose, encoding="utf-8") as file:
        lines = file.read().splitlines()
    return lines[image_line(lines, service)].split(":", 1)[1].strip() == wanted


def main(arguments):
    command, rest = (arguments or [""])[0], arguments[1:]
    if command == "down" and len(rest) == 2:
        if serves(*rest):
            sys.exit(f"{rest[1]} serves: it is something else")
    elif command == "up" and len(rest) == 2:
        if not serves(*rest):
            sys.exit(f"{rest[1]} does not serve")
    elif command == "digest" and len(rest) == 5:
        digest(*rest)
    elif command == "healthy" and len(rest) == 2:
        healthy(*rest)
    elif command == "point" and len(rest) == 4:
        point(rest[0], rest[1], f"{rest[2]}@{rest[3]}")
    elif command == "pointed" and len(rest) == 4:
        if not pointed(rest[0], rest[1], f"{rest[2]}@{rest[3]}"):
            sys.exit(1)
    else:
        print(__doc__, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
