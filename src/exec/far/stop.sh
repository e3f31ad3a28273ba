# Set before: G, the time between TERM and KILL in seconds. Ends with 7 if nothing of the task is left.
if ! find_; then give_up && exit 7; find_ || exit 5; fi
if claim "$d"; then exit 7; fi
[ -e "$d/pid" ] || exit 7
read -r pid its bid < "$d/pid"
boot; [ "$bid" = "$bt" ] || exit 7
members() {
  l=; same=1
  # A stranger may lead a session of the same number once everybody of ours has left it.
  if [ -e "/proc/$pid/stat" ] && started "$pid" && [ "$st" != "$its" ]; then same=0; fi
  for f in /proc/[0-9]*/stat; do
    read -r s 2>/dev/null < "$f" || continue
    i=${s%% *}; s=${s##*") "}; set -- $s
    [ "$1" = Z ] && continue
    if [ "$same" = 1 ] && { [ "$4" = "$pid" ] || [ "$3" = "$pid" ]; }; then l="$l $i"; fi
  done
  for f in $(grep -lsF "RUNBOOK_FAR=$R/$T:" /proc/[0-9]*/environ 2>/dev/null); do
    i=${f#/proc/}; i=${i%/environ}
    case " $l " in *" $i "*) ;; *) started "$i" && l="$l $i";; esac
  done
  [ -n "$l" ]
}
t=$(date +%s)
if [ "$G" -gt 0 ]; then
  if members; then kill -TERM $l 2>/dev/null; kill -CONT $l 2>/dev/null; fi
  while members && [ $(($(date +%s) - t)) -lt "$G" ]; do nap; done
fi
t=$(date +%s)
while members; do
  kill -KILL $l 2>/dev/null
  [ $(($(date +%s) - t)) -lt 5 ] || exit 4
  nap
done
exit 7
