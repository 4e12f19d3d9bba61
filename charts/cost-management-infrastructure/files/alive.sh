# Alive: answers at all. Refusing is an answer too: while it recovers, shuts down or is full.
# (A late probe is killed, and must not leave an orphan behind that ends with a status above 1.)
(
  pg_isready -q -t 4 -h "$POD_IP" -U postgres -d postgres
  [ $? -le 1 ]
)
exit $?
