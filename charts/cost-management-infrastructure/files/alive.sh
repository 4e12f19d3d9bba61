# Alive: answers at all. Refusing is an answer too: while it recovers, shuts down or is full.
pg_isready -q -t 4 -h "$POD_IP" -U postgres -d postgres
[ $? -le 1 ]
