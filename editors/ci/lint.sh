#!/usr/bin/env bash
# The lint of the GitHub action: findings on their lines, then the layout. PATHS, STRICT and FORMAT_CHECK come from its inputs.
set -uo pipefail

read -ra paths <<<"${PATHS:-.}"
flags=()
[ "${STRICT:-false}" = true ] && flags+=(--strict)

status=0
kcluster lint --format github "${flags[@]}" -- "${paths[@]}" || status=$?
if [ "${FORMAT_CHECK:-true}" = true ]; then
  kcluster fmt --check -- "${paths[@]}" || status=$?
fi
exit "$status"
