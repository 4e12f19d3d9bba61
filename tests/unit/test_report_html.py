"""report.html: escaped, redacted, alone, readable by people, by printers and without scripts."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_costmgmt import secret
from pytest_costmgmt.engine.report import folder, html
from pytest_costmgmt.engine.report.model import (
    API_VERSION,
    ConformanceReport,
    ReportedCheck,
    RequirementSet,
    RunFacts,
    Target,
)
from pytest_costmgmt.judge.finding import Finding, Fix, Unverified

EVIL = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
OUTCOMES = ("passed", "failed", "error", "blocked", "skipped", "not-supported", "unverifiable")


def reported(number: int, outcome: Any, *, text: str = "text", group: str = "server") -> Any:
    """Return a check with ``text`` wherever a server or a person has a say."""
    finding = Finding(
        summary=f"{text} summary",
        expected=f"{text} expected",
        found=f"{text} found",
        fix=Fix(kind="sql", text=f"{text} fix;", needs=f"{text} needs", database=f"{text} db"),
    )
    return ReportedCheck(
        id=f"CM-SRV-{number:03}",
        group=group,
        title=f"{text} title MUST hold.",
        level="MUST",
        effect="read-only",
        outcome=outcome,
        seconds=0.1,
        summary=f"{text} said",
        examined=(f"{text} examined",),
        blocked_by=("CM-SRV-001",) if outcome == "blocked" else (),
        rationale=f"{text} rationale",
        reference=f"{text} reference",
        findings=(finding,) if outcome == "failed" else (),
    )


def whole(*checks: Any, verdict: Any = "non-conformant", text: str = "text") -> ConformanceReport:
    """Return a report of ``checks``."""
    return ConformanceReport(
        api_version=API_VERSION,
        kind="ConformanceReport",
        verdict=verdict,
        reasons=(f"failed: CM-SRV-001 {text}",),
        weakens=(f"{text} weakens",),
        profile="smoke",
        target=Target(
            mode="external", label=f"{text} label", server=f"{text} server",
            database=f"{text} database", role=f"{text} role", programs=f"{text} programs",
        ),
        requirements=RequirementSet(name="koku", title=f"{text} title", application=text),
        run=RunFacts(
            id="0badcafe", started="2026-11-23T23:05:06+00:00", seconds=1.5, tool="tool",
            python="3.11", pytest="9", plugins=("p 1",), addopts=text, settings={"dsn": "ini (x)"},
        ),
        counts=dict(Counter(check.outcome for check in checks)),
        checks=checks,
    )  # fmt: skip


def page(report: ConformanceReport, *, fixes: bool = False) -> str:
    """Return the page of a report."""
    return html.render(msgspec.to_builtins(report), fixes=fixes)


class Read(HTMLParser):
    """Reads a page as a browser that knows no script."""

    VOID = frozenset({"meta", "input", "br", "img", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """A tag that closes another than the last open one is wrong."""
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        """Keep the text that is shown."""
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


EVERY = tuple(reported(n, outcome) for n, outcome in enumerate(OUTCOMES, 1))


def test_what_a_server_says_is_text() -> None:
    """A database named like a script, in every field, is shown and never run."""
    evil = [reported(n, outcome, text=EVIL) for n, outcome in enumerate(OUTCOMES, 1)]
    text = page(whole(*evil, text=EVIL), fixes=True)
    read = Read(text)
    assert len(read.all("script")) == 1
    assert not read.all("img")
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    for word in ("summary", "expected", "found", "fix;", "needs", "db", "said", "rationale"):
        assert f"{EVIL} {word}" in read.text, word
    assert not read.open


@pytest.mark.parametrize("outcome", ["unverifiable", "failed"])
def test_everything_that_cannot_be_seen_is_listed(outcome: str) -> None:
    """Each of several things that the login may not see has its own words, escaped."""
    unseen = tuple(
        Unverified(what=f"{EVIL} what {n}", who=f"{EVIL} who {n}", how=f"{EVIL} how {n}")
        for n in range(3)
    )
    check = msgspec.structs.replace(reported(1, outcome), unverified=unseen)
    read = Read(page(whole(check, verdict="conformant")))
    for n in range(3):
        for word in ("what", "who", "how"):
            assert read.text.count(f"{EVIL} {word} {n}") == 1
    assert ("text found" in read.text) == (outcome == "failed")
    assert "text said" not in read.text


def test_it_asks_nobody_for_anything() -> None:
    """No tag loads anything; the policy forbids it, and allows our style and script by hash."""
    read = Read(page(whole(*EVERY)))
    assert not {tag for tag, _ in read.tags} & {"link", "iframe", "object", "embed", "audio"}
    for tag, attributes in read.tags:
        assert "src" not in attributes, tag
        assert "style" not in attributes, tag
        if tag == "a":
            assert (attributes["href"] or "").startswith("#")
    (policy,) = [m for m in read.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    content = policy["content"] or ""
    assert content.startswith("default-src 'none';")
    assert "unsafe" not in content
    assert content.count("'sha256-") == 2
    assert "url(" not in page(whole(*EVERY))
    assert "@import" not in page(whole(*EVERY))


def test_everything_is_told_without_scripts() -> None:
    """Without scripts every check is there; what only a script can do is not offered."""
    read = Read(page(whole(*EVERY)))
    assert not [d for d in read.all("details") if "hidden" in d]
    assert "hidden" in read.all("form")[0]
    assert all("hidden" in b for b in read.all("button") if b.get("class") == "copy")
    for word in ("said", "examined", "rationale", "reference", "weakens", "label"):
        assert f"text {word}" in read.text
    assert len(read.all("details")) == len(OUTCOMES)


def test_failures_come_first_and_open_and_passes_last_and_closed() -> None:
    """The verdict, its reasons, then what must be mended; what is well is folded."""
    read = Read(page(whole(*EVERY)))
    assert [d["data-outcome"] for d in read.all("details")] == [
        "failed", "error", "blocked", "unverifiable", "skipped", "not-supported", "passed",
    ]  # fmt: skip
    assert [d["data-outcome"] for d in read.all("details") if "open" in d] == ["failed", "error"]
    places = [read.text.index(w) for w in ("Non-conformant", "Why", "limits", "Target", "fix;")]
    assert places == sorted(places)


def test_structure_for_a_screen_reader() -> None:
    """Landmarks, one h1, no heading level left out, every label names something, unique ids."""
    read = Read(page(whole(*EVERY), fixes=True))
    names = Counter(tag for tag, _ in read.tags)
    assert (names["main"], names["header"], names["footer"], names["h1"]) == (1, 1, 1, 1)
    levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [str(a["id"]) for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        if name := attributes.get("aria-labelledby"):
            assert name in ids
        if (href := attributes.get("href") or "").startswith("#"):
            assert href[1:] in ids
    assert read.all("html")[0]["lang"] == "en"


def _luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _themes() -> list[dict[str, str]]:
    style = (Path(html.__file__).parent / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", block)) for block in blocks]


@pytest.mark.parametrize("theme", _themes(), ids=["light", "dark", "print"])
def test_contrast_is_enough(theme: dict[str, str]) -> None:
    """Every colour of text has 4.5 to 1 on each ground it stands on (WCAG 2.2, AA)."""
    colours = ["text", "muted", "link", *OUTCOMES]
    for colour in colours:
        for ground in ("page", "card", "code"):
            one, other = sorted((_luminance(theme[colour]), _luminance(theme[ground])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (colour, ground)


def test_no_password_reaches_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password with characters that HTML escapes is masked before it is escaped."""
    monkeypatch.setattr(secret, "_known", set[str]())
    password = "p<a&s\"s'word"
    secret.register(password)
    failed = reported(1, "failed", text=f"see {password} here")
    folder.write(tmp_path, whole(failed, text=password), "SELECT 1;")
    text = (tmp_path / "report.html").read_text()
    assert password not in text
    assert "p&lt;a" not in text
    assert "see ******** here summary" in text


