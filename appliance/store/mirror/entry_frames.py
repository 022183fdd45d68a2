"""Entry bundles at rest and in transfer bundles: one zstd frame each."""

from __future__ import annotations

from typing import Final

from appliance.errors import InflationError, MalformedError
from appliance.tlog.entries import MAX_BUNDLE_BYTES

ZSTD_LEVEL: Final = 3  # higher gains nothing on entries


def compress_bundle(data: bytes) -> bytes:
    """Compress an entry bundle for the store: one zstd frame with its size and a checksum."""
    import zstandard

    compressor = zstandard.ZstdCompressor(
        level=ZSTD_LEVEL, write_checksum=True, write_content_size=True
    )
    return compressor.compress(data)


def decompress_bundle(data: bytes) -> bytes:
    """Decompress an entry bundle; raises MalformedError or InflationError, whatever the bytes."""
    import zstandard

    try:
        parameters = zstandard.get_frame_parameters(data)
        # The library trusts a declared size over any limit it is given, so look first.
        if not 0 <= parameters.content_size <= MAX_BUNDLE_BYTES:
            raise InflationError(
                f"an entry bundle has at most {MAX_BUNDLE_BYTES} bytes, "
                f"this one declares {parameters.content_size}"
            )
        if parameters.content_size == 0:  # which the library would believe without looking
            raise MalformedError("an entry bundle is not empty")
        whole = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedError(f"entry bundle is not one zstd frame: {error}") from error
    if len(whole) != parameters.content_size:
        raise MalformedError("entry bundle is not as long as its zstd frame says")
    return whole
