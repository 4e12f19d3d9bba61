"""The pytest11 entry point: the plugin, loaded as Python loads a module.

pytest loads what belongs to a plugin by a loader of its own, which rewrites asserts and reads
bytecode piece by piece: about a million instructions a module, at each start. There is no assert
in what every start needs.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def _loaded(name: str) -> ModuleType:
    """Return the module ``name`` of this package, by Python's own loader."""
    full = f"{__package__}.{name}"
    if full in sys.modules:
        return sys.modules[full]
    spec = PathFinder.find_spec(full, sys.modules[__package__].__path__)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {full!r}", name=full)
    module = sys.modules[full] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[full]
        raise
    setattr(sys.modules[__package__], name, module)
    return module


for _name in ("options", "fixtures"):
    _loaded(_name)
plugin = _loaded("plugin")
