"""A page that checks itself, written where it was asked for and into the journal."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from appliance.errors import ApplianceError, LimitError
from appliance.report.page import MAX_PAGE_BYTES, page
from appliance.runs.report import record_report
from appliance.runs.session import Session
from appliance.store.files import written_whole
from appliance.value import frozen

FILE = click.Path(path_type=Path, dir_okay=False)


@frozen
class Written:
    """A page that was written."""

    digest: str  # SHA-256, hex
    line: str  # what is said of it
    warnings: tuple[str, ...]


def write_page(session: Session, to: Path, data: Mapping[str, Any]) -> Written:
    """Write the page for a report's data; what is there is replaced.

    A journal that cannot be written to is a warning. Raises LimitError (page-too-large) for a
    page that nothing would read.
    """
    raw = page(data)
    if len(raw) > MAX_PAGE_BYTES:
        raise LimitError(
            f"the page would have {len(raw):,} bytes, at most {MAX_PAGE_BYTES:,} are read",
            reason="page-too-large",
            next_step="narrow what is on it, or give a smaller --limit",
        )
    with written_whole(to, replace=True) as file:
        file.write(raw)
    digest, warnings = sha256(raw).hexdigest(), list[str]()
    try:
        record_report(session, to.name, digest)
    except ApplianceError as error:
        warnings.append(f"the journal has no line of this page: {error.message}")
    line = f"Wrote {to} ({len(raw):,} bytes), SHA-256 {digest}"
    return Written(digest, line, tuple(warnings))
