"""What the tests of the air gap share."""

from tests.transfer.sites import sites

__all__ = ["sites"]
