"""Measure the test bed: from cached programs and images to a node on which pods can be made.

    python bench/testbed.py [--runs 3]

As root. Each run makes a bed and ends it; what is not cached is built before. *Ready* counts from
the bed's first process, *whole* from the call to the end of the import of its images. Prints a
table in Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cluster.testbed import bed

BOUND = 15.0


def main() -> int:
    """Measure; 1 if the median is over the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    _once()  # builds what is missing, and warms the caches of files
    runs = [_once() for _ in range(asked.runs)]
    ready, whole, gone = (statistics.median(each) for each in zip(*runs, strict=True))
    say("| test bed from cached binaries | seconds (median) | at most |\n|---|---|---|")
    say(f"| node Ready, namespaces usable | {ready:.1f} | {BOUND:.0f} |")
    say(f"| with all images imported, whole call | {whole:.1f} | |")
    say(f"| ended, nothing left | {gone:.1f} | |")
    return int(ready > BOUND)


def _once() -> tuple[float, float, float]:
    began = time.monotonic()
    made, process = bed.up()
    up = time.monotonic()
    bed.down(process)
    return made.seconds["ready"], up - began, time.monotonic() - up


def say(line: str) -> None:
    """Print a line."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
