"""The public ``costmgmt_*`` fixtures: wiring only."""

from __future__ import annotations
