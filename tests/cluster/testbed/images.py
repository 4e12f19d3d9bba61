"""The test bed's images, made from Debian's packages and PyPI's: no registry is asked.

Each layer is kept in the cache under a name that says what it is made of. All images together are
one OCI archive, which containerd imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from tests.chart.helm import CannotBuildError, alone
from tests.cluster.testbed.build import cache, fingerprint, programs

FILES = Path(__file__).resolve().parent / "image"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "django-project"
PAUSE = "costmgmt.invalid/pause:1"
# The names that the chart asks for.
POSTGRESQL = {13: "quay.io/sclorg/postgresql-13-c9s", 15: "quay.io/sclorg/postgresql-15-c9s"}
APPLICATION = "quay.io/insights-onprem/koku"
SUITES = {13: "bullseye", 15: "bookworm"}
# Of Debian 12's Python, 3.11: exact, for pip resolves for its own Python only.
WHEELS = (
    "asgiref==3.13.0",
    "Django==5.2.19",
    "django-tenants==4.0.1",
    "psycopg==3.3.9",
    "psycopg-binary==3.3.9",
    "sqlparse==0.6.1",
    "typing_extensions==4.16.0",
)
# Translations are half of Django's files; without the one that it falls back to, it does not start.
UNREAD = ("*.po", "locale/[!e]*/*.mo", "locale/e[!n]*/*.mo")
EPOCH = 1700000000
HERE = Path(__file__)


class Image(NamedTuple):
    """An image in the bed's containerd: its name with tag, and the same by digest."""

    name: str
    digest: str

    @property
    def repository(self) -> str:
        """The name without a tag."""
        return self.name.rpartition(":")[0]

    @property
    def by_digest(self) -> str:
        """What a pod asks for that trusts no tag."""
        return f"{self.repository}@{self.digest}"


class Archive(NamedTuple):
    """All images: the archive that containerd imports, and what is in it."""

    file: Path
    images: tuple[Image, ...]

    def named(self, repository: str, tag: str = "latest") -> Image:
        """Return the image of that name; KeyError if this machine could not make it."""
        for image in self.images:
            if image.name == f"{repository}:{tag}":
                return image
        raise KeyError(f"{repository}:{tag}")


class Layer(NamedTuple):
    """A layer: a name for what it is made of, and how it is made into a tar file."""

    key: str
    make: Callable[[Path], None]


def archive() -> Archive:
    """Return all images in one archive, made first if no cache holds them: minutes, once.

    PostgreSQL 13 comes from an older suite, which Debian may have taken away; it is left out then.
    Raises CannotBuildError.
    """
    recipes = [*_postgresql(15), *_application(), _pause()]
    try:
        recipes += _postgresql(13)
    except CannotBuildError as error:
        sys.stderr.write(f"No image of PostgreSQL 13: {error}\n")
    key = hashlib.sha256(repr(recipes).encode() + HERE.read_bytes()).hexdigest()[:16]
    place = cache() / "images" / f"images-{key}.tar"
    listing = place.with_suffix(".json")
    with alone(place.with_suffix(".lock")):
        if not (place.exists() and listing.exists()):
            made = _assemble(place, recipes)
            listing.write_text(json.dumps(made))
    return read(place)


def read(place: Path) -> Archive:
    """Return an archive that was made before, with what is in it."""
    listing = place.with_suffix(".json").read_text()
    return Archive(place, tuple(Image(*one) for one in json.loads(listing)))


class _Recipe(NamedTuple):
    name: str
    layers: tuple[Path, ...]
    config: dict[str, Any]


