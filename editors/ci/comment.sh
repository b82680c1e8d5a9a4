#!/usr/bin/env bash
# The comment of the GitHub action: what a pull request does to the specs that it touches. BASE is the commit that it starts from,
# NUMBER the pull request's, PATHS the folders that count; gh takes its token from GH_TOKEN.
set -euo pipefail

read -ra paths <<<"${PATHS:-.}"
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# Imports, settings and configs change specs too: whole folders are compared, not the files of the change alone.
for path in "${paths[@]}"; do
  if git cat-file -e "$BASE:./$path" 2>/dev/null; then
    # 1 is what it says of a change for the worse; the lint step fails a run, not the comment.
    kcluster diff --format markdown "$BASE:$path" "$path" >>"$body" || [ $? -eq 1 ]
    echo >>"$body"
  fi
done

if [ -s "$body" ]; then
  gh pr comment "$NUMBER" --body-file "$body" --edit-last --create-if-none
fi
