#!/bin/bash
# What playbooks/service-recovery.yaml does to a service, whatever supervises it. SERVICE_ACTIVE, SERVICE_START and
# SERVICE_STOP are commands; SERVICE_HEALTH is a URL.
#
#   well             exit 0 if it is active and healthy: either alone is not enough
#   attempt SECONDS  starts it if it is not active, and gives it this long to get well
#   steady SECONDS   exit 0 if it stays well all the time
#   restart SECONDS  stops it, waits, starts it
#   errors LOG       the last of what the log calls an error
set -euo pipefail

command() { bash -euo pipefail -c "$1"; }
active() { command "$SERVICE_ACTIVE" > /dev/null 2>&1; }
healthy() { curl -fsS -o /dev/null --noproxy '*' --max-time 2 -- "$SERVICE_HEALTH" 2> /dev/null; }
well() { active && healthy; }

attempt() {
  # One that is active and unhealthy is not started again by this, and not taken for recovered either.
  active || command "$SERVICE_START" || echo "it was not started"
  local until=$((SECONDS + $1))
  until well; do
    if [ "$SECONDS" -ge "$until" ]; then
      if active; then echo "active, but not healthy" >&2; else echo "not active" >&2; fi
      exit 1
    fi
    sleep 0.2
  done
  echo "active and healthy"
}

steady() {
  local until=$((SECONDS + $1))
  while well; do
    [ "$SECONDS" -lt "$until" ] || return 0
    sleep 0.5
  done
  echo "it was well, and is not any more" >&2
  exit 1
}

case $1 in
  well) well ;;
  attempt | steady) "$1" "$2" ;;
  restart)
    command "$SERVICE_STOP" || echo "it was not stopped"
    sleep "$2"
    command "$SERVICE_START" || echo "it was not started"
    ;;
  errors)
    # A log that is not there tells nothing, and is no reason to stop.
    { tail -n 2000 -- "$2" | grep -i error | tail -n 20; } || true
    ;;
  *) exit 2 ;;
esac
