# Refuses a data folder that the image's PostgreSQL would not serve. Reads only, changes nothing.
# $1: where the volume is mounted.
set -u
volume=$1
data=$volume/userdata

refuse() {
  echo "$1 Nothing was touched." >&2
  exit 1
}

version=$(postgres --version) || refuse "The image has no program postgres: $volume was not read."
version=${version#*PostgreSQL) }
major=${version%%[!0-9]*}

# Before it used userdata, the image kept its files in the volume's root, and moves them at a start.
[ -e "$data/PG_VERSION" ] || [ ! -e "$volume/PG_VERSION" ] || data=$volume

if [ -e "$data" ]; then
  # shellcheck disable=SC2012 # of one folder, by number: stat is not in POSIX
  owner=$(ls -ldn "$data" | { read -r _ _ owner _ && echo "$owner"; })
  [ "$owner" = "$(id -u)" ] || [ "$data" = "$volume" ] ||
    refuse "The data folder $data belongs to uid $owner, and the pod runs as uid $(id -u): PostgreSQL serves only its own."
fi
if [ -e "$data/PG_VERSION" ]; then
  read -r found <"$data/PG_VERSION" ||
    refuse "$data/PG_VERSION cannot be read as uid $(id -u)."
  [ "$found" = "$major" ] ||
    refuse "The data in $data is of PostgreSQL $found and the image is PostgreSQL $major: set postgresql.major=$found (or the former image) again, and move the data to $major by backup and restore."
  exit 0
fi
for other in "$volume"/*/PG_VERSION; do
  [ ! -e "$other" ] ||
    refuse "The volume holds a database in ${other%/PG_VERSION}, where the image does not look: it would start an empty one in $data."
done
