#!/bin/bash
# The world of the drill of registry-failure: real registries, podman behind the docker socket, docker-compose.
#
#   registry_world.sh build DIR PORT    PORT: the service; PORT + 1: the registry; PORT + 2: the backup registry
#   registry_world.sh break DIR PORT    kills the registry, and leaves no image on the host
#   registry_world.sh sicken DIR        what is built from now on starts, and is not healthy
#   registry_world.sh pointed DIR PORT  exit 0 if the compose file names the backup registry, and is else what it was
#   registry_world.sh untouched DIR PORT   exit 0 if it is what it was, and neither container nor tag of the attempt is here
#   registry_world.sh up DIR            what the people on call try first
#   registry_world.sh pull DIR PORT
#   registry_world.sh healthy DIR PORT
#   registry_world.sh stop DIR
#
# Everything is below DIR: images, containers, settings. Control groups are not used, they would outlive the drill.
set -euo pipefail
dir=$2 port=${3:-0}
cd -- "$dir"
export HOME=$dir/home DOCKER_BUILDKIT=0 DOCKER_HOST=unix:///var/run/docker.sock

# Whatever it is told, the engine keeps something of its own there: in the drill's folder then. The mounts are the drill's.
apart() {
  local folder name
  for folder in /var/lib /var/cache; do
    name=engine/apart${folder//\//-}
    case $dir/ in "$folder"/*) continue ;; esac
    mkdir -p "$name"/{upper,work}
    mount -t overlay drill -o "lowerdir=$folder,upperdir=$dir/$name/upper,workdir=$dir/$name/work" "$folder"
  done
}

engine() {
  mkdir -p home engine/{graph,run,tmp,libpod,net}
  apart
  cat > engine/containers.conf << C
[containers]
netns = "host"
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_config_dir = "$dir/engine/net"
[engine]
runtime = "crun"
events_logger = "file"
cgroup_manager = "cgroupfs"
tmp_dir = "$dir/engine/tmp"
static_dir = "$dir/engine/libpod"
image_copy_tmp_dir = "$dir/engine/tmp"
C
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$dir/engine/graph" "$dir/engine/run" > engine/storage.conf
  printf '[[registry]]\nlocation = "127.0.0.1:%s"\ninsecure = true\n' $((port + 1)) $((port + 2)) > engine/registries.conf
  CONTAINERS_CONF=$dir/engine/containers.conf CONTAINERS_STORAGE_CONF=$dir/engine/storage.conf \
    CONTAINERS_REGISTRIES_CONF=$dir/engine/registries.conf TMPDIR=$dir/engine/tmp \
    setsid podman system service --time=0 "unix:///run/docker.sock" < /dev/null > engine/log 2>&1 &
  echo $! > engine/pid
  until_ok "the engine" docker version
}

registry() {
  cat > "$1.yml" << C
version: 0.1
log: { level: warn }
storage: { filesystem: { rootdirectory: $dir/$1 }, delete: { enabled: true } }
http: { addr: "127.0.0.1:$2" }
C
  setsid docker-registry serve "$1.yml" < /dev/null > "$1.log" 2>&1 &
  echo $! > "$1.pid"
  until_ok "$1" get "http://127.0.0.1:$2/v2/"
}

until_ok() {
  local what=$1 n; shift
  for ((n = 0; n < 200; n++)); do
    if "$@" > "$dir/last" 2>&1; then return; fi
    sleep 0.1
  done
  echo "$what does not come up"; cat "$dir/last"; exit 1
}

build() {
  engine
  registry registry $((port + 1))
  registry backup $((port + 2))
  mkdir -p context/www
  cp -- "$(command -v busybox)" context/busybox
  echo healthy > context/www/health
  cat > context/Dockerfile << C
FROM scratch
COPY busybox /bin/busybox
COPY www /www
CMD ["/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:$port", "-h", "/www"]
C
  local name=127.0.0.1:$((port + 1))/shop/web:1.4
  docker build -q -t "$name" context
  docker push "$name"
  cat > docker-compose.yml << C
# Kept as it is but for one line.
version: "3"
services:
  other:
    image: $name   # not this one
    command: ["/bin/busybox", "sleep", "100000"]
    network_mode: host
    stop_signal: SIGKILL
  web:
    network_mode: host
    image: $name   # by the release
    stop_signal: SIGKILL
C
  cp -p docker-compose.yml docker-compose.first
  up
  until_ok "the service" get "http://127.0.0.1:$port/health"
}

get() {
  python3 -c 'import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.URLError as error:
    sys.exit(f"{sys.argv[1]}: {error}")' "$1"
}

up() { docker-compose -f docker-compose.yml up -d web; }

break() {
  kill -KILL "$(cat registry.pid)"
  rm -rf registry
  docker-compose -f docker-compose.yml down
  # A layer may have gone with the image that was built on it.
  docker images -aq | sort -u | xargs -r -n 1 docker rmi -f > /dev/null 2>&1 || true
  [ -z "$(docker images -aq)" ]
}

sicken() { rm context/www/health; echo hello > context/www/index.html; }

pointed() {
  local changed
  changed=$(diff docker-compose.first docker-compose.yml | grep '^[<>]' || true)
  echo "$changed"
  [ "$(wc -l <<< "$changed")" = 2 ]
  grep -qE "^> *image: 127.0.0.1:$((port + 2))/shop/web@sha256:[0-9a-f]{64}   # by the release$" <<< "$changed"
}

untouched() {
  cmp docker-compose.first docker-compose.yml
  [ -z "$(docker ps -aq)" ]
  # Its layers stay as every build's do, under no name that somebody would use.
  [ -z "$(docker images -q "127.0.0.1:$((port + 2))/shop/web:1.4")" ]
}

stop() {
  [ -e engine/pid ] || return 0
  docker-compose -f docker-compose.yml down || true
  local name
  for name in engine/pid registry.pid backup.pid; do
    if [ -e "$name" ]; then kill "$(cat "$name")" 2> /dev/null || true; fi
  done
  # What the engine has mounted would keep the folder from being removed; so would what was mounted for it, whose name is
  # `drill`.
  awk -v dir="$dir/" 'index($2, dir) == 1 || $1 == "drill" { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
}

case $1 in
  build | up | break | sicken | pointed | untouched | stop) "$1" ;;
  healthy) get "http://127.0.0.1:$port/health" ;;
  pull) docker pull "127.0.0.1:$((port + 1))/shop/web:1.4" ;;
  *) exit 2 ;;
esac