def _postgresql(major: int) -> list[_Recipe]:
    suite = SUITES[major]
    packages = (f"postgresql-{major}", "libnss-wrapper", "procps")
    scripts = (FILES / "slim.sh", FILES / "postgresql.sh")
    hooks = (f'bash {FILES}/slim.sh "$1"', f'bash {FILES}/postgresql.sh "$1" {major}')
    base = _layer(_debian(suite, packages, hooks, scripts))
    entry = FILES / "container-entrypoint", FILES / "run-postgresql"
    # mmdebstrap leaves nothing in /run.
    socket = {"run/postgresql": 0o2777}
    top = _layer(_files("entry", {f"usr/bin/{one.name}": one for one in entry}, folders=socket))
    config = {
        "User": "26",
        "Env": [
            f"PATH=/usr/lib/postgresql/{major}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/var/lib/pgsql",
            "APP_DATA=/opt/app-root",
            f"POSTGRESQL_VERSION={major}",
            "PGUSER=postgres",
            "LANG=C.UTF-8",
        ],
        "Entrypoint": ["container-entrypoint"],
        "Cmd": ["run-postgresql"],
        "WorkingDir": "/opt/app-root/src",
        "ExposedPorts": {"5432/tcp": {}},
    }
    # The same files under another digest: what an upgrade of the image is tried with.
    newer = {**config, "Labels": {"costmgmt.invalid/build": "next"}}
    repository = POSTGRESQL[major]
    return [
        _Recipe(f"{repository}:latest", (base, top), config),
        _Recipe(f"{repository}:next", (base, top), newer),
    ]


def _application() -> list[_Recipe]:
    base = _layer(
        _debian(
            "bookworm",
            ("python3-minimal", "python3"),
            (f'bash {FILES}/slim.sh "$1"',),
            (FILES / "slim.sh",),
        )
    )
    libraries = _layer(Layer(f"wheels-{_hash(*WHEELS, *UNREAD)}", _wheels))
    project = {
        f"opt/koku/koku/{one.relative_to(EXAMPLE)}": one
        for one in sorted(EXAMPLE.rglob("*"))
        if one.is_file() and "__pycache__" not in one.parts and not one.name.startswith(".")
    }
    top = _layer(_files("project", project, links={"usr/local/bin/python": "/usr/bin/python3"}))
    config = {
        "User": "1000",
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH=/opt/libraries",
            "PYTHONDONTWRITEBYTECODE=1",
            "LANG=C.UTF-8",
        ],
        "Cmd": ["python", "koku/manage.py", "check"],
        "WorkingDir": "/opt/koku",
    }
    return [_Recipe(f"{APPLICATION}:latest", (base, libraries, top), config)]


def _pause() -> _Recipe:
    layer = _layer(_files("pause", {"pause": programs() / "pause"}))
    return _Recipe(PAUSE, (layer,), {"User": "65535:65535", "Entrypoint": ["/pause"]})


def _layer(layer: Layer) -> Path:
    place = cache() / "images" / f"layer-{layer.key}.tar"
    with alone(place.with_suffix(".lock")):
        if not place.exists():
            with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
                made = Path(scratch) / "layer.tar"
                layer.make(made)
                made.replace(place)
    return place


