"""What is stood in for while foreign modules are imported works as ever once somebody asks."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.imports import _cleandoc

ROOT = Path(__file__).resolve().parent.parent


OURS = "from appliance.imports import claim_process\nclaim_process()\n"


def run(code: str, *, first: str = OURS) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys\n{first}{code}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@given(st.text(alphabet="ab \t\n\f\v\r\xa0", max_size=60))
def test_a_docstring_loses_the_same_indentation(text: str) -> None:
    assert _cleandoc(text) == inspect.cleandoc(text)


def test_click_is_imported_without_what_reads_source_code() -> None:
    said = run(
        "from appliance.imports import import_click\n"
        "import_click()\n"
        "import click, click.core, click.types\n"
        "unwanted = {'inspect', 'uuid', 'urllib.parse', 'platform'}\n"
        "print(*unwanted & set(sys.modules))\n"
        "import pathlib\n"
        "number = '12345678-1234-5678-1234-567812345678'\n"
        "assert str(click.UUID.convert(number, None, None)) == number\n"
        "assert click.core.inspect.isgeneratorfunction(len) is False\n"
        "assert pathlib.Path('/a b').as_uri() == 'file:///a%20b'\n"
        "import inspect, uuid\n"
        "assert isinstance(click.UUID.convert(number, None, None), uuid.UUID)\n"
        "assert inspect.cleandoc.__module__ == 'inspect'\n"
    )
    assert said == "\n"


def test_key_formats_are_imported_without_those_nobody_asks_for() -> None:
    said = run(
        "from appliance.imports import import_key_formats\n"
        "import_key_formats()\n"
        "from cryptography.hazmat.primitives import hashes, serialization\n"
        "from cryptography.hazmat.primitives.asymmetric import ec, rsa\n"
        "key = ec.generate_private_key(ec.SECP256R1())\n"
        "key.public_key().verify(key.sign(b'1', ec.ECDSA(hashes.SHA256())), b'1',"
        " ec.ECDSA(hashes.SHA256()))\n"
        "heavy = ('dataclasses', 'inspect', 'random', 'cryptography.hazmat.primitives.ciphers')\n"
        "print(*[name for name in heavy if name in sys.modules])\n"
        "form = key.public_key().public_bytes(serialization.Encoding.OpenSSH,"
        " serialization.PublicFormat.OpenSSH)\n"
        "assert serialization.load_ssh_public_key(form) == key.public_key()\n"
        "from cryptography.hazmat.primitives.serialization import SSHCertificate\n"
        "assert SSHCertificate.__module__.endswith('.ssh')\n"
        "assert not hasattr(serialization, 'load_nothing')\n"
        "ec.ECDSA(hashes.SHA256(), deterministic_signing=True)\n"
        "from cryptography.hazmat.backends import default_backend\n"
        "assert type(default_backend()).__name__ == 'Backend'\n"
        "numbers = rsa.generate_private_key(65537, 2048).private_numbers()\n"
        "n, e, d = numbers.public_numbers.n, 65537, numbers.d\n"
        "assert set(rsa.rsa_recover_prime_factors(n, e, d)) == {numbers.p, numbers.q}\n"
    )
    assert said == "\n"


@pytest.mark.parametrize("name", ["import_click", "import_key_formats"])
def test_beside_other_threads_nothing_is_stood_in_for(name: str) -> None:
    said = run(
        "import threading\n"
        f"from appliance.imports import {name} as wanted\n"
        "over = threading.Event(); threading.Thread(target=over.wait).start()\n"
        "wanted()\n"
        "over.set()\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "import click\n"
        "print('inspect' in sys.modules, 'uuid' in sys.modules)\n"
    )
    assert said == "True True\n"


def test_who_has_imported_them_already_keeps_them() -> None:
    run(
        "import inspect, uuid, random\n"
        "from appliance.imports import import_click, import_key_formats\n"
        "import_click()\n"
        "import_key_formats()\n"
        "import click\n"
        "assert click.core.inspect is inspect is sys.modules['inspect']\n"
        "assert sys.modules['random'] is random\n"
    )


def test_a_newer_version_that_needs_at_once_what_is_stood_in_for_is_imported_whole() -> None:
    said = run(
        "import appliance.imports as imports\n"
        "class Missing(imports._PassedOn):\n"
        "    def __getattr__(self, name):\n"
        "        raise ImportError(name)\n"
        "imports._PassedOn = Missing\n"
        "imports.import_key_formats()\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "print(serialization.SSHCertificate.__module__, '__getattr__' in vars(serialization))\n"
    )
    assert said == "cryptography.hazmat.primitives.serialization.ssh False\n"


def test_nothing_is_stood_in_for_in_a_process_that_is_not_ours() -> None:
    said = run(
        "import appliance\n"
        "from appliance.tlog.note_keys import load_spki\n"
        "from appliance.rekor.x509_certificate import load_certificate\n"
        "for load in (load_spki, lambda der: load_certificate(der, 'a certificate')):\n"
        "    try: load(b'')\n"
        "    except Exception as error: assert 'expected' in str(error) or str(error)\n"
        "from cryptography.hazmat.primitives import serialization\n"
        "print('cryptography.hazmat.primitives.serialization.ssh' in sys.modules,"
        " 'email.utils' in sys.modules, '__getattr__' in vars(serialization))\n",
        first="",
    )
    assert said == "True True False\n"
