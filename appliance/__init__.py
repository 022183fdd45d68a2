"""Attestor: an offline verification appliance for Sigstore Rekor transparency logs.

The library is `verify`, its `Verdict`, `ApplianceError` and `ArgumentError` (see appliance.api);
it is imported when it is asked for, so that the command starts without it.
"""

from __future__ import annotations

from appliance.version import __version__

TYPE_CHECKING = False  # typing's own would be imported by `--version`, which needs nothing
if TYPE_CHECKING:
    from typing import Any

    from appliance.api import Verdict as Verdict
    from appliance.api import verify as verify
    from appliance.errors import ApplianceError as ApplianceError
    from appliance.errors import ArgumentError as ArgumentError

__all__ = ["ApplianceError", "ArgumentError", "Verdict", "__version__", "verify"]


def __getattr__(name: str) -> Any:
    if name in ("Verdict", "verify"):
        from appliance import api

        return getattr(api, name)
    if name in ("ApplianceError", "ArgumentError"):
        from appliance import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'appliance' has no attribute {name!r}")
