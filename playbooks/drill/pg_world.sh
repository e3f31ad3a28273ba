#!/bin/bash
# The world of the drill of postgres-corruption: a primary, what it can be recovered from, and an application.
#
#   pg_world.sh build DIR PORT     PORT: the primary; PORT + 1: the replica
#   pg_world.sh corrupt DIR PORT   overwrites a page of the table `orders`
#   pg_world.sh harm DIR PORT [empty|remove]   deletes half of the orders, or the notes, or their table, and goes on working
#   pg_world.sh harmed DIR PORT [empty|remove]   exit 0 if they are gone
#   pg_world.sh unharmed DIR PORT RUN   exit 0 if all is there that came before, nothing that came from then on, and the
#                                  run in that folder says so
#   pg_world.sh rot DIR            overwrites a log segment in the archive
#   pg_world.sh sum DIR PORT       reads the table as the application does
#   pg_world.sh writes DIR PORT    exit 0 once the application has written something new
#   pg_world.sh stop DIR
set -euo pipefail
export LC_ALL=C.UTF-8
# The newest that is here.
BIN=${PG_BIN:-$({ ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; pg_config --bindir; } 2> /dev/null | sort -V | tail -n 1)}
dir=$2 port=${3:-0} self=$(realpath -- "$0")
cd -- "$dir"

as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
pg() { local tool=$1; shift; as "$BIN/$tool" "$@"; }
sql() { local at=$1 database=$2; shift 2; pg psql -XqAt -v ON_ERROR_STOP=1 -h "$dir/db/s" -p "$at" -U postgres -d "$database" "$@"; }
# As a client that does not care for defaults.
app() { PGOPTIONS="-c default_transaction_read_only=off" pg psql -XqAt -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U app -d app "$@"; }
start() { as touch "$1.log"; pg pg_ctl -D "$1" -l "$1.log" -w start > /dev/null || { cat "$1.log"; exit 1; }; }

build() {
  # The folder is private; the account of the database has to get through to its own.
  chmod 711 "$dir"
  if [ "$(id -u)" = 0 ]; then install -d -o postgres -g postgres -m 700 db; else mkdir -m 700 db; fi
  local name
  for name in s archive dumps; do as mkdir "$dir/db/$name"; done
  pg initdb -D "$dir/db/primary" -A trust -U postgres -k --no-sync --wal-segsize=1 > /dev/null
  as tee -a "$dir/db/primary/postgresql.conf" > /dev/null << C
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir/db/s'
wal_level = replica
archive_mode = on
archive_command = 'test ! -f $dir/db/archive/%f && cp %p $dir/db/archive/%f.new && mv $dir/db/archive/%f.new $dir/db/archive/%f'
fsync = off
C
  start "$dir/db/primary"
  sql "$port" postgres -c "create role app login" -c "create database app owner app"
  sql "$port" app << 'C'
create table users (id serial primary key, name text not null unique);
create table orders (id serial primary key, by int not null references users, amount int check (amount >= 0), note text);
create table notes (id serial primary key, note text);
create table pings (at timestamptz not null default clock_timestamp());
grant all on all tables in schema public to app;
grant all on all sequences in schema public to app;
insert into users (name) select 'user ' || n from generate_series(1, 2000) n;
insert into orders (by, amount, note) select 1 + n % 2000, n, repeat('x', 200) from generate_series(1, 5000) n;
insert into notes (note) select 'note ' || n from generate_series(1, 500) n;
C
  dump "$(date -u -d '-30 minutes' +%Y%m%dT%H%M%SZ)"
  # A newer one that rotted on its disk: its checksum was right once.
  dump "$(date -u -d '-10 minutes' +%Y%m%dT%H%M%SZ)"
  printf 'rotten' | as dd of="$(find db/dumps -name '*.dump' | sort | tail -n 1)" bs=1 seek=4000 conv=notrunc status=none
  pg pg_basebackup -h "$dir/db/s" -p "$port" -U postgres -D "$dir/db/base" -c fast -X stream -N
  pg pg_basebackup -h "$dir/db/s" -p "$port" -U postgres -D "$dir/db/replica" -R -C -S replica -c fast -X stream -N
  printf '%s\n' "port = $((port + 1))" 'archive_mode = off' 'wal_retrieve_retry_interval = 200ms' | as tee -a "$dir/db/replica/postgresql.auto.conf" > /dev/null
  start "$dir/db/replica"
  # What looks like harm in the log, and is none.
  sql "$port" app -c "vacuum full notes" -c "create index late on notes (note)" -c "drop index late"
  # What only the log and the replica have, over several segments.
  local n
  for n in 1 2; do
    sql "$port" app -c "insert into orders (by, amount, note) select 1 + n % 2000, n, 'late' from generate_series(1, 5) n" \
      -c "select pg_switch_wal()" > /dev/null
  done
  : > "$dir/written"
  setsid "$self" write "$dir" "$port" < /dev/null > "$dir/app.log" 2>&1 &
  echo $! > app.pid
}

dump() {
  local file=$dir/db/dumps/app-$1
  pg pg_dump -h "$dir/db/s" -p "$port" -U postgres -d app -Fc -f "$file.dump"
  pg pg_dumpall -h "$dir/db/s" -p "$port" -U postgres --globals-only -f "$file.globals.sql"
  (cd db/dumps && sha256sum "app-$1.dump") | as tee "$file.dump.sha256" > /dev/null
}

