"""Every exception this package raises on purpose (bundles/README.md, section 7).

Nothing else escapes a reading function for any bytes whatever, but the errors
of the injected callables and the OSError of the file itself.
"""

from __future__ import annotations

from typing import ClassVar


class BundleError(Exception):
    """A transfer bundle is not what it must be. Never raised bare: raise a family.

    `message` says what, where, what was expected and what came instead;
    `reason` is a stable kebab-case word; `next_step` says what to do.
    """

    default_reason: ClassVar[str] = "bundle"

    def __init__(self, message: str, *, reason: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.next_step = next_step


class FormatError(BundleError):
    """The bytes do not have the one form that is allowed."""

    default_reason = "malformed"


class UnsupportedError(FormatError):
    """What this version does not read: a later format, an option of a wrapping, too much of it.

    It says nothing against the bytes: nothing was judged.
    """

    default_reason = "limit"


class ContentError(BundleError):
    """The form is right, but a digest, a size or a count is not the one promised."""

    default_reason = "digest"
