#!/usr/bin/env bash
# status_page.sh FILE TEXT: the page says TEXT, with the time. Whoever reads it meanwhile sees the old one or the new one.
set -euo pipefail
printf '%s  %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2" > "$1.new"
mv -f -- "$1.new" "$1"
