#!/bin/sh
# The documented entry: deploy, wait, initialize, migrate and validate. See `costmgmt bootstrap --help`.
set -eu
if ! command -v costmgmt >/dev/null; then
  echo "costmgmt is not installed: pip install pytest-costmgmt" >&2
  exit 4
fi
exec costmgmt bootstrap "$@"
