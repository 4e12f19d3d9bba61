"""Where a release's data really lies: links lead out of the folder that the server names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.streams import run
from pytest_costmgmt.kubernetes.trouble import StreamBroken

# initdb -X and CREATE TABLESPACE make links; whoever was short of room has made others, or mounted
# something there. What a server does without (its own log, its statistics) is not asked for.
_FOLLOW = r"""
cd -- "$0" || exit
for each in . base global pg_wal pg_xact pg_multixact pg_commit_ts pg_twophase pg_replslot \
  pg_logical pg_tblspc/*
do
  [ -d "$each" ] || continue
  path=$(readlink -f -- "$each" && echo .) || exit
  printf '%s\0%s\0' "$each" "${path%??}"
done
"""


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the data and where it lies: ``part`` is "." for the whole, else one in it."""

    part: str
    path: str


def follow(api: Api, namespace: str, pod: str, *, container: str, data: str) -> tuple[Folder, ...]:
    """Return where the data folder is, then each of its parts without which all is lost.

    Asked in the pod itself, of the user who runs the server: SQL does not tell. Raises
    StreamBroken if there is no answer.
    """
    argv = ["sh", "-c", _FOLLOW, data]
    ran = run(api, namespace, pod, argv, container=container)
    words = ran.stdout.split("\0")
    if ran.status or words.pop() or len(words) % 2 or words[:1] != ["."]:
        said = " ".join(ran.stderr.split()) or f"status {ran.status}"
        raise StreamBroken(f"where the links in {data} lead was not told: {said}")
    return tuple(_folders(words))


def _folders(words: Iterable[str]) -> Iterator[Folder]:
    each = iter(words)
    for part, path in zip(each, each, strict=True):
        yield Folder(part=part, path=path)
