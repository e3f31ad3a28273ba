#!/bin/bash
# The world of the drill of service-recovery: a web service under runit.
#
#   service_world.sh build DIR PORT
#   service_world.sh active DIR          exit 0 if its supervisor says that it runs
#   service_world.sh stale-cache | bad-config | wedge | lose-program DIR
#   service_world.sh stop DIR
set -euo pipefail
dir=$2
cd -- "$dir"

running() { [[ $(sv status "$dir/app") == run:* ]]; }
pid() { sv status "$dir/app" | sed -nE 's/^run: [^:]*: \(pid ([0-9]+)\).*/\1/p'; }
healthy() { curl -fsS -o /dev/null --max-time 2 "$(cat url)" 2> /dev/null; }
until_ok() {
  local n
  for ((n = 0; n < 200; n++)); do
    if "$@"; then return; fi
    sleep 0.1
  done
  echo "waited in vain for: $*"
  exit 1
}

case $1 in
  build)
    mkdir -p app www cache
    echo healthy > www/health
    echo "port=$3" > config.default
    cp config.default config
    cp -- "$(command -v busybox)" httpd
    echo "http://127.0.0.1:$3/health" > url
    cat > app/run << C
#!/bin/sh
exec >> $dir/log 2>&1
if [ -e $dir/cache/lock ]; then echo "error: a stale lock in the cache"; exit 3; fi
. $dir/config || exit 4
if [ -z "\$port" ]; then echo "error: no port in the configuration"; exit 4; fi
exec $dir/httpd httpd -f -p 127.0.0.1:\$port -h $dir/www
C
    chmod +x app/run
    setsid runsv app < /dev/null > runsv.log 2>&1 &
    echo $! > runsv.pid
    until_ok healthy
    ;;
  active) running ;;
  # The service has to start again to notice: it is ended, and its supervisor starts it.
  stale-cache) touch cache/lock; kill -KILL "$(pid)" ;;
  bad-config) echo "prot=80" > config; kill -KILL "$(pid)" ;;
  lose-program) rm httpd; kill -KILL "$(pid)" ;;
  wedge) kill -STOP "$(pid)" ;;
  stop)
    [ -e runsv.pid ] || exit 0
    # It ends its service, then itself.
    sv -w 10 force-shutdown "$dir/app" || kill -KILL "$(cat runsv.pid)"
    ;;
  *) exit 2 ;;
esac
