#!/bin/bash
# What playbooks/postgres-corruption.yaml does to PostgreSQL. Its settings come as variables (DB_...), see the playbook.
#
#   isolate          lets nobody in but the administrator, and ends every other session
#   open             lets in again whoever was let in before
#   sessions         fails while a client is connected
#   stop | start     the damaged cluster
#   evidence OUTPUT  copies the stopped cluster, file by file, with checksums
#   damage OUTPUT    reads every page and every index of it
#   moment OUTPUT    the time to go back to: as given, or that of the transaction which harmed a table most; empty: the end
#   ways OUTPUT      which strategies can be had, and what each would lose
#   pitr | backup | replica            recovers; `undo-...` takes it back
#   validate         reads everything, and has every constraint checked anew
#   rows OUTPUT      counts the rows of every table
#   recurrence SECONDS   fails if damage shows again
#
# Works on clusters whose configuration lies in their data folder, as initdb makes them.
set -euo pipefail
cd /

MARK="# until the recovery is over"
REBUILT=$DB_DATA.rebuilt
ASIDE=$DB_DATA.damaged

die() { printf '%s\n' "$*" >&2; exit 1; }
# As the account that owns the cluster: PostgreSQL refuses to run as root.
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$DB_OS_USER" -- "$@"; else "$@"; fi; }
# The programs of the cluster's own version, wherever the system has them.
programs() {
  local of version folder
  for of in "$DB_DATA" "$ASIDE" "$DB_EVIDENCE/data"; do
    version=$(as cat -- "$of/PG_VERSION" 2> /dev/null) || continue
    for folder in "/usr/lib/postgresql/$version/bin" "/usr/pgsql-$version/bin" "$(pg_config --bindir 2> /dev/null)"; do
      if [[ -x $folder/pg_ctl && $("$folder/pg_ctl" --version) =~ \)\ "$version"[.[:alpha:]] ]]; then
        printf '%s\n' "$folder"
        return
      fi
    done
    die "there are no programs of PostgreSQL $version here: name their folder with the parameter bin"
  done
  die "there is no cluster in $DB_DATA"
}
pg() { local tool=$1; shift; as "$DB_BIN/$tool" "$@"; }
at() { printf '%s\n' -h "$DB_SOCKETS" -p "$1" -U "$DB_ADMIN"; }
# Every connection says who it is for: no variable of the caller's environment decides.
sql() {
  local port=$1 database=$2 where; shift 2
  mapfile -t where < <(at "$port")
  pg psql "${where[@]}" -XqAt -v ON_ERROR_STOP=1 -d "$database" "$@"
}
runs() { pg pg_ctl -D "$1" status > /dev/null 2>&1; }
publish() { printf '%s=%s\n' "$1" "$2" | tee -a "$OUTPUT"; }
now() { date -u +%Y-%m-%dT%H:%M:%SZ; }
# The port a running cluster really has.
port_of() { sed -n 4p "$1/postmaster.pid"; }
control() { pg pg_controldata "$1" | sed -n "s/^$2: *//p"; }

start() {
  local data=$1; shift
  # With a log of its own it does not hold this script's output open.
  as touch "$data.log"
  pg pg_ctl -D "$data" -l "$data.log" -w -t 600 "$@" start > /dev/null || { tail -n 20 "$data.log" >&2; return 1; }
}
# In good order if it can be: only then the checksums of the stopped files can be looked at.
stop() {
  runs "$1" || return 0
  pg pg_ctl -D "$1" -w -t "${2:-60}" -m fast stop > /dev/null || pg pg_ctl -D "$1" -w -m immediate stop > /dev/null
}
[ -n "$DB_BIN" ] || DB_BIN=$(programs)
PRIVATE=(-o "-c listen_addresses='' -c archive_mode=off")

# ---- who is let in -------------------------------------------------------------------------------------------------

