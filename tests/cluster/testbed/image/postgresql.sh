# Debian's PostgreSQL as the sclorg images have it. $1: the image's root, $2: the major version.
set -eu
root=$1 major=$2

chroot "$root" groupmod -g 126 tape
chroot "$root" groupmod -g 26 postgres
chroot "$root" usermod -u 26 -d /var/lib/pgsql postgres

# Half of the size is what compiles queries, and Perl for Debian's wrappers.
rm -rf "$root"/usr/lib/x86_64-linux-gnu/libLLVM* "$root"/usr/lib/x86_64-linux-gnu/libz3.so.4 \
  "$root/usr/lib/postgresql/$major/lib/bitcode" "$root/usr/lib/postgresql/$major"/lib/llvmjit* \
  "$root"/usr/share/perl "$root"/usr/share/perl5 "$root"/usr/lib/x86_64-linux-gnu/perl \
  "$root"/usr/lib/x86_64-linux-gnu/perl5 "$root"/usr/lib/x86_64-linux-gnu/libperl.so.* \
  "$root"/usr/bin/perl5*
for program in "$root"/usr/bin/*; do
  case $(readlink "$program") in
  */pg_wrapper) rm "$program" ;;
  esac
done

# Written to by uid 26 and by any uid in group 0.
for folder in var/lib/pgsql var/lib/pgsql/data var/run/postgresql opt/app-root/src \
  opt/app-root/src/postgresql-{cfg,init,pre-start,start}; do
  mkdir -p "$root/$folder"
  chown 26:0 "$root/$folder"
  chmod 0770 "$root/$folder"
done
chmod 2777 "$root/run/postgresql"
