# Sourced by the scripts beside this folder, after they have set `needed`, an array of command:package. Says what of it is
# not here, and installs it from Debian when run as root.

# Whether the command is here. Debian keeps PostgreSQL's server outside of the search path, a folder for each version.
is_here() {
  command -v "$1" > /dev/null || { [ "$1" = postgres ] && compgen -G '/usr/lib/postgresql/*/bin/postgres' > /dev/null; }
}

missing_packages() {
  local pair
  for pair in "${needed[@]}"; do
    is_here "${pair%%:*}" || printf '%s\n' "${pair#*:}"
  done | sort -u
}

install_missing() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "missing: ${packages[*]} (as root on Debian this script installs them)"
    return 0
  fi
  printf '\n== installing %s\n' "${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local install=(apt-get install -y --no-install-recommends --no-remove)
  (
    # A service that comes with a package is not started: the tests start their own. The machine's word on it stands.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'rm -f -- "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' > "$policy"
      chmod 755 -- "$policy"
    fi
    "${install[@]}" "${packages[@]}" || { apt-get update && "${install[@]}" "${packages[@]}"; } ||
      echo "apt-get could not install ${packages[*]}"
  )
}
