"""The script that installs a host's units: it looks for what they need, puts the folder in its place, and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.hosts.folders import engine_processes, installed_folder
from kcluster.targets.shell import SHEBANG, STRICT, quote, stop_unless
from kcluster.targets.systemd.units import DEFAULT_USER, HOST_FILE, RAY_TOKEN, SETTINGS, Unit
from kcluster.targets.types import Artifact
from kcluster.units import MIB

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""The PATH of systemd's services."""


def install_scripts(plan: Plan, units: tuple[Unit, ...]) -> tuple[Artifact, ...]:
    """`nodes/<host>/install.sh` of every host with units."""
    by_folder: dict[str, list[Unit]] = {}
    for unit in units:
        by_folder.setdefault(unit.folder, []).append(unit)
    return tuple(
        Artifact(f"{folder}/install.sh", "".join(_script(plan, folder, own)), executable=True)
        for folder, own in by_folder.items()
    )


def _script(plan: Plan, folder: str, units: list[Unit]) -> Iterator[str]:
    host = units[0].host
    yield SHEBANG
    yield comment_header(plan, f"Installs what {host} runs; as root on that host, from a copy of the whole folder")
    yield "# usage: install.sh      It starts nothing. What was there before is kept beside, as FOLDER.old.\n"
    yield STRICT
    yield "\n"
    yield stop_unless("((EUID == 0))", "run it as root")
    yield 'here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)\n'
    yield f"folder={quote(installed_folder(plan))}\n"
    yield f"units=({' '.join(quote(unit.name) for unit in units)})\n"
    yield from (_CHECKS, "\n")
    for user in dict.fromkeys(unit.user for unit in units):
        yield f"user {quote(user)} {'yes' if user == DEFAULT_USER else 'no'}\n"
    files: dict[str, list[str]] = {}
    for unit in units:
        if unit.variables:
            files.setdefault(unit.settings, []).extend(unit.variables)
    for path, variables in files.items():
        yield f"settings {quote(path)} {' '.join(quote(variable) for variable in dict.fromkeys(variables))}\n"
    for user in dict.fromkeys(unit.user for unit in units if unit.token):
        yield f"token {quote(RAY_TOKEN)} {quote(user)}\n"
    for user in dict.fromkeys(unit.user for unit in units):
        own = [unit for unit in units if unit.user == user]
        programs = dict.fromkeys(program for unit in own for program in unit.programs)
        yield f"programs {quote(user)} {' '.join(quote(program) for program in programs)}\n"
        read = dict.fromkeys(path for unit in own for path in unit.reads)
        if read:
            yield f"readable {quote(user)} {' '.join(quote(path) for path in read)}\n"
    shared = _shared_memory(plan, folder)
    if shared:
        yield f"shared_memory {shared}\n"
    yield _INSTALL.replace("UNITS", f"$folder/{folder}/systemd")


def _shared_memory(plan: Plan, folder: str) -> int:
    """MiB of shared memory for all engines of a host."""
    from kcluster.physics.startup import shared_memory

    sizes = (shared_memory(len(p.gpus)).value for p in engine_processes(plan) if p.folder == folder)
    return round(sum(sizes) / MIB)


_CHECKS: Final = f"""
missing=0
lacks() {{
  printf '%s\\n' "$@" >&2
  missing=1
}}

user() {{ # NAME MAKE: engines run as it
  if ! id -u "$1" >/dev/null 2>&1; then
    if [[ $2 == yes ]]; then
      useradd --system --create-home --home-dir "/var/lib/$1" --shell /usr/sbin/nologin "$1"
    else
      lacks "there is no user $1"
    fi
  fi
}}

settings() {{ # FILE VARIABLE ...
  local file=$1 variable
  shift
  for variable in "$@"; do
    grep -qs "^$variable=." "$file" || lacks "$file lacks $variable. As root, its value from your keys: (umask 077 && mkdir -p {SETTINGS} && cat >>$file), a line $variable=VALUE"
  done
  [[ ! -e $file || $(stat -L -c %a:%U "$file") == 600:root ]] || lacks "$file is readable by others: chown root $file && chmod 600 $file"
}}

token() {{ # FILE USER: the same on every host of the engine
  [[ -s $1 ]] || lacks "$1 is missing. On one host: (umask 077 && openssl rand -hex 32 >$1), then copy it to the others; chown $2 $1"
  [[ ! -e $1 || $(stat -L -c %a:%U "$1") =~ ^[46]00:$2$ ]] || lacks "$1 must be of $2 alone: chown $2 $1 && chmod 600 $1"
}}

programs() {{ # USER NAME ...: found as the units find them
  local user=$1 name path folder folders
  shift
  id -u "$user" >/dev/null 2>&1 || return 0
  path=$(sed -n 's/^PATH=//p' {HOST_FILE} 2>/dev/null | tail -n 1 | tr -d \\"\\' || true)
  IFS=: read -ra folders <<<"${{path:-{DEFAULT_PATH}}}"
  for name in "$@"; do
    for folder in "${{folders[@]}}"; do
      if runuser -u "$user" -- test -x "$folder/$name"; then continue 2; fi
    done
    lacks "$user finds no $name. Where it is goes into {HOST_FILE}: PATH=/FOLDER/bin:/usr/sbin:/usr/bin"
  done
}}

readable() {{ # USER FILE ...
  local user=$1 file
  shift
  for file in "$@"; do
    runuser -u "$user" -- test -r "$file" || lacks "$user cannot read $file"
  done
}}

shared_memory() {{ # MIB
  local found
  found=$(df --output=size -BM /dev/shm | tr -dc '0-9\\n' | tail -n 1)
  ((found >= $1)) || lacks "/dev/shm has $found MiB and the engines here need $1: mount -o remount,size=$1M /dev/shm, and in /etc/fstab"
}}
"""

_INSTALL: Final = """
for unit in "${units[@]}"; do
  installed=/etc/systemd/system/$unit
  [[ ! -e $installed ]] || grep -qxF "WorkingDirectory=$folder" "$installed" || lacks "$installed is of another folder"
done
if ((missing)); then
  echo 'nothing was installed' >&2
  exit 1
fi

if [[ $here != "$folder" ]]; then
  mkdir -p "${folder%/*}"
  rm -rf "$folder.new"
  cp -R "$here" "$folder.new"
  chown -R root:root "$folder.new"
  chmod -R go-w,a+rX "$folder.new"
  if [[ -e $folder ]]; then
    rm -rf "$folder.old"
    mv "$folder" "$folder.old"
  fi
  mv "$folder.new" "$folder"
fi

for unit in "${units[@]}"; do
  install -m 0644 "UNITS/$unit" "/etc/systemd/system/$unit"
done
systemctl daemon-reload
systemctl enable "${units[@]}"
for installed in /etc/systemd/system/kcluster-*.service; do
  if grep -qsxF "WorkingDirectory=$folder" "$installed" && [[ " ${units[*]} " != *" ${installed##*/} "* ]]; then
    echo "no longer in the plan: systemctl disable --now ${installed##*/} && rm $installed"
  fi
done
echo "installed in $folder; start, in this order: systemctl start ${units[*]}"
"""