def test_files_are_for_their_owner(tmp_path: Path) -> None:
    """All that is written is 0600, whatever the umask."""
    folder.write(tmp_path, whole(*EVERY), "SELECT 1;")
    assert {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {
        "report.html": 0o600, "report.json": 0o600, "fix.sql": 0o600,
    }  # fmt: skip


def test_an_older_page_is_replaced_when_a_run_begins(tmp_path: Path) -> None:
    """From a run's begin on, until its end, the page says inconclusive."""
    folder.write(tmp_path, whole(reported(1, "passed"), verdict="conformant"), "")
    assert "Conformant" in Read((tmp_path / "report.html").read_text()).text
    assert not folder.clear(str(tmp_path), None)
    text = Read((tmp_path / "report.html").read_text()).text
    assert "Inconclusive" in text
    assert "the run did not come to its end" in text
    assert "Nothing was judged" in text


def test_a_report_that_cannot_be_written_leaves_no_better_one(tmp_path: Path) -> None:
    """If report.json cannot be replaced, a page with another verdict does not stay."""
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        folder.write(tmp_path, whole(reported(1, "passed"), verdict="conformant"), "")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_path_that_is_no_text_is_shown(tmp_path: Path) -> None:
    """Half a character (a file's name that is no UTF-8) does not cost the report."""
    folder.write(tmp_path, whole(reported(1, "failed", text="caf\udce9")), "")
    assert r"caf\udce9 summary" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("verdict", ["conformant", "non-conformant", "inconclusive"])
def test_each_verdict_is_its_own_headline(verdict: Any) -> None:
    """The verdict is the page's title and first heading."""
    text = page(whole(*EVERY, verdict=verdict))
    assert f"<title>{verdict}: text label" in text
    assert f"</span>{verdict.capitalize()}</h1>" in text
