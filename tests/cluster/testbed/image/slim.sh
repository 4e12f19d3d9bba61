# What no container reads. $1: the image's root.
set -eu
root=$1
rm -rf "$root"/usr/share/{doc,man,info,locale,i18n,bug,lintian} "$root"/var/cache/* "$root"/var/lib/apt/* \
  "$root"/var/log/* "$root"/boot "$root"/etc/machine-id "$root"/usr/lib/x86_64-linux-gnu/gconv
