# Ready: accepts TCP (the image's first start has none), and answers the superuser on the socket, who
# needs no password and has reserved connections. So neither a rotated password nor a full server
# takes the only endpoint away.
# PostgreSQL is the first process here, and takes an orphan that ends with a status above 1 for a crash
# of its own: if a probe that is late is killed, nothing of it may be left that does.
export PGCONNECT_TIMEOUT=3
(pg_isready -q -t 3 -h "$POD_IP" -U postgres -d postgres || exit 1) &&
  exec psql -X -q -A -t -w -U postgres -d postgres -c 'SELECT 1' >/dev/null
