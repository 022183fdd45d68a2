"""The report as one HTML page that needs no network and checks itself in the browser.

A page is a function of its data alone: the same data makes the same bytes, which is what
`report verify` compares. Everything that comes from elsewhere goes through the template's
escaping; the one script and the one style are allowed by their digests.
"""

from __future__ import annotations

import itertools
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pkgutil import get_data
from typing import TYPE_CHECKING, Any, Final

from appliance.errors import MalformedError
from appliance.times import age_text, utc
from appliance.tlog.strict_json import parse_json

if TYPE_CHECKING:
    from jinja2 import Template

MAX_PAGE_BYTES: Final = 64 * 1024 * 1024
_DATA_START: Final = b'<script type="application/json" id="data">'
_DATA_END: Final = b"</script>"
_MAKER: Final = re.compile(rb'<body data-digest="[0-9a-f]{64}" data-maker="([0-9a-f]{64})">')
_MADE_OF: Final = (
    *(("appliance.report", f"templates/report.{kind}") for kind in ("html", "js", "css")),
    ("appliance.report", "page.py"),
    ("appliance", "times.py"),
)
_TONES: Final = {
    **dict.fromkeys(("HEALTHY", "FROZEN", "info"), "good"),
    **dict.fromkeys(("DEGRADED", "warning"), "open"),
}
_WRONG_SHAPE: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_WIDTH, _HEIGHT, _TOP = 720, 150, 20  # of a chart, in its own units
# What steers a reader instead of being shown: controls, bidi, halves of surrogate pairs.
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def page(data: Mapping[str, Any], maker: str = "") -> bytes:
    """Return the page for a report's data (JSON's types).

    It names what made it: this very program, or as `maker` says. Raises MalformedError
    (report-data) if something is missing in the data or of another type.
    """
    from jinja2 import TemplateRuntimeError
    from markupsafe import Markup

    template, script, style = _parts()
    text = data_text(data)
    try:
        return template.render(
            data=_visible(data),
            data_text=Markup(text),  # noqa: S704 nothing in it ends the element: see data_text
            digest=sha256(text.encode()).hexdigest(),
            maker=maker or page_maker(),
            script=Markup(script),  # noqa: S704 ours
            style=Markup(style),  # noqa: S704 ours
            script_hash=_source(script),
            style_hash=_source(style),
        ).encode()
    except (*_WRONG_SHAPE, TemplateRuntimeError) as error:
        raise MalformedError(
            f"the report's data is not in its form: {error}", reason="report-data"
        ) from error


@cache
def page_maker() -> str:
    """Return the digest of what makes pages here, 64 hex digits.

    The version says less: what is between two releases has the number of one.
    """
    made_of = sha256()
    for package, name in _MADE_OF:
        raw = get_data(package, name) or b""
        made_of.update(len(raw).to_bytes(8) + raw)
    return made_of.hexdigest()


def maker_of(raw: bytes) -> str:
    """Return what a page says made it; empty if it is of before pages said so."""
    found = _MAKER.search(raw)
    return found[1].decode() if found else ""


def data_text(data: Mapping[str, Any]) -> str:
    """Return the data as it stands in the page: ASCII, and nothing that HTML would act on."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data_of(raw: bytes) -> dict[str, Any]:
    """Return the data of a page; raises MalformedError if it is none."""
    _, found, rest = raw.partition(_DATA_START)
    text, ended, _ = rest.partition(_DATA_END)
    if not found or not ended:
        raise MalformedError(
            "not a report: it has no data of one",
            reason="not-a-report",
            next_step="name a page that 'attestor report --html' wrote",
        )
    data = parse_json(text, "the report's data", MAX_PAGE_BYTES)
    if not isinstance(data, dict) or not str(data.get("format", "")).startswith("attestor-report/"):
        raise MalformedError("not a report: its data is of another kind", reason="not-a-report")
    return data


@cache
def _parts() -> tuple[Template, str, str]:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("appliance.report", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[[Any], object]] = {
        "utc": lambda at: "never" if at is None else utc(at),
        "age": lambda seconds: "never" if seconds is None else age_text(seconds),
        "number": lambda number: f"{number:,}",
        "percent": lambda percent: f"{percent:.1f} %",
        "grouped": lambda text: " ".join(re.findall(".{1,4}", text)),
        "tone": lambda word: _TONES.get(word, "bad"),
        "fingerprint": lambda text: sha256(b64decode(text)).hexdigest(),
        "chart": _chart,
        "cells": _cells,
    }
    environment.filters |= filters
    script, style = (loader.get_source(environment, f"report.{kind}")[0] for kind in ("js", "css"))
    return environment.get_template("report.html"), script, style


def _source(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _visible(value: Any) -> Any:
    """Return a value of JSON's types with all that would steer a reader made visible."""
    if isinstance(value, str):
        return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    if isinstance(value, Mapping):
        return {_visible(name): _visible(one) for name, one in value.items()}
    return [_visible(one) for one in value] if isinstance(value, list | tuple) else value


def _chart(log: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw a log's size over time as steps, and what of it is covered by tiles as an area."""
    points: list[list[int]] = log["growth"]
    if len(points) < 2:
        return None
    points = sorted(points)
    (start, first), (end, last) = points[0], points[-1]
    lowest, span, rise = min(first, last), max(end - start, 1), max(last - min(first, last), 1)

    def place(at: int, size: int) -> str:
        y = _HEIGHT - (size - lowest) * (_HEIGHT - _TOP) / rise
        return f"{(at - start) * _WIDTH / span:.1f},{y:.1f}"

    def steps(points: list[list[int]]) -> list[str]:
        drawn = [place(*points[0])]
        for (_, before), (at, size) in itertools.pairwise(points):
            drawn += [place(at, before), place(at, size)]
        return drawn

    covered = [point for point in points if point[1] <= (log["mirrorSize"] or 0)]
    area: list[str] = []
    if covered:
        line = steps(covered)
        right = line[-1].partition(",")[0]
        area = [f"0.0,{_HEIGHT}", *line, f"{right},{_HEIGHT}"]
    return {
        "line": " ".join(steps(points)),
        "area": " ".join(area),
        "from_time": start,
        "to_time": end,
        "from_size": first,
        "to_size": last,
    }


def _cells(log: Mapping[str, Any]) -> list[dict[str, str]]:
    """Draw which level 0 tiles are here: one cell for so many, fainter if some are missing."""
    counts, per_cell = log["tilesInCells"], log["tilesPerCell"]
    width = _WIDTH / len(counts)
    cells = []
    for number, count in enumerate(counts):
        wanted = min(per_cell, log["nTiles"] - number * per_cell)
        cells.append(
            {
                "x": f"{number * width:.2f}",
                "width": f"{max(width - 1, 1):.2f}",
                "tone": "cell" if count else "none",
                "opacity": f"{min(count / wanted, 1) * 0.8 + 0.2:.2f}" if count else "1",
            }
        )
    return cells
