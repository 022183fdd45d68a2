"""What all tests share: properties may take as long as a busy machine makes them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

settings.register_profile("attestor", deadline=None)
# For scripts/mutate, which asks whether a test fails and not for the smallest example.
settings.register_profile(
    "unshrunk", deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
settings.load_profile("attestor")

# What is undecided without google-re2 is decided with it: only tests/interop has it.
sys.modules["re2"] = None  # type: ignore[assignment]

_numbers = itertools.count()


@pytest.fixture(scope="session")
def runtime_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture(autouse=True, scope="module")
def runtime_directory_of_module(runtime_base: Path) -> Iterator[None]:
    """What a module's own fixtures sign is remembered apart too, and never on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(runtime_base / str(next(_numbers))))
        yield


@pytest.fixture(autouse=True)
def runtime_directory(runtime_base: Path) -> Iterator[Path]:
    """Each test is a machine of its own: what it remembers ends with it."""
    place = runtime_base / str(next(_numbers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNTIME_DIRECTORY", str(place))
        yield place
