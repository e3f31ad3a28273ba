# Set before: K (keep what it writes), D workdir, P program to look for, I input if N is 1; environ and main are functions.
d=; why=
# Begun before, or given up by somebody who asked: nothing is begun twice.
for b in "$B1" "$B2"; do [ -n "$b" ] && [ -e "$b/$R/$T" ] && { say taken; end; exit 0; }; done
for b in "$B1" "$B2"; do
  [ -n "$b" ] && own "$b" || continue
  mkdir "$b/$R/$T" 2>/dev/null && d=$b/$R/$T || { say taken; end; exit 0; }
  break
done
# Each process here is one for every step: both are asked for at once. The command's own PATH may lead elsewhere.
sh_=$(command -v setsid; command -v sh)
setsid_=${sh_%%"
"*}
[ "$setsid_" != "$sh_" ] || why='there is no `setsid` there'
sh_=${sh_##*"
"}
[ "$N" = 0 ] || case $(command -v printf) in */*) why='its shell has no printf of its own, which input needs';; esac
[ -n "$d" ] || why=${why:-"no folder for the task can be made there: neither ${B1:-(no home)} nor $B2"}
if [ -n "$why" ]; then [ -n "$d" ] && rm -rf "$d"; say refused "$why"; end; exit 0; fi
child() {
  umask "$um"
  if [ -n "$D" ]; then cd -- "$D" 2>/dev/null || { echo "the working folder $D cannot be used there" > "$d/refused"; exit 125; }; fi
  # A bash that thinks it is the first one of a login by ssh reads the files of an interactive one.
  [ "${SHLVL:-0}" -ge 2 ] 2>/dev/null || export SHLVL=2
  environ
  command -v "$P" >/dev/null 2>&1 || { echo "$P: no such program there" > "$d/refused"; exit 127; }
  main
}
run() {
  trap : PIPE HUP TERM INT
  # A shell says on its own stderr when what it waited for was killed; its number alone could be an exit code.
  clock; t=$c
  if [ "$N" = 1 ]; then { printf "$F" "$I" | (child 2>&9 9>&-); r=$?; } 9>&2 2>"$d/said"
  else { (child </dev/null 2>&9 9>&-); r=$?; } 9>&2 2>"$d/said"; fi
  h="exit $r"; [ "$r" -gt 128 ] && [ -s "$d/said" ] && h="signal $((r - 128))"
  if [ -e "$d/refused" ]; then read -r w < "$d/refused"; h="refused $w"
  elif [ ! -e "$d/pid" ]; then h='refused it was given up before it began'; fi
  clock; echo "$((c - t))" > "$d/took"
  echo "$h" > "$d/exit.new" && mv -f "$d/exit.new" "$d/exit"
  case $h in refused*) ;; *) sent_kv;; esac
  say "$h"; end
}
# Goes on when nobody reads any more: the command is not to die of a broken link.
relay() { trap '' PIPE; if [ "$K" = 1 ]; then ulimit -f 131072; trap '' XFSZ; exec tee "$d/$1" 2>/dev/null; else exec tee /dev/null 2>/dev/null; fi; }
{ { run 7>&-; } 2>&1 >&7 7>&- | relay err >&2; } 7>&1 | relay out
