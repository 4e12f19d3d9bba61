# SIGTERM alone would wait for every client to leave. $1: seconds.
pg_ctl stop -s -m fast -D "$PGDATA" -t "$1" || true
