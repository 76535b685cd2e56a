"""Plug-ins: a user's own function by its name, ``package.module:function``, as uvicorn and gunicorn take them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from opensearch_splade.errors import OspladeError


def plug_in(name: str, option: str) -> Callable[..., Any]:
    """The function. Modules of the working directory are found too.

    Raises:
        OspladeError: There is none.
    """
    if "" not in sys.path:
        sys.path.append("")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise OspladeError(f"{option} {name}: no such function ({error}); write package.module:function.") from error
    if not callable(found):
        raise OspladeError(f"{option} {name}: it is no function.")
    return found  # type: ignore[no-any-return]