isolate() {
  local data=$1
  [ -e "$data/pg_hba.conf.before" ] || as cp -p -- "$data/pg_hba.conf" "$data/pg_hba.conf.before"
  {
    echo "# An incident is being dealt with; pg_hba.conf.before is what stood here."
    echo "local all $DB_ADMIN $DB_ADMIN_AUTH"
    # A replica changes nothing, and may turn out to be the last whole copy.
    grep -E '^[a-z]+[[:space:]]+replication[[:space:]]' "$data/pg_hba.conf.before" || true
    echo "local all all reject"
    echo "host all all all reject"
  } | as tee "$data/pg_hba.conf" > /dev/null
  settle "$data"
}

open() {
  local data=$1
  as cp -p -- "$data/pg_hba.conf.before" "$data/pg_hba.conf"
  settle "$data"
}

# A read-only default is only a default, and an open session keeps what it has: so sessions are ended, and none is let in.
settle() {
  local data=$1 port
  runs "$data" || return 0
  port=$(port_of "$data")
  [ -z "$(sql "$port" postgres -c 'select error from pg_hba_file_rules where error is not null')" ] ||
    die "pg_hba.conf would not be understood"
  pg pg_ctl -D "$data" reload > /dev/null
  sql "$port" postgres -c "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid()" > /dev/null
}

sessions() {
  runs "$DB_DATA" || return 0
  local left
  left=$(sql "$DB_PORT" postgres -F ' ' -c "select usename, datname, client_addr from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid()")
  [ -z "$left" ] || die "still connected: $left"
}

# ---- what there is -------------------------------------------------------------------------------------------------

