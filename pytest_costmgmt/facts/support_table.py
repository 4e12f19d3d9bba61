"""When each major version of PostgreSQL reaches its end of life: data, with the day it was taken.

Source: PostgreSQL's published versioning policy (https://www.postgresql.org/support/versioning/).
A vendor may support its own builds for longer; the policy is the community's.
"""

from __future__ import annotations

from collections.abc import Mapping

TAKEN = "2026-11-23"

END_OF_LIFE: Mapping[int, str] = {
    10: "2022-11-10",
    11: "2023-11-09",
    12: "2024-11-21",
    13: "2025-11-13",
    14: "2026-11-12",
    15: "2027-11-11",
    16: "2028-11-09",
    17: "2029-11-08",
    18: "2030-11-14",
}


def end_of_life(major: int) -> str | None:
    """Return the ISO day of the last release of ``major``; None where the table knows none.

    >>> end_of_life(15)
    '2027-11-11'
    >>> end_of_life(99) is None
    True
    """
    return END_OF_LIFE.get(major, END_OF_LIFE[10] if major < min(END_OF_LIFE) else None)