def _debian(
    suite: str, packages: tuple[str, ...], hooks: tuple[str, ...], scripts: tuple[Path, ...]
) -> Layer:
    def make(into: Path) -> None:
        no_cluster = (
            'mkdir -p "$1/etc/postgresql-common" &&'
            ' echo create_main_cluster=false >"$1/etc/postgresql-common/createcluster.conf"'
        )
        done = subprocess.run(
            [
                *("mmdebstrap", "--quiet", "--mode=root", "--variant=essential", "--format=tar"),
                f"--include={','.join(packages)}",
                f"--essential-hook={no_cluster}",
                *(f"--customize-hook={hook}" for hook in hooks),
                *(suite, str(into)),
            ],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotBuildError(f"mmdebstrap {suite} failed:\n{done.stderr[-2000:]}")

    return Layer(f"{suite}-{_hash(*packages, *map(_relative, hooks), fingerprint(*scripts))}", make)


def _relative(hook: str) -> str:
    return hook.replace(str(FILES), "")


def _files(
    name: str,
    files: dict[str, Path],
    *,
    links: dict[str, str] | None = None,
    folders: dict[str, int] | None = None,
) -> Layer:
    """Return a layer of these files, readable by every uid, and of folders with these modes."""

    def make(into: Path) -> None:
        with tarfile.open(into, "w") as tar:
            for path in _folders(files):
                tar.addfile(_entry(path, tarfile.DIRTYPE, 0o755))
            for path, mode in (folders or {}).items():
                tar.addfile(_entry(path, tarfile.DIRTYPE, mode))
            for path, file in files.items():
                content = file.read_bytes()
                mode = 0o755 if os.access(file, os.X_OK) else 0o644
                tar.addfile(_entry(path, tarfile.REGTYPE, mode, len(content)), io.BytesIO(content))
            for path, target in (links or {}).items():
                entry = _entry(path, tarfile.SYMTYPE, 0o777)
                entry.linkname = target
                tar.addfile(entry)

    modes = (os.access(file, os.X_OK) for file in files.values())
    made_of = (*files, *map(str, modes), fingerprint(*files.values()), repr((links, folders)))
    return Layer(f"{name}-{_hash(*made_of)}", make)


def _wheels(into: Path) -> None:
    """Install for Debian 12's Python, whichever Python this is."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "libraries"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
        of = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
        abis = ["--abi=cp311", "--abi=abi3", "--abi=none"]
        platforms = ["--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64"]
        done = subprocess.run(
            [*pip, *of, *abis, *platforms, f"--target={target}", *WHEELS],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotBuildError(f"pip could not fetch {WHEELS}:\n{done.stderr[-2000:]}")
        files = {
            f"opt/libraries/{file.relative_to(target)}": file
            for file in sorted(target.rglob("*"))
            if file.is_file() and file.parent != target / "bin" and not _unread(file)
        }
        _files("wheels", files).make(into)


def _unread(file: Path) -> bool:
    shown = PurePath(*file.parts[-4:-2], file.name)  # locale/en/LC_MESSAGES/django.mo
    return any(shown.match(pattern) for pattern in UNREAD)


def _folders(files: dict[str, Path]) -> Iterator[str]:
    seen = {str(parent) for path in files for parent in Path(path).parents}
    yield from sorted(seen - {"."})


def _entry(path: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, EPOCH
    return entry


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _assemble(place: Path, recipes: list[_Recipe]) -> list[Image]:
    """Write the images as one OCI archive; each under its name, and under its digest."""
    blobs: dict[str, bytes | Path] = {}
    index: list[dict[str, Any]] = []
    images: list[Image] = []
    for recipe in recipes:
        layers = [_blob(blobs, layer) for layer in recipe.layers]
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": recipe.config,
            "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
            "history": [{"created_by": "the test bed"} for _ in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("config", *_blob(blobs, json.dumps(config).encode())),
            "layers": [_descriptor("layer", *layer) for layer in layers],
        }
        descriptor = _descriptor("manifest", *_blob(blobs, json.dumps(manifest).encode()))
        image = Image(recipe.name, descriptor["digest"])
        images.append(image)
        index += [
            {**descriptor, "annotations": {"io.containerd.image.name": name}}
            for name in (image.name, image.by_digest)
        ]
    listing = json.dumps({"schemaVersion": 2, "manifests": index}).encode()
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        made = Path(scratch) / "images.tar"
        with tarfile.open(made, "w") as tar:
            _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            for digest, content in blobs.items():
                _add(tar, "blobs/" + digest.replace(":", "/"), content)
            _add(tar, "index.json", listing)
        made.replace(place)
    return images


def _blob(blobs: dict[str, bytes | Path], content: bytes | Path) -> tuple[str, int]:
    if isinstance(content, Path):
        contents = hashlib.sha256()
        with content.open("rb") as file:
            while chunk := file.read(1 << 20):
                contents.update(chunk)
        size = content.stat().st_size
    else:
        contents, size = hashlib.sha256(content), len(content)
    digest = f"sha256:{contents.hexdigest()}"
    blobs[digest] = content
    return digest, size


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    types = {
        "config": "application/vnd.oci.image.config.v1+json",
        "layer": "application/vnd.oci.image.layer.v1.tar",
        "manifest": "application/vnd.oci.image.manifest.v1+json",
    }
    return {"mediaType": types[kind], "digest": digest, "size": size}


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    if isinstance(content, Path):
        with content.open("rb") as file:
            tar.addfile(_entry(name, tarfile.REGTYPE, 0o644, content.stat().st_size), file)
    else:
        tar.addfile(_entry(name, tarfile.REGTYPE, 0o644, len(content)), io.BytesIO(content))