# A dump would end at the first damaged page: the evidence is the files themselves, of a stopped cluster.
evidence() {
  runs "$DB_DATA" && die "the cluster runs; its files would not be of one moment"
  if [ ! -e "$DB_EVIDENCE/SHA256SUMS" ]; then
    as mkdir -p -m 700 -- "$DB_EVIDENCE"
    as cp -a -- "$DB_DATA/." "$DB_EVIDENCE/data"
    (cd -- "$DB_EVIDENCE/data" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | as tee "$DB_EVIDENCE/SUMS" > /dev/null
    sync -f -- "$DB_EVIDENCE"
    as mv -- "$DB_EVIDENCE/SUMS" "$DB_EVIDENCE/SHA256SUMS"
  fi
  publish files "$(wc -l < "$DB_EVIDENCE/SHA256SUMS")"
  publish state "$(control "$DB_EVIDENCE/data" 'Database cluster state')"
  # The last record of its log: what a recovery has to reach, also when it was not stopped in good order.
  local timeline end
  timeline=$(control "$DB_EVIDENCE/data" "Latest checkpoint's TimeLineID")
  end=$(pg pg_waldump -p "$DB_EVIDENCE/data/pg_wal" -t "$timeline" \
    -s "$(control "$DB_EVIDENCE/data" "Latest checkpoint's REDO location")" 2> /dev/null |
    sed -n 's/.* lsn: \([0-9A-F]*\/[0-9A-F]*\),.*/\1/p' | tail -n 1) || true
  [ -n "$end" ] || die "the end of the log cannot be found"
  publish end "$end"
  publish segment "$(printf '%08X%08X%08X' "$timeline" $((16#${end%/*})) $((16#${end#*/} / $(segment_size "$DB_EVIDENCE/data"))))"
  du -sh -- "$DB_EVIDENCE"
}

damage() {
  local said bad=unknown
  said=$(mktemp)
  # Only what was stopped in good order can be looked at as files.
  if pg pg_checksums --check -D "$DB_DATA" > "$said" 2>&1; then
    bad=0
  else
    bad=$(sed -n 's/^Bad checksums: *//p' "$said")
  fi
  cat -- "$said"
  publish bad_pages "${bad:-unknown}"
  # A server that cannot even start is damage as well, and there are strategies that need none.
  if start "$DB_DATA" "${PRIVATE[@]}"; then
    if amcheck "$DB_PORT" "$DB_DATABASE"; then publish structure sound; else publish structure damaged; fi
    stop "$DB_DATA"
  else
    publish structure "it does not start"
  fi
  rm -f -- "$said"
}

amcheck() {
  local where
  mapfile -t where < <(at "$1")
  pg pg_amcheck "${where[@]}" --install-missing --heapallindexed --progress "$2" 2>&1 | tail -n 15
}

# The number that a dump knows a table by, also one that is not there any more; the newest dump that knows it.
dumped() {
  local dump number
  while IFS= read -r dump; do
    number=$(pg pg_restore --list "$DB_DUMPS/$dump" 2> /dev/null | awk -v name="${DB_HARMED,,}" '
      $2 == 1259 && $4 == "TABLE" && (name == $6 || name == $5 "." $6) { print $3; exit }') || true
    [ -z "$number" ] || { printf '%s\n' "$number"; return; }
  done < <(find "$DB_DUMPS" -maxdepth 1 -name '*.dump' -printf '%f\n' | sort -r)
}

# The transaction that emptied or removed DB_HARMED (TRUNCATE, DROP) since the base backup, else the one that deleted or
# overwrote the most of its rows: `ROWS XID DATE TIME WHAT-IT-DID`. The log is read to its end, or nothing is said.
harm() {
  local ids database node oid logs from file found
  start "$DB_DATA" "${PRIVATE[@]}" || die "$DB_HARMED cannot be looked up, for the cluster does not start: give recover_to"
  ids=$(sql "$DB_PORT" "$DB_DATABASE" -v name="$DB_HARMED" -F ' ' <<< "select oid, coalesce(pg_relation_filenode(to_regclass(:'name')), 0),
    coalesce(to_regclass(:'name')::oid, 0) from pg_database where datname = current_database()") || ids=
  stop "$DB_DATA"
  read -r database node oid <<< "$ids" || true
  oid="$oid $(dumped)"
  [[ $oid = *[1-9]* ]] || die "there is no table $DB_HARMED, and no dump knows of one"
  from=$(as sed -n 's/^START WAL LOCATION: \([0-9A-F/]*\) (file \([0-9A-F]*\)).*/\1 \2/p' "$DB_BASE/backup_label")
  [ -n "$from" ] || die "there is no base backup in $DB_BASE: give recover_to"
  logs=$DB_EVIDENCE/log
  as rm -rf -- "$logs"
  as mkdir -- "$logs" || die "the log cannot be laid together in $DB_EVIDENCE"
  while IFS= read -r file; do as ln -sf -- "$file" "$logs/"; done < <(as find "$DB_ARCHIVE" "$DB_EVIDENCE/data/pg_wal" \
    -maxdepth 1 -type f -name '[0-9A-F]*' | grep -E '/[0-9A-F]{24}$')
  # It ends with an error, for the last segment is not full: what counts is how far it came.
  found=$(as env TZ=UTC "$DB_BIN/pg_waldump" -p "$logs" -t "$((16#${from: -24:8}))" -s "${from% *}" 2> /dev/null |
    awk -v database="$database" -v node="$node" -v oids="$oid" "$HARM") || true
  as rm -rf -- "$logs"
  [ "${found%%$'\n'*}" = "$DB_END" ] || die "the log can be read only up to ${found%%$'\n'*} of $DB_END: give recover_to"
  found=${found#*$'\n'}
  [[ $found != several* ]] || die "$DB_HARMED was emptied or removed more than once, by the transactions${found#several}: give recover_to"
  printf '%s\n' "$found"
}

# A table keeps its number (oids), and gets a new file (node) when it is emptied, and when it is written anew as a whole, which
# is no harm: then the new file is that of a table of its own for a while, and is locked under that number. The first file
# has the number of the table.
HARM='
  BEGIN { count = split(oids, known, " "); for (n in known) stands[n] = known[n]; rows_of = "rel [0-9]+/" database "/" node "[ ,]" }
  match($0, /tx: +[0-9]+/) { tx = substr($0, RSTART + 3, RLENGTH - 3) + 0 }
  match($0, /lsn: [0-9A-F]+\/[0-9A-F]+/) { last = substr($0, RSTART + 5, RLENGTH - 5) }
  $2 == "Heap" && /desc: (DELETE|UPDATE|HOT_UPDATE) / && ($0 " ") ~ rows_of { rows[tx]++ }
  $2 == "Standby" && /desc: LOCK / {
    rest = $0
    while (match(rest, /xid [0-9]+ db [0-9]+ rel [0-9]+/)) {
      split(substr(rest, RSTART, RLENGTH), lock, " ")
      rest = substr(rest, RSTART + RLENGTH)
      if (lock[4] == database) locked[lock[2]] = locked[lock[2]] " " lock[6] " "
    }
  }
  $2 == "Storage" && match($0, /desc: CREATE [^ ]*/) {
    parts = split(substr($0, RSTART, RLENGTH), path, "/")
    if (path[parts - 1] == database) created[tx] = created[tx] " " path[parts]
  }
  $2 == "Transaction" && /desc: COMMIT / {
    all = rows[tx] + 0; locks = locked[tx]; files = created[tx]
    if (match($0, /subxacts:[ 0-9]+/)) {
      inner_count = split(substr($0, RSTART + 9, RLENGTH - 9), inner, " ")
      for (n = 1; n <= inner_count; n++) {
        all += rows[inner[n] + 0]; locks = locks locked[inner[n] + 0]; files = files created[inner[n] + 0]
      }
    }
    gone = match($0, /; rels: [^;]*/) ? substr($0, RSTART, RLENGTH) " " : ""
    forgotten = match($0, /; dropped stats: [^;]*/) ? substr($0, RSTART, RLENGTH) " " : ""
    match($0, /COMMIT [-0-9]+ [0-9:.]+/); at = substr($0, RSTART + 7, RLENGTH - 7)
    anew = 0; renewed = 0
    for (n = split(files, file, " "); n > 0; n--) {
      if (index(locks, " " file[n] " ")) anew = file[n]
      if (file[n] == node) renewed = 1
    }
    what = ""
    for (n = 1; n <= count; n++) {
      if (known[n] == 0 || gone == "" || !index(locks, " " known[n] " ")) continue
      its = index(gone, "/" database "/" stands[n] " ")
      if (index(forgotten, "/" database "/" known[n] " ") || its && files == "") what = "removed"
      else if (!anew && (renewed || its)) what = "emptied"
      else if (its) stands[n] = anew
    }
    if (what != "") { several = several " " tx " (" at "Z)"; emptied++; whole = "all " tx " " at " " what }
    if (all > most) { most = all; part = most " " tx " " at " deleted or overwrote " most " rows of" }
  }
  END { print last; if (emptied > 1) print "several" several; else print emptied ? whole : part }'

moment() {
  local found rows xid day at what
  if [ -n "$DB_RECOVER_TO" ]; then
    publish moment "$DB_RECOVER_TO"
    publish why "before $DB_RECOVER_TO, as it was given"
  elif [ -n "$DB_HARMED" ]; then
    found=$(harm)
    read -r rows xid day at what <<< "$found"
    [ -n "$rows" ] || die "nobody has deleted or overwritten rows of $DB_HARMED since the base backup, or emptied or removed it"
    publish moment "$day ${at}Z"
    publish rows "$rows"
    publish why "before $day ${at}Z, when transaction $xid $what $DB_HARMED"
  else
    publish moment ""
    publish why "the end of the log"
  fi
}
# Whether this time, to the second, comes before the moment that is gone back to.
is_before_harm() { [ -z "$DB_MOMENT" ] || [ "$(date -u -d "$1" +%s)" -lt "$(date -u -d "$DB_MOMENT" +%s)" ]; }

segment_size() { control "$1" 'Bytes per WAL segment'; }
# The number of a segment, from its name and how many there are for each 4 GiB of the log.
number_of() { echo $((16#${1:8:8} * $2 + 16#${1:16:8})); }

why_no_pitr() {
  [ -e "$DB_BASE/backup_label" ] || { echo "there is no base backup in $DB_BASE"; return; }
  pg pg_verifybackup -q "$DB_BASE" > /dev/null 2>&1 || { echo "the base backup does not verify"; return; }
  local first last timeline n name each
  first=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\)).*/\1/p' "$DB_BASE/backup_label")
  each=$((0x100000000 / $(segment_size "$DB_EVIDENCE/data")))
  timeline=${first:0:8} last=$(number_of "$DB_SEGMENT" "$each")
  for ((n = $(number_of "$first" "$each"); n <= last; n++)); do
    name=$(printf '%s%08X%08X' "$timeline" $((n / each)) $((n % each)))
    [ -e "$DB_ARCHIVE/$name" ] || [ -e "$DB_EVIDENCE/data/pg_wal/$name" ] || { echo "the log lacks $name"; return; }
  done
}

# The newest dump that is what its checksum says and can be listed; the time is in its name.
newest_dump() {
  local dump
  while IFS= read -r dump; do
    is_before_harm "$(time_of "$dump")" || { echo "refused $dump: what is to be taken back may be in it" >&2; continue; }
    (cd -- "$DB_DUMPS" && sha256sum --status -c -- "$dump.sha256") 2> /dev/null || { echo "refused $dump: its checksum" >&2; continue; }
    pg pg_restore --list "$DB_DUMPS/$dump" > /dev/null 2>&1 || { echo "refused $dump: it cannot be read" >&2; continue; }
    printf '%s\n' "$DB_DUMPS/$dump"
    return
  done < <(find "$DB_DUMPS" -maxdepth 1 -name '*.dump' -printf '%f\n' | grep -E '[0-9]{8}T[0-9]{6}Z' | sort -r)
}
time_of() { basename -- "$1" | sed -nE 's/.*([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z.*/\1-\2-\3T\4:\5:\6Z/p'; }

why_no_replica() {
  [ -n "$DB_REPLICA" ] || { echo "there is none"; return; }
  [ -z "$DB_MOMENT" ] || { echo "it has followed what is to be taken back"; return; }
  runs "$DB_REPLICA" || { echo "it does not run"; return; }
  local port
  port=$(port_of "$DB_REPLICA")
  [ "$(sql "$port" postgres -c 'select pg_is_in_recovery()')" = t ] || { echo "it is no replica any more"; return; }
  readable "$port" "$DB_DATABASE" || echo "it cannot be read"
}

# How much of the log it lacks, in bytes. What it has received it also carries out.
behind() {
  sql "$(port_of "$DB_REPLICA")" postgres \
    -c "select greatest(0, pg_wal_lsn_diff('$DB_END', greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())))"
}

# Every row is read, and with it the checksum of its page.
readable() {
  local where
  mapfile -t where < <(at "$1")
  pg pg_dump "${where[@]}" -d "$2" > /dev/null
}

ways() {
  local why dump
  why=$(why_no_pitr)
  publish pitr "${why:-ok}"
  dump=$(newest_dump)
  publish dump "${dump:-none}"
  publish dump_at "$(time_of "${dump:-none}")"
  why=$(why_no_replica)
  publish replica "${why:-ok}"
  if [ -z "$why" ]; then publish replica_behind "$(behind)"; else publish replica_behind unknown; fi
}

# ---- the strategies ------------------------------------------------------------------------------------------------

fresh() {
  ! runs "$DB_DATA" || die "the damaged cluster still runs"
  runs "$REBUILT" && stop "$REBUILT"
  as rm -rf -- "$REBUILT" "$REBUILT.log"
}

settings() { { echo "$MARK"; cat; } | as tee -a "$1/postgresql.auto.conf" > /dev/null; }

pitr() {
  fresh
  as cp -a -- "$DB_BASE" "$REBUILT"
  as chmod 700 -- "$REBUILT"
  as cp -p -- "$DB_DATA/pg_hba.conf" "$DB_DATA/pg_hba.conf.before" "$REBUILT/"
  # To a time, if something is to be taken back; else to the very end, and never silently short of it.
  local target="recovery_target_lsn = '$DB_END'"
  # The first commit that is not older ends it, and does not come back. A starting server knows no zone by its name, not
  # even Z.
  local at=${DB_MOMENT/T/ }
  [ -z "$at" ] || target="recovery_target_time = '${at/%Z/+00}'"$'\n'"recovery_target_inclusive = off"
  settings "$REBUILT" <<C
restore_command = 'cp "$DB_ARCHIVE/%f" "%p" || cp "$DB_EVIDENCE/data/pg_wal/%f" "%p"'
$target
recovery_target_action = promote
C
  as touch "$REBUILT/recovery.signal"
  start "$REBUILT" "${PRIVATE[@]}" || die "the log could not be replayed to where it should end"
  until [ "$(sql "$DB_PORT" postgres -c 'select pg_is_in_recovery()' 2> /dev/null)" = f ]; do
    runs "$REBUILT" || { tail -n 20 "$REBUILT.log" >&2; die "the log could not be replayed to where it should end"; }
    sleep 0.2
  done
  local last
  last=$(sed -n 's/.*last completed transaction was at log time //p' "$REBUILT.log" | tail -n 1)
  take_over "$REBUILT" "$(date -u -d "${last:-$DB_MOMENT}" +%Y-%m-%dT%H:%M:%SZ)"
}

backup() {
  fresh
  local dump=$DB_DUMP
  [ -e "$dump" ] || die "there is no dump"
  pg initdb -D "$REBUILT" -A "$DB_ADMIN_AUTH" -U "$DB_ADMIN" -k \
    --wal-segsize=$(($(segment_size "$DB_DATA") / 1048576)) > /dev/null
  as cp -p -- "$DB_DATA/postgresql.conf" "$DB_DATA/postgresql.auto.conf" "$DB_DATA/pg_hba.conf" \
    "$DB_DATA/pg_hba.conf.before" "$REBUILT/"
  start "$REBUILT" "${PRIVATE[@]}"
  # Roles are not in a dump of one database. The administrator is there already: that one error is none.
  local globals=${dump%.dump}.globals.sql where
  if [ -e "$globals" ]; then
    grep -v "^CREATE ROLE $DB_ADMIN;" "$globals" | sql "$DB_PORT" postgres -f - > /dev/null
  fi
  mapfile -t where < <(at "$DB_PORT")
  pg createdb "${where[@]}" "$DB_DATABASE"
  pg pg_restore "${where[@]}" -d "$DB_DATABASE" --exit-on-error --single-transaction "$dump"
  # Its log begins anew: segments of the same names lie in the archive.
  echo "archive_mode = off" | as tee -a "$REBUILT/postgresql.auto.conf" > /dev/null
  echo "archiving is off in the new cluster: set it up with an archive of its own, and take a base backup"
  take_over "$REBUILT" "$(time_of "$dump")"
}

replica() {
  local port last
  port=$(port_of "$DB_REPLICA")
  isolate "$DB_REPLICA"
  last=$(sql "$port" postgres -c "select to_char(coalesce(pg_last_xact_replay_timestamp(), now()) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
  pg pg_ctl -D "$DB_REPLICA" -w promote > /dev/null
  echo "port = $DB_PORT" | as tee -a "$DB_REPLICA/postgresql.auto.conf" > /dev/null
  take_over "$DB_REPLICA" "$last"
}

# The recovered cluster serves where the damaged one did. Between stop and start its pages are looked at.
take_over() {
  local data=$1 as_of=$2
  stop "$data"
  as sed -i "/^$MARK\$/,\$d" "$data/postgresql.auto.conf"
  pg pg_checksums --check -D "$data"
  if [ "$data" = "$REBUILT" ]; then
    [ ! -e "$ASIDE" ] || die "$ASIDE is there already"
    as mv -- "$DB_DATA" "$ASIDE"
    as mv -- "$REBUILT" "$DB_DATA"
    data=$DB_DATA
  fi
  start "$data"
  printf 'place=%s\ndata_as_of=%s\n' "$data" "$as_of" > "$RUNBOOK_DIR/recovered"
  echo "serves from $data with the data of $as_of"
}

undo_rebuilt() {
  # Only what this recovery has made is removed: the damaged cluster stands aside when it has taken its place.
  if [ -e "$ASIDE" ]; then
    stop "$DB_DATA"
    as rm -rf -- "$DB_DATA"
    as mv -- "$ASIDE" "$DB_DATA"
  fi
  runs "$REBUILT" && stop "$REBUILT"
  as rm -rf -- "$REBUILT"
  rm -f -- "$RUNBOOK_DIR/recovered"
}

# A promoted replica is none any more: it is stopped, so that only one cluster serves, and has to be made anew.
undo_replica() {
  stop "$DB_REPLICA"
  rm -f -- "$RUNBOOK_DIR/recovered"
}

# ---- afterwards ----------------------------------------------------------------------------------------------------

# Restoring a dump into an empty database makes every index and checks every constraint, row by row.
validate() {
  local where check=runbook_check file
  amcheck "$DB_PORT" "$DB_DATABASE"
  mapfile -t where < <(at "$DB_PORT")
  file=$(mktemp)
  pg pg_dump "${where[@]}" -d "$DB_DATABASE" -Fc > "$file"
  pg dropdb "${where[@]}" --if-exists "$check" 2> /dev/null
  pg createdb "${where[@]}" "$check"
  pg pg_restore "${where[@]}" -d "$check" --exit-on-error --single-transaction < "$file"
  pg dropdb "${where[@]}" "$check"
  rm -f -- "$file"
}

rows() {
  sql "$DB_PORT" "$DB_DATABASE" -F ' ' -c "select relname, (xpath('/row/n/text()',
      query_to_xml(format('select count(*) as n from %I.%I', nspname, relname), false, true, '')))[1]
    from pg_class join pg_namespace n on n.oid = relnamespace
    where relkind = 'r' and nspname not in ('pg_catalog', 'information_schema') order by 1" > "$RUNBOOK_DIR/rows"
  cat -- "$RUNBOOK_DIR/rows"
  publish rows "$(awk '{ n += $2 } END { print n + 0 }' "$RUNBOOK_DIR/rows")"
}

recurrence() {
  local until=$((SECONDS + $1)) log=$DB_PLACE.log failures
  while :; do
    failures=$(sql "$DB_PORT" postgres -c 'select coalesce(sum(checksum_failures), 0) from pg_stat_database')
    [ "$failures" = 0 ] || die "checksums failed again: $failures"
    ! tail -c +"$((DB_LOG_FROM + 1))" -- "$log" | grep -E 'invalid page|could not read block|PANIC' >&2 || die "the log shows damage again"
    [ "$SECONDS" -lt "$until" ] || break
    sleep 1
  done
  readable "$DB_PORT" "$DB_DATABASE"
}

case $1 in
  isolate) isolate "$DB_DATA" ;;
  open) open "${DB_PLACE:-$DB_DATA}" ;;
  close) isolate "${DB_PLACE:-$DB_DATA}" ;;
  stop) stop "$DB_DATA"; echo "stopped at $(now)" ;;
  start) runs "$DB_DATA" || start "$DB_DATA" ;;
  log-length) stat -c %s -- "$DB_PLACE.log" ;;
  undo-pitr | undo-backup) undo_rebuilt ;;
  undo-replica) undo_replica ;;
  recurrence) recurrence "$2" ;;
  evidence | damage | moment | ways | rows) OUTPUT=$2; "$1" ;;
  sessions | pitr | backup | replica | validate) "$1" ;;
  *) die "what is $1?" ;;
esac
