"""Where the attestor command starts: what needs nothing is answered before anything is imported."""

from __future__ import annotations

import gc
import sys

from appliance.version import __version__


def main() -> None:
    """Run the program: the entry point of the attestor command."""
    if sys.argv[1:] == ["--version"] and _said(f"attestor, version {__version__}\n"):
        return
    # A start allocates a lot and frees nothing: collect rarely.
    gc.set_threshold(100_000, 20, 20)
    from appliance.imports import claim_process, import_click

    claim_process()
    import_click()
    from appliance.cli.main import main as whole

    whole()


def _said(text: str) -> bool:
    """Print a text; False if that fails, which is for the whole program to explain."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (AttributeError, OSError):  # stdout is closed, or its reader went away
        return False
    return True
