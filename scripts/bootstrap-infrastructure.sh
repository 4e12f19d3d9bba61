#!/bin/sh
# The documented entry: deploy, wait, initialize, migrate and validate. See `costmgmt bootstrap --help`.
# In the checkout as scripts/bootstrap-infrastructure.sh; installed, beside costmgmt.
set -eu
beside=$(dirname "$0")/costmgmt
if [ -x "$beside" ]; then
  exec "$beside" bootstrap "$@"
fi
if ! command -v costmgmt >/dev/null; then
  echo "costmgmt is not installed: pip install pytest-costmgmt" >&2
  exit 4
fi
exec costmgmt bootstrap "$@"
