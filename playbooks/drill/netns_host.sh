#!/usr/bin/env bash
# Whole hosts for a drill on one machine: each has its own network, processes, mounts and name, a private copy of this
# machine's files in memory, a real systemd as its first process and a real sshd. None of the machine's own settings are
# touched, and nothing of a host is left once it is down. Needs root, and a drill with `isolated: true`: the addresses and
# names are the same in each, and what is mounted goes with it.
#
#   netns_host.sh net DIR                 a network for the hosts, 10.231.7.0/24, and what systemd needs of this machine
#   netns_host.sh up DIR NAME NUMBER      a host with the address 10.231.7.NUMBER
#   netns_host.sh down DIR NAME           as if its power was cut
#   netns_host.sh gone DIR                all hosts, and the network
#
# DIR/ssh_config and DIR/known_hosts say how to reach them; DIR/keys holds the keys. In a host, DIR/units is in
# /etc/systemd/system, and what is in DIR/image lies over /.
set -euo pipefail

cmd=$1
dir=$(realpath -m -- "$2")
hosts=$dir/hosts

prefix=10.231.7
bridge=hosts
# The kernel's groups of processes are the machine's, also in an isolated drill: their names must be this drill's own.
owner=drill-$(sha256sum <<<"$dir" | cut -c1-12)

# The folders in which this machine keeps such groups for systemd.
hierarchies() {
  local group
  for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$group/cgroup.procs" ]; then echo "$group"; fi
  done
}

# Removes the groups of hosts that are gone. A group that still holds a process stays; one that the kernel or another
# removes at the same time is no error.
ungroup() {
  local group
  for group; do
    [ -d "$group" ] || continue
    if [ -z "$(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null)" ]; then
      find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    fi
  done
}

# What hosts left whose drill was killed with everything in it. The age keeps off one that is just being made.
sweep() {
  local group old
  for group in $(hierarchies); do
    find "$group" -maxdepth 1 -type d -name 'drill-*' -mmin +10 | while IFS= read -r old; do ungroup "$old"; done
  done
}

net() {
  mkdir -p "$hosts" "$dir/keys" "$dir/units" "$dir/image"
  chmod 700 "$dir/keys"
  ip link set lo up
  ip link add "$bridge" type bridge
  ip addr add "$prefix.1/24" dev "$bridge"
  ip link set "$bridge" up
  # What keeps systemd's services apart; an isolated drill begins without.
  if [ ! -e /sys/fs/cgroup/cgroup.procs ] && [ ! -d /sys/fs/cgroup/systemd ]; then
    mkdir -p /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  fi
  sweep
  ssh-keygen -q -t ed25519 -N '' -C drill -f "$dir/keys/id" </dev/null
  ssh-keygen -q -t ed25519 -N '' -C drill -f "$dir/keys/host" </dev/null
  cp "$dir/keys/id.pub" "$dir/keys/auth"
  # Every host of the drill has this key, as a provider's console would tell it.
  echo "$prefix.* $(cut -d' ' -f1,2 "$dir/keys/host.pub")" >"$dir/known_hosts"
  cat >"$dir/ssh_config" <<C
Host $prefix.*
  User root
  IdentityFile $dir/keys/id
  IdentitiesOnly yes
  UserKnownHostsFile $dir/known_hosts
  StrictHostKeyChecking yes
C
}

up() {
  local name=$1 number=$2
  local space=$name address=$prefix.$number home=$hosts/$name
  [ ! -e "$home/pid" ] || { echo "$name is there already" >&2; exit 1; }
  mkdir -p "$home/root"
  ip netns add "$space"
  ip link add "v$number" type veth peer name eth0 netns "$space"
  ip link set "v$number" master "$bridge" up
  ip -n "$space" addr add "$address/24" dev eth0
  ip -n "$space" link set eth0 up
  ip -n "$space" link set lo up
  local group
  for group in $(hierarchies); do mkdir -p "$group/$owner-$name"; done
  # Not of the drill's own group of processes: its host lives on when the command that made it has ended.
  setsid -f bash "$0" boot "$dir" "$name" "$address" "$space" </dev/null >"$home/log" 2>&1
  local tries
  for tries in $(seq 100); do
    if [ -s "$home/pid" ] && ssh -F "$dir/ssh_config" -o BatchMode=yes -o ConnectTimeout=1 "$address" true 2>/dev/null; then
      echo "$name answers at $address after $tries tries"
      return
    fi
    sleep 0.1
  done
  echo "$name does not answer at $address" >&2
  cat "$home/log" >&2
  exit 1
}

# In the process that becomes the host.
boot() {
  local name=$1 address=$2 space=$3 group
  for group in $(hierarchies); do echo $BASHPID >"$group/$owner-$name/cgroup.procs"; done
  echo $BASHPID >"$hosts/$name/pid"
  export name address dir home=$hosts/$name/root
  exec ip netns exec "$space" unshare --fork --pid --mount --uts --ipc --cgroup --propagation private \
    --kill-child=KILL bash -c "$(declare -f inside); inside"
}

