# Looks whether commands could run here, and changes nothing. Set before: M mark of what is said; the arguments are programs.
say() { printf '%s %s\n' "$M" "$*"; }
for p in setsid tee id mkdir rm mv cat head wc grep date sleep; do
  command -v "$p" >/dev/null 2>&1 || say lacks "$p"
done
[ -r /proc/self/stat ] || say lacks '/proc'
# A folder that is there, and one that could be made.
own() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ]; }
room() {
  if [ -e "$1" ] || [ -L "$1" ]; then own "$1"; return; fi
  r=${1%/*}; while [ -n "$r" ] && [ ! -e "$r" ]; do r=${r%/*}; done
  [ -d "${r:-/}" ] && [ -w "${r:-/}" ] && [ -x "${r:-/}" ]
}
b=/tmp/runbook-$(id -u)
if [ -n "${HOME-}" ] && [ -d "$HOME" ] && room "$HOME/.cache/runbook"; then :
elif ! room "$b"; then say full "${HOME:-(no home)}/.cache/runbook" "$b"; fi
for p in "$@"; do
  if f=$(command -v "$p" 2>/dev/null); then say has "$p" "$f"; else say no "$p"; fi
done
say end
