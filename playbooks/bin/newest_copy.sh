#!/usr/bin/env bash
# newest_copy.sh URL OUTPUT: finds the newest orders-STAMP.db.gz at URL that agrees with SHA256SUMS and is a sound database.
# Writes `file`, `sha256`, `taken_at` and `orders` to OUTPUT.
set -euo pipefail
url=$1 output=$2
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd "$work"
curl -fsS -O "$url/SHA256SUMS"
while read -r sum name; do
  if ! curl -fsS -o data.gz "$url/$name"; then
    echo "left out $name: it cannot be fetched" >&2
  elif ! echo "$sum  data.gz" | sha256sum --check --strict --status; then
    echo "left out $name: its checksum does not agree" >&2
  elif ! gzip -dc data.gz > data.db; then
    echo "left out $name: it cannot be unpacked" >&2
  elif ! orders=$(python3 -c '
import sqlite3
db = sqlite3.connect("file:data.db?mode=ro", uri=True)
assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], "integrity_check"
print(db.execute("SELECT count(*) FROM orders").fetchone()[0])'); then
    echo "left out $name: it is not sound" >&2
  else
    stamp=${name#orders-} stamp=${stamp%.db.gz}
    taken=${stamp:0:4}-${stamp:4:2}-${stamp:6:2}T${stamp:9:2}:${stamp:11:2}:${stamp:13:2}Z
    printf 'file=%s\nsha256=%s\ntaken_at=%s\norders=%s\n' "$name" "$sum" "$taken" "$orders" >> "$output"
    echo "$name of $taken, $orders orders"
    exit 0
  fi
done < <(grep -E '^[0-9a-f]{64}  orders-[0-9]{8}T[0-9]{6}Z\.db\.gz$' SHA256SUMS | sort -r -k2)
echo "no copy verifies" >&2
exit 1
