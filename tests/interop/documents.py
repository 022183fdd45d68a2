"""What a document shows in its code blocks, to be run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    """Return the code blocks of a document in a language, in order."""
    text = (ROOT / document).read_text()
    return re.findall(rf"(?m)^```{language}\n(.*?)^```", text, re.DOTALL)


def adapted(text: str, replaced: Mapping[str, str]) -> str:
    """Put this machine's ports and paths where a document has others; each has to stand there."""
    for shown, here in replaced.items():
        assert shown in text, f"the document does not have {shown!r}"
        text = text.replace(shown, here)
    return text
