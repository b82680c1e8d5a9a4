"""The steps of the rolling restart as bash: what is the same for every plan.

A step on a host is a script that its bash reads from its input, with values as assignments at its head that bash itself
quoted: nothing is evaluated on the way, whatever carries it.
"""

from __future__ import annotations

from typing import Final

LIBRARY: Final = r"""name='' state='nothing was changed'
finish() {
  local status=$?
  ((status == 0)) || printf '%s\n' "rolling restart stopped${name:+ at $name}: $state" >&2
}
trap finish EXIT
exec 9<"${BASH_SOURCE[0]}"
flock -n 9 || {
  state='another one runs'
  exit 1
}

addresses=" $(hostname -I 2>/dev/null || true) "
is_here() { [[ $1 == 127.* || $1 == ::1 || $1 == localhost || $1 == "$(hostname)" || $addresses == *" $1 "* ]]; }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }
as_user() {
  local user=$1
  shift
  if [[ -z $user || $(id -un) == "$user" ]]; then
    "$@"
  elif ((EUID == 0)); then
    runuser -u "$user" -- "$@"
  else
    sudo -n -u "$user" -- "$@"
  fi
}

# Runs the script on its input on a host, with NAME=VALUE ... set at its head.
on() {
  local host=$1 pair
  shift
  {
    echo 'set -euo pipefail'
    declare -f as_root as_user
    for pair in "$@"; do printf '%s=%q\n' "${pair%%=*}" "${pair#*=}"; done
    echo '{'
    cat
    echo '} </dev/null'
  } | if is_here "$host"; then bash -s 9<&-; else "${ssh[@]}" "${users[$host]:+${users[$host]}@}$host" bash -s 9<&-; fi
}

others_healthy() { # HOST PATH "OWN ..." SERVER ...: others take the requests meanwhile, as their router reaches them
  local host=$1 path=$2 own=$3 server urls=''
  shift 3
  for server in "$@"; do
    [[ " $own " == *" $server "* ]] || urls+=" http://$server$path"
  done
  state="nothing was changed: a replica that must take the requests meanwhile does not answer $path"
  on "$host" urls="$urls" <<'STEP'
read -ra each <<<"$urls"
for url in "${each[@]}"; do
  curl --disable --noproxy '*' -gfsS -o /dev/null --max-time 10 "$url" || {
    echo "no answer from $url" >&2
    exit 1
  }
done
STEP
}

router() { # HOST STEM RUNTIME COMMAND ...
  local host=$1 stem=$2 runtime=$3
  shift 3
  on "$host" folder="$folder" stem="$stem" runtime="$runtime" profile="${profiles[$host]:-}" service="router-$stem" user="${users[$host]:-}" run="${KCLUSTER_RUN_DIR:-}" command="$1" server="${2:-}" <<'STEP'
words=("$command")
[[ -z $server ]] || words+=("$server")
case $runtime in
systemd) as_user "$user" env KCLUSTER_RUN_DIR="${run:-/run/kcluster-$stem}" bash "$folder/router/$stem.sh" "${words[@]}" ;;
compose) docker compose -f "$folder/compose/compose.yaml" --profile "$profile" exec -T "$service" bash "/kcluster/router/$stem.sh" "${words[@]}" ;;
*) env ${run:+KCLUSTER_RUN_DIR="$run"} bash "$folder/router/$stem.sh" "${words[@]}" ;;
esac
STEP
}

drain() { # HOST STEM RUNTIME SERVER
  echo "$name: its router sends nothing new to $4"
  state="$4 is not drained, and nothing was stopped. Was it left drained by an earlier attempt? See that it answers, then on $1: router/$2.sh restore"
  router "$1" "$2" "$3" drain "$4"
  back="on $1: router/$2.sh restore"
}

idle() { # HOST URL SECONDS METRIC ...: three times in a row nothing runs and nothing waits
  echo "$name: waiting until its answers are finished"
  state="it is drained and still has requests after $3 s, or no metrics; nothing was stopped. Give it back, $back, and run this again"
  on "$1" url="$2" limit="$3" metrics=" ${*:4} " <<'STEP'
quiet=0
deadline=$((SECONDS + limit))
while ((quiet < 3)); do
  count=$(curl --disable --noproxy '*' -gfsS --max-time 10 "$url" |
    awk -v metrics="$metrics" '
      { name = $1; sub(/[{].*/, "", name) }
      name != "" && index(metrics, " " name " ") { sum += $NF; seen = 1 }
      END { if (!seen) exit 1; print int(sum) }')
  if ((count == 0)); then quiet=$((quiet + 1)); else quiet=0; fi
  ((SECONDS < deadline)) || exit 1
  sleep 1
done
STEP
}

# HOST RUNTIME SCRIPT UNIT
stop() { engine stop "$@"; }
start() { engine start "$@"; }

engine() {
  local action=$1 host=$2 runtime=$3 script=$4 unit=$5
  echo "$name: $action $script on $host"
  state="it is drained, and to $action $script on $host failed: see its log there, start it, and when ready-${script#serve-}.sh says so, $back"
  if [[ -n ${KCLUSTER_HOOK:-} ]]; then
    "$KCLUSTER_HOOK" "$action" "$host" "$script" 9<&- </dev/null
    return
  fi
  on "$host" folder="$folder" action="$action" runtime="$runtime" profile="${profiles[$host]:-}" unit="$unit" <<'STEP'
compose() { docker compose -f "$folder/compose/compose.yaml" --profile "$profile" "$@"; }
case $runtime-$action in
systemd-stop) as_root systemctl stop "$unit" ;;
# Nodes of one engine wait for each other: all are on their way before one is waited for.
systemd-start) as_root systemctl start --no-block "$unit" ;;
compose-stop) compose stop "$unit" ;;
compose-start) compose up -d --no-deps "$unit" ;;
esac
STEP
}

ready() { # HOST RUNTIME UNIT SCRIPT [VARIABLE=KEY]
  local host=$1 runtime=$2 unit=$3 check=$4 given=${5:-=}
  echo "$name: waiting until it answers a completion"
  state="it is drained and does not answer a completion: see the log of $unit on $host; when $check says so, $back"
  on "$host" folder="$folder" runtime="$runtime" unit="$unit" check="$check" variable="${given%%=*}" key="${given#*=}" <<'STEP'
[[ -z $variable ]] || export "$variable=$key"
# This waits for the start that is on its way, and ends as it does.
if [[ $runtime == systemd ]]; then as_root systemctl start "$unit"; fi
bash "$folder/$check"
STEP
}

restore() { # HOST STEM RUNTIME
  echo "$name: back in its router"
  state="it answers, and is not yet back: $back"
  router "$1" "$2" "$3" restore
  state='the replicas before it are done'
}

"""

MAIN: Final = r"""
(($# > 0)) || set -- "${order[@]}"
for name in "$@"; do
  state="no such replica, one of: ${order[*]}"
  [[ -n ${turns[$name]:-} ]]
done
for name in "$@"; do
  back='' state='nothing was changed'
  "${turns[$name]}"
done
echo "done: $*"
"""
