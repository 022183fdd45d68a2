"""Exact reads from a stream of chunks, with the position for messages.

The chunks are plain tar bytes, however they were wrapped. Holds one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from bundles.errors import FormatError


class Cursor:
    """A place in the archive, moving forward only."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._chunk = b""
        self._used = 0  # bytes of the chunk that are consumed
        self.position = 0  # bytes of the archive that are consumed

    def pieces(self, n_bytes: int, what: str) -> Iterator[bytes]:
        """Yield the next `n_bytes` as they come, at most a chunk at a time.

        Raises FormatError, naming `what` was being read, if there are fewer.
        """
        while n_bytes:
            piece = self._chunk[self._used : self._used + n_bytes]
            self._used += len(piece)
            self.position += len(piece)
            n_bytes -= len(piece)
            if piece:
                yield piece
            else:
                self._refill(n_bytes, what)

    def take(self, n_bytes: int, what: str) -> bytes:
        """Return the next `n_bytes`. Raises FormatError as `pieces` does."""
        stop = self._used + n_bytes
        if stop <= len(self._chunk):  # as nearly always: no need to gather pieces
            data = self._chunk[self._used : stop]
            self._used = stop
            self.position += n_bytes
            return data
        return b"".join(self.pieces(n_bytes, what))

    def take_zeros(self, n_bytes: int, what: str) -> None:
        """Pass over `n_bytes` zero bytes. Raises FormatError if they are not zero."""
        if not n_bytes:
            return
        start = self.position
        if self.take(n_bytes, what).strip(b"\0"):
            raise FormatError(f"{what}: expected {n_bytes} zero bytes at byte {start}, got others")

    def end(self) -> None:
        """Check that nothing follows. Raises FormatError if something does."""
        if self._used < len(self._chunk) or any(self._chunks):
            raise FormatError(
                f"expected the end of the archive at byte {self.position}, but more follows",
                reason="trailing-data",
            )

    def _refill(self, n_bytes: int, what: str) -> None:
        self._chunk, self._used = next(self._chunks, b""), 0
        if not self._chunk:
            raise FormatError(
                f"{what}: the archive ends at byte {self.position}, expected {n_bytes} bytes more",
                reason="truncated",
                next_step="copy the file to the medium again, and compare its SHA-256",
            )
