#!/usr/bin/env bash
# Which addresses a name leads to, and whether they serve.
#
#   point_name.sh ask SERVER NAME                      prints its addresses, sorted, on one line
#   point_name.sh set SERVER KEY NAME "ADDRESS ..."    makes these its only ones, in one step
#   point_name.sh well ADDRESS... OUTPUT               writes addresses=... of those that are healthy; fails if fewer than two are
#   point_name.sh served SERVER NAME                   fails unless the name has addresses and each is healthy
set -euo pipefail

ask() { dig +short +time=2 +tries=2 "@$1" "$2" A | grep -E '^[0-9.]+$' | sort | paste -sd' '; }
healthy() { curl -fsS -m 5 -o /dev/null "http://$1:8080/health"; }

case $1 in
  ask) ask "$2" "$3" ;;
  set)
    {
      echo "server $2"
      echo "update delete $4 A"
      for address in $5; do echo "update add $4 5 A $address"; done
      echo send
    } | nsupdate -t 5 -k "$3"
    ;;
  well)
    shift
    addresses=("${@:1:$#-1}") output=${!#} well=()
    for address in "${addresses[@]}"; do
      if healthy "$address"; then well+=("$address"); else echo "$address is not healthy" >&2; fi
    done
    [ "${#well[@]}" -ge 2 ] || { echo "fewer than two are healthy" >&2; exit 1; }
    addresses=$(printf '%s\n' "${well[@]}" | sort | paste -sd' ')
    echo "addresses=$addresses" >> "$output"
    echo "healthy: $addresses"
    ;;
  served)
    addresses=$(ask "$2" "$3")
    [ -n "$addresses" ]
    for address in $addresses; do healthy "$address"; done
    echo "$3 leads to $addresses, all healthy"
    ;;
  *) echo "ask, set, well or served, not $1" >&2; exit 64 ;;
esac
