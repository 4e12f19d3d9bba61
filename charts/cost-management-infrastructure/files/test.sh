# From the application's side: the Secret's password opens the database, a wrong one does not, the
# right one does again. psql says 0, 2, 0; the outer two tell a refusal from a server that is gone.
# In the environment: PGHOST, PGPORT, PGUSER, PGDATABASE, and SECRET_PASSWORD.
set -u
export PGCONNECT_TIMEOUT=10

case $SECRET_PASSWORD in
*[[:space:]])
  echo "note: the Secret's password ends with a newline or a space, which is part of it: whoever strips it is refused." ;;
esac

for _ in 1 2 3 4 5 6 7 8 9 10; do
  pg_isready -q -t 3 && break
  sleep 2
done

attempt() {
  PGPASSWORD=$1 psql -X -w -q -A -t -c 'SELECT 1' >/dev/null
  echo $?
}
seen="$(attempt "$SECRET_PASSWORD") $(attempt "$SECRET_PASSWORD-but-wrong") $(attempt "$SECRET_PASSWORD")"
echo "psql ended with $seen by the right, a wrong, the right password; 0 2 0 is expected."
case $seen in
"0 2 0") echo "passed" ;;
"0 0 0") echo "failed: $PGHOST lets anybody in: a wrong password opened the database." >&2 && exit 1 ;;
*) echo "failed: the Secret's password does not open $PGDATABASE at $PGHOST, or not each time." >&2 && exit 1 ;;
esac
