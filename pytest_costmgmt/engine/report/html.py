"""report.html: one file that asks nobody for anything, from the same plain data as report.json."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.resources import PACKAGE

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

PAGE, STYLE, SCRIPT = "template.html.j2", "report.css", "report.js"
_ID = re.compile(r"\b(CM-[A-Z]{3}-[0-9]{3})\b")
_FOLDER = PACKAGE / "engine" / "report"

# In which order a reader wants them: what must be mended, what was not proved, what is well.
SECTIONS = (
    ("failed", "To be mended", "The requirement is not met. Each finding says what ends it."),
    ("error", "Not judged", "The connection, the environment or the run stood in the way."),
    ("blocked", "Blocked", "They depend on a check that did not pass, and were not judged."),
    (
        "unverifiable",
        "Not visible to the given login",
        "Nothing speaks against them, but this login may not see the evidence.",
    ),
    ("skipped", "Left out", "The operator left them out, for the reason given."),
    ("not-supported", "Does not apply", "This target cannot have what they are about."),
    ("passed", "Passed", "Each was proved by what it examined."),
)

MEANING = {
    "conformant": "Every requirement of this profile that can apply to the target was proved,"
    " or is counted below as not visible to the given login.",
    "non-conformant": "At least one requirement is not met. What ends it stands below.",
    "inconclusive": "Something was not proved. That is neither a pass nor a failure of the server.",
}


def render(report: dict[str, Any], *, fixes: bool = False) -> str:
    """Return the page of a report's plain data, which is redacted already.

    ``fixes`` says that a fix.sql lies beside the page.
    """
    style, script = _text(STYLE), _text(SCRIPT)
    return _template().render(
        report=report,
        sections=_sections(report["checks"]),
        ids={check["id"] for check in report["checks"]},
        groups=_groups(report["checks"]),
        must=_must(report["checks"]),
        settings=_settings(report["run"]["settings"]),
        meaning=MEANING[report["verdict"]],
        fixes=fixes,
        style=style,
        script=script,
        # Nothing may be fetched, and nothing runs but these two, even if something slipped
        # through escaping.
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'",
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - reports

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = moment
    environment.filters["linked"] = linked
    return environment.get_template(PAGE)


@lru_cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def moment(text: str) -> str:
    """Return an ISO time for a person.

    >>> moment("2026-11-23T23:05:06+00:00"), moment("")
    ('2026-11-23 23:05:06 UTC', '')
    """
    try:
        at = datetime.fromisoformat(text).astimezone(timezone.utc)
    except ValueError:
        return text
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def linked(text: str, ids: Collection[str]) -> Markup:
    """Return escaped text in which the checks of this report are links to them.

    >>> print(linked("failed: CM-EXT-004 <b> is not CM-EXT-009", {"CM-EXT-004"}))
    failed: <a href="#CM-EXT-004">CM-EXT-004</a> &lt;b&gt; is not CM-EXT-009
    """
    from markupsafe import Markup, escape  # noqa: PLC0415 - Jinja2 brings it

    pieces = _ID.split(text)  # every second piece is an id
    link = Markup('<a href="#{0}">{0}</a>')
    return Markup().join(
        link.format(piece) if place % 2 and piece in ids else escape(piece)
        for place, piece in enumerate(pieces)
    )


def _settings(sources: dict[str, str]) -> dict[str, str]:
    """Return for each source the settings that came from it: forty lines say less."""
    by_source: dict[str, list[str]] = {}
    for name, source in sources.items():
        by_source.setdefault(source.partition(" (")[0], []).append(name)
    return {source: ", ".join(names) for source, names in by_source.items()}


def _sections(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outcomes that occur, each with its checks: MUST first, then as catalogued."""
    made = []
    for outcome, title, about in SECTIONS:
        own = [check for check in checks if check["outcome"] == outcome]
        own.sort(key=lambda check: str(check["level"]) != "MUST")
        if own:
            made.append({"outcome": outcome, "title": title, "about": about, "checks": own})
    return made


def _groups(checks: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Return for each group how many of its checks came to each outcome that occurs at all."""
    occurring = [o for o, _, _ in SECTIONS if any(check["outcome"] == o for check in checks)]
    return {
        group: {
            outcome: sum(c["group"] == group and c["outcome"] == outcome for c in checks)
            for outcome in occurring
        }
        for group in dict.fromkeys(check["group"] for check in checks)
    }


def _must(checks: list[dict[str, Any]]) -> dict[str, int]:
    own = [check for check in checks if check["level"] == "MUST"]
    return {"all": len(own), "passed": sum(check["outcome"] == "passed" for check in own)}
