"""Measure our own process's peak memory for a backup of very many relations, without a server.

    python bench/memory.py [--relations 264000]

A thousand tenants of 264 tables are 264,000. The backup has a file, an owner and a content hash for
each relation and a sequence for every fourth; its archive is none that PostgreSQL wrote, so nothing
of PostgreSQL is run or measured. Needs an inode and 4 kB for each relation where TMPDIR is, best in
memory. Prints a table in Markdown.
bench/backup.py measures the same with a server.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from pytest_costmgmt import cli
from pytest_costmgmt.backup import archive
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.compare import Observed, Schema, compare
from pytest_costmgmt.backup.model import (
    ARCHIVE,
    Database,
    Manifest,
    Property,
    Relation,
    SequenceValue,
)

MOST = 150
"MB that our own process may take, whatever the size."

TENANT_TABLES = 264


def main() -> None:
    """Measure, or be what is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--relations", type=int, default=1000 * TENANT_TABLES)
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        PARTS[given.part](given.folder)
        print(peak())
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = Path(folder) / "backup"
        (made / ARCHIVE).mkdir(parents=True)
        run("--relations", str(given.relations), part="make", folder=made)
        size = (made / manifests.MANIFEST).stat().st_size
        print(f"{given.relations} relations, manifest of {size / 1e6:.0f} MB\n")
        print("| peak memory of our own process | MB | at most |\n|---|---|---|")
        for part, told in TOLD.items():
            print(f"| {told} | {run(part=part, folder=made) / 1024:.0f} | {MOST} |", flush=True)


def run(*more: str, part: str, folder: Path) -> int:
    """Have a process of its own do one part; return its peak in KiB."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


def peak() -> int:
    """Return this process's peak in KiB; getrusage would count the one that started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def make(folder: Path) -> None:
    """Write a backup of so many relations."""
    number = int(sys.argv[sys.argv.index("--relations") + 1])
    for each in range(number):
        (folder / ARCHIVE / f"{each + 5000}.dat").write_bytes(b"%d\n" % each)
    (folder / ARCHIVE / "toc.dat").write_bytes(b"PGDMP")
    relations = [
        Relation(
            schema=f"acct{each // TENANT_TABLES:07}",
            name=f"reporting_line_item_{each % TENANT_TABLES}_summary",
            kind="table",
            rows=each % 1000,
            content=hashlib.blake2b(b"%d" % each, digest_size=8).hexdigest(),
            by="lines",
            bytes=8192 * (each % 7),
        )
        for each in range(number)
    ]
    relations.sort(key=lambda each: (each.schema, each.name))
    manifest = Manifest(
        created="2026-01-01T00:00:00+00:00",
        run_id="bench",
        seconds=1.0,
        tool="0",
        server="15.18",
        server_number=15_00_18,
        client="15.18",
        compression="none",
        jobs=1,
        database=Database(name="koku", owner="koku", encoding="UTF8", collate="C", ctype="C"),
        roles=(),
        memberships=(),
        extensions=(),
        relations=tuple(relations),
        sequences=tuple(
            SequenceValue(
                schema=each.schema, name=f"{each.name}_id_seq", last_value=each.rows, is_called=True
            )
            for each in relations[::4]
        ),
        large_objects=(),
        properties=tuple(
            Property(of=f"table {each.schema}.{each.name}", name="owner", value="koku")
            for each in relations
        ),
        hazards=(),
        files=archive.files(folder),
    )
    manifests.write(folder, manifest)


def verify(folder: Path) -> None:
    """Do as `costmgmt verify DIR` does on a machine without pg_restore."""
    with tempfile.TemporaryDirectory() as nothing:
        command = ["verify", str(folder), "--bindir", nothing]
        try:
            cli.main(command)
        except SystemExit as ended:
            if ended.code:
                raise


def write(folder: Path) -> None:
    """Do as `costmgmt backup` does in the end: read what was dumped, and write the manifest."""
    seen = manifests.read(folder)
    with tempfile.TemporaryDirectory(dir=folder.parent) as other:
        manifests.write(Path(other), msgspec.structs.replace(seen, files=archive.files(folder)))


def prove(folder: Path) -> None:
    """Do as a proof does when everything is seen: compare it with the manifest."""
    said, seen = manifests.read(folder), manifests.read(folder)
    observed = Observed(
        server_number=seen.server_number,
        **{
            name: getattr(seen, name)
            for name in Observed.__struct_fields__
            if name != "server_number"
        },
    )
    del seen
    if compare(said, observed, Schema(1, [])) != ((), ()):
        raise SystemExit("what is the same differs")


PARTS = {"make": make, "verify": verify, "write": write, "prove": prove}
TOLD = {
    "verify": "costmgmt verify DIR",
    "write": "costmgmt backup, once the rows are hashed",
    "prove": "costmgmt restore, comparing all that was seen",
}


if __name__ == "__main__":
    main()