# In the host's own namespaces, before its first process takes over.
inside() {
  set -eu
  mount -t tmpfs -o size=512m host "$home"
  mkdir "$home/upper" "$home/work" "$home/merged"
  mount -t overlay host -o "lowerdir=/,upperdir=$home/upper,workdir=$home/work" "$home/merged"
  cd "$home/merged"
  mount -t proc proc proc
  mount --bind proc/sys proc/sys
  mount -o remount,ro,bind proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t tmpfs -o mode=755 tmpfs dev
  local node
  for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    # shellcheck disable=SC2086
    set -- $node
    mknod -m 666 "dev/$1" c "$2" "$3"
  done
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  mount -t tmpfs tmpfs dev/shm
  ln -s /proc/self/fd dev/fd
  : >dev/console
  mount --bind dev/null dev/console
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t tmpfs -o mode=1777 tmpfs tmp
  if [ -e /sys/fs/cgroup/cgroup.procs ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
  else
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
  fi
  # Only what the drill gives is started; what would set up the kernel is not.
  mount -t tmpfs -o mode=755 tmpfs etc/systemd/system
  local unit units=etc/systemd/system
  for unit in systemd-sysctl systemd-modules-load systemd-binfmt systemd-tmpfiles-setup-dev systemd-remount-fs \
    systemd-udevd systemd-udev-trigger systemd-update-utmp systemd-sysusers systemd-tmpfiles-clean systemd-timesyncd \
    systemd-logind kmod-static-nodes systemd-hwdb-update; do
    ln -s /dev/null "$units/$unit.service"
  done
  for unit in dev-hugepages dev-mqueue sys-kernel-debug sys-kernel-tracing sys-kernel-config sys-fs-fuse-connections \
    proc-sys-fs-binfmt_misc; do
    ln -s /dev/null "$units/$unit.mount"
  done
  ln -s /dev/null "$units/proc-sys-fs-binfmt_misc.automount"
  cp -r "$dir/keys" etc/drill-keys
  chmod 700 etc/drill-keys
  mkdir "$units/drill.target.wants"
  cat >"$units/drill.target" <<'C'
[Unit]
Description=A host of a drill
Wants=dbus.socket systemd-journald.service
After=basic.target
AllowIsolate=yes
C
  cat >"$units/drill-sshd.service" <<C
[Unit]
Description=sshd
[Service]
RuntimeDirectory=sshd
KillMode=process
ExecStart=/usr/sbin/sshd -D -e -f /dev/null -o ListenAddress=$address -o HostKey=/etc/drill-keys/host -o AuthorizedKeysFile=/etc/drill-keys/auth -o StrictModes=no -o UsePAM=no -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password -o MaxStartups=100 -o PidFile=none
C
  ln -s /etc/systemd/system/drill-sshd.service "$units/drill.target.wants/"
  ln -s /etc/systemd/system/drill.target "$units/default.target"
  cp -r "$dir/units/." "$units/"
  cp -r "$dir/image/." .
  mount -t tmpfs -o mode=700 tmpfs root
  touch root/.bashrc
  hostname "$name"
  echo "$name" >etc/hostname
  md5sum <<<"$name" | cut -c1-32 >etc/machine-id
  mkdir oldroot
  pivot_root . oldroot
  umount -l /oldroot
  exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
    /lib/systemd/systemd --system --unit=drill.target --log-target=console --log-level=warning
}

down() {
  local name=$1 pid tries group left=0
  if [ -s "$hosts/$name/pid" ]; then
    pid=$(cat "$hosts/$name/pid")
    # Its first process dies with this one, and with that one all others.
    if [ "$(ps -o args= -p "$pid" 2>/dev/null | cut -d' ' -f1)" = unshare ]; then kill -KILL "$pid"; fi
    for tries in $(seq 100); do
      [ -n "$(ip netns pids "$name" 2>/dev/null)" ] || break
      sleep 0.05
    done
  fi
  ip netns del "$name" 2>/dev/null || true
  # The kernel lets go of a group a moment after the last of its processes.
  for tries in $(seq 40); do
    left=0
    for group in $(hierarchies); do
      ungroup "$group/$owner-$name"
      if [ -d "$group/$owner-$name" ]; then left=1; fi
    done
    [ "$left" = 1 ] || break
    sleep 0.05
  done
  [ "$left" = 0 ] || echo "a group of processes of $name is still held: $owner-$name" >&2
  rm -rf "${hosts:?}/$name"
}

gone() {
  local home
  for home in "$hosts"/*/; do
    if [ -d "$home" ]; then down "$(basename "$home")"; fi
  done
  ip link del "$bridge" 2>/dev/null || true
}

case $cmd in
  net) net ;;
  up) up "$3" "$4" ;;
  down) down "$3" ;;
  gone) gone ;;
  boot) boot "$3" "$4" "$5" ;;
  *) echo "net, up, down or gone, not $cmd" >&2; exit 64 ;;
esac
