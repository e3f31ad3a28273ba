# Set before: A, the age of the task in seconds.
if ! find_; then
  if give_up; then
    # Nothing is there. That proves something only if what keeps the folder is older than the task.
    up=; read -r up x 2>/dev/null < /proc/uptime; hz=$(getconf CLK_TCK 2>/dev/null) || hz=100
    old=; if started 1 && [ -n "$up" ]; then old=$((${up%%.*} - st / hz)); fi
    if [ -n "$old" ] && [ "$old" -gt $((A + 5)) ]; then say never
    elif [ -n "$old" ] && [ "$old" -lt $((A - 5)) ]; then say anew
    else say vanished; fi
    end; exit 0
  fi
  find_ || { say lost 'no folder for the task can be read or made there'; end; exit 0; }
fi
if claim "$d"; then say never; end; exit 0; fi
if [ ! -e "$d/pid" ]; then say never; end; exit 0; fi
read -r pid its bid < "$d/pid"
boot; told=; gone=0
while [ ! -e "$d/exit" ]; do
  if [ "$bid" != "$bt" ]; then say gone 'that host was restarted while it ran'; end; exit 0; fi
  if started "$pid" && [ "$st" = "$its" ]; then
    [ -n "$told" ] || say runs; told=1; gone=0
  else
    gone=$((gone + 1))
    [ "$gone" -le 25 ] || { say lost 'what watched it there is gone'; end; exit 0; }
  fi
  nap
done
[ -n "$told" ] || say runs
# What it wrote may still be on its way into its files.
i=0; while [ -e "$d/out" ] && ! grep -qF "$M exit" "$d/out" && ! grep -qF "$M signal" "$d/out" && [ "$i" -lt 25 ]; do nap; i=$((i + 1)); done
read -r h < "$d/exit"
[ -e "$d/took" ] && read -r n < "$d/took" && say took "$n"
if [ -e "$d/err" ]; then cat "$d/err" >&2; fi
if [ -e "$d/out" ]; then cat "$d/out"; fi
if [ ! -e "$d/out" ] || ! grep -qF "$M $h" "$d/out"; then say cut; sent_kv; say "$h"; fi
end