# The application: it writes ten times a second, and begins anew whenever it is thrown out.
write() {
  while [ ! -e "$dir/end" ]; do
    while [ ! -e "$dir/end" ]; do echo "insert into pings default values returning 'ok';"; sleep 0.1; done | app >> "$dir/written" || true
    sleep 0.2
  done
}

writes() {
  local before n
  before=$(wc -c < "$dir/written")
  for ((n = 0; n < 100; n++)); do
    [ "$(wc -c < "$dir/written")" = "$before" ] || return 0
    sleep 0.1
  done
  exit 1
}

corrupt() {
  local file
  sql "$port" app -c checkpoint
  file=$dir/db/primary/$(sql "$port" app -c "select pg_relation_filepath('orders')")
  pg pg_ctl -D "$dir/db/primary" -w -m fast stop > /dev/null
  head -c 300 /dev/urandom | as dd of="$file" bs=1 seek=$((8192 * 20 + 500)) conv=notrunc status=none
  start "$dir/db/primary"
  # The replica comes back by itself.
  local n
  for ((n = 0; n < 300; n++)); do
    [ "$(sql "$port" postgres -c "select count(*) from pg_stat_replication where state = 'streaming'")" = 0 ] || return 0
    sleep 0.1
  done
  exit 1
}

# With the damaged page there are two reasons to go back, and only one of the ways helps against both. What comes later is
# work of people who do not know yet.
harm() {
  local how=${1:-some}
  {
    echo "before=$(sql "$port" app -c "select clock_timestamp()")"
    echo "pings=$(sql "$port" app -c "select count(*) from pings")"
  } > "$dir/harm"
  case $how in
    # By the index: a scan would meet the damaged page.
    some) PGOPTIONS='-c enable_seqscan=off -c enable_bitmapscan=off' sql "$port" app -c "delete from orders where id > 2500" ;;
    empty) sql "$port" app -c "truncate notes" ;;
    remove) sql "$port" app -c "drop table notes" ;;
  esac
  echo "after=$(sql "$port" app -c "select clock_timestamp()")" >> "$dir/harm"
  app -c "insert into orders (by, amount, note) values (1, 1, 'too late')"
  writes
  sql "$port" postgres -c "select pg_switch_wal()" > /dev/null
  echo "seen=$(sql "$port" app -c "select max(at) from pings")" >> "$dir/harm"
  cat "$dir/harm"
}

harmed() {
  case ${1:-some} in
    empty) [ "$(sql "$port" app -c "select count(*) from notes")" = 0 ]; return ;;
    remove) [ "$(sql "$port" app -c "select to_regclass('notes') is null")" = t ]; return ;;
  esac
  [ "$(PGOPTIONS='-c enable_seqscan=off -c enable_bitmapscan=off' sql "$port" app -c "select count(*) from orders where id > 2500 and note <> 'too late'")" = 0 ]
}

unharmed() {
  local run=$1 before after seen pings as_of
  before=$(sed -n 's/^before=//p' "$dir/harm") after=$(sed -n 's/^after=//p' "$dir/harm")
  seen=$(sed -n 's/^seen=//p' "$dir/harm") pings=$(sed -n 's/^pings=//p' "$dir/harm")
  # Every row is told by itself: 2000 users; 5000 orders and twice 5 late ones; those of the pings that were counted.
  same users 2000 "select count(*) from users"
  same orders "5010 12502530" "select count(*) || ' ' || sum(amount) from orders"
  same notes 500 "select count(*) from notes"
  same "what came too late" 0 "select count(*) from orders where note = 'too late'"
  same "pings after it" 0 "select count(*) from pings where at > '$after' and at <= '$seen'"
  same "pings before it" t "select count(*) >= $pings from pings where at < '$after'"
  as_of=$(sed -n 's/^data_as_of=//p' "$run/recovered")
  same "what the run says of its data ($as_of)" t \
    "select '$as_of'::timestamptz <= '$after'::timestamptz and '$as_of'::timestamptz > '$before'::timestamptz - interval '1 minute'"
}

same() {
  local found
  found=$(sql "$port" app -c "$3")
  echo "$1: $found"
  [ "$found" = "$2" ] || { echo "expected $2"; exit 1; }
}

# In the middle of what has to be replayed: the base backup begins before it, the damage comes behind it.
rot() {
  local first segment
  first=$(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\)).*/\1/p' db/base/backup_label)
  segment=$(find db/archive -name '[0-9A-F]*' -printf '%f\n' | grep -xE '[0-9A-F]{24}' | sort | awk -v f="$first" '$0 > f' | head -n 1)
  head -c 65536 /dev/urandom | as dd of="$dir/db/archive/$segment" conv=notrunc status=none
  echo "overwrote the beginning of $segment"
}

stop() {
  touch end
  local data n
  # It looks at most every 0.2 s. Whoever ended keeps its number until somebody has collected it.
  for ((n = 0; n < 100; n++)); do
    grep -qs "$self" "/proc/$(cat app.pid)/cmdline" || break
    sleep 0.1
  done
  for data in primary primary.rebuilt primary.damaged replica; do
    if [ -e "db/$data/postmaster.pid" ]; then pg pg_ctl -D "$dir/db/$data" -w -m immediate stop > /dev/null || true; fi
  done
}

case $1 in
  harm | harmed) "$1" "${4-}" ;;
  build | corrupt | rot | stop | write | writes) "$1" ;;
  unharmed) unharmed "$4" ;;
  sum) app -c "select count(note), sum(amount) from orders" ;;
  *) exit 2 ;;
esac
