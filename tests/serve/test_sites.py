"""Rules, budgets and proxies, without a server around them."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import ConfigError, StoreError
from appliance.serve.access import AccessRule, Token, parse_tokens
from appliance.serve.access_log import Served
from appliance.serve.answers import Answer, Later, Outcome
from appliance.serve.counts import RequestCounts
from appliance.serve.proxies import is_near, proxies_of
from appliance.serve.requests import Request
from appliance.serve.routes import Routes
from appliance.serve.sites import Site, Sites
from appliance.serve.write_budget import WriteBudget
from appliance.store.line_file import LineFile

PROXY = "10.0.0.5"


def asked(
    method: str = "GET", path: str = "/", peer: str = PROXY, body: bytes = b"", **headers: str
) -> Request:
    lowered = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    return Request(
        method, path, lambda name: lowered.get(name.lower(), ""), lambda _: body, peer, client=peer
    )


def answered(sites: Sites, request: Request) -> Answer:
    outcome = sites.answer(request)
    return outcome.take() if isinstance(outcome, Later) else outcome


def certificate(*names: str) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    now = datetime.now(UTC)
    general: list[x509.GeneralName] = []
    for name in names:
        kind, _, value = name.partition(":")
        if kind == "dns":
            general.append(x509.DNSName(value))
        elif kind == "email":
            general.append(x509.RFC822Name(value))
        else:
            general.append(x509.UniformResourceIdentifier(value))
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 1, now, now + timedelta(1)
    )
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    return builder.sign(key, SHA256())


# ------------------------------------------------------------------ budget


def test_a_budget_slides_and_never_lets_more_through_in_an_hour() -> None:
    now = [1000.0]
    budget = WriteBudget(3, lambda: now[0])
    assert [budget.take() for _ in range(2)] == [0, 0]
    now[0] += 1800
    assert budget.take() == 0
    assert budget.take() == 1800  # when the first two leave the window
    now[0] += 1799
    assert budget.take() == 1
    now[0] += 1
    assert [budget.take() for _ in range(3)] == [0, 0, 1800]


def test_a_slot_that_was_not_needed_is_given_back() -> None:
    budget = WriteBudget(1, lambda: 5.0)
    for _ in range(3):
        assert budget.take() == 0
        budget.give_back()
    assert budget.take() == 0
    assert budget.take() == 3600


def test_what_was_logged_before_the_start_counts() -> None:
    budget = WriteBudget(10, lambda: 5000.0, [(4000, 50), (3599, 7), (10, 2)])
    assert budget.take() == 0
    assert budget.take() == 1


# ------------------------------------------------------------------ tokens


def test_a_tokens_file_names_clients_and_holds_digests_only() -> None:
    digest = sha256(b"secret").hexdigest()
    text = f"# comment\n\nci {digest}\nother {'0' * 64}\n"
    assert parse_tokens(text, "f") == (
        Token("ci", sha256(b"secret").digest()),
        Token("other", bytes(32)),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody"),
        ("# nothing\n", "names nobody"),
        ("ci secret-in-clear\n", "f:1: expected a name"),
        (f"ci {'A' * 64}\n", "f:1: expected a name"),
        (f"ci {'0' * 64}\nci {'1' * 64}\n", "f:2: expected each name once"),
        (f"{'0' * 64}\n", "f:1: expected a name"),
    ],
)
def test_a_tokens_file_that_is_none_is_named_and_not_quoted(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_tokens(text, "f")
    assert said in refused.value.message
    assert "secret-in-clear" not in refused.value.message + refused.value.next_step


# ------------------------------------------------------------------ proxies


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (PROXY, "", PROXY),
        (PROXY, "192.0.2.7", "192.0.2.7"),
        (PROXY, "6.6.6.6, 192.0.2.7", "192.0.2.7"),  # the left one, the client wrote itself
        (PROXY, "6.6.6.6, 192.0.2.7, 10.0.0.9", "192.0.2.7"),  # two of our proxies
        (PROXY, "192.0.2.7, nonsense", PROXY),
        (PROXY, "10.0.0.9", "10.0.0.9"),
        ("192.0.2.1", "127.0.0.1", "192.0.2.1"),  # nobody we trust
        ("::ffff:10.0.0.5", "192.0.2.7", "192.0.2.7"),
        ("", "192.0.2.7", ""),
    ],
)
def test_an_address_is_believed_as_far_as_proxies_of_ours_wrote_it(
    peer: str, forwarded: str, client: str
) -> None:
    proxies = proxies_of(["10.0.0.0/24"], None)
    assert proxies.spoken_for(asked(peer=peer, x_forwarded_for=forwarded)).client == client


def test_without_the_setting_nobody_speaks_for_others() -> None:
    request = asked(peer="127.0.0.1", x_forwarded_for="192.0.2.7")
    assert proxies_of([], None).spoken_for(request).client == "127.0.0.1"


def test_a_certificate_comes_as_rfc_9440_or_as_nginx_has_it() -> None:
    made = certificate("dns:ci.example", "email:ops@example.org", "uri:spiffe://example/ci")
    der, pem = made.public_bytes(Encoding.DER), made.public_bytes(Encoding.PEM)
    digest = f"sha256:{sha256(der).hexdigest()}"
    names = (digest, "dns:ci.example", "email:ops@example.org", "uri:spiffe://example/ci")
    proxies = proxies_of([PROXY], "Client-Cert")
    for text in (f":{b64encode(der).decode()}:", quote(pem)):
        found = proxies.certificate(asked(client_cert=text))
        assert found is not None and found.known_as == names
        assert proxies.certificate(asked(client_cert=text, peer="192.0.2.1")) is None
    assert proxies_of([PROXY], None).certificate(asked(client_cert=text)) is None
    bare = certificate().public_bytes(Encoding.DER)
    found = proxies.certificate(asked(client_cert=f":{b64encode(bare).decode()}:"))
    assert found is not None and found.known_as == (f"sha256:{sha256(bare).hexdigest()}",)


@pytest.mark.parametrize(
    "text", ["", "::", ":AAAA:", ":!:", "%00", "x", "-----BEGIN", "a" * 40_000]
)
def test_what_is_no_certificate_is_nobodys(text: str) -> None:
    assert proxies_of([PROXY], "Client-Cert").certificate(asked(client_cert=text)) is None


def test_near_is_loopback_and_not_through_a_proxy() -> None:
    assert is_near(asked(peer="127.0.0.1"))
    assert is_near(asked(peer="::1"))
    assert not is_near(asked(peer="192.0.2.1"))
    assert not is_near(asked(peer="127.0.0.1", x_forwarded_for="127.0.0.1"))
    assert not is_near(asked(peer="127.0.0.1", via="1.1 proxy"))


# ------------------------------------------------------------------ sites


def sites_of(*sites: Site, told: list[Served] | None = None) -> Sites:
    return Sites(
        sites,
        Routes(),
        proxies=proxies_of([PROXY], "Client-Cert"),
        counts=RequestCounts(),
        tell=(told if told is not None else []).append,
    )


def named(name: str) -> Answer:
    return Answer(200, name.encode())


def test_the_closest_place_is_asked() -> None:
    places = [(None, ""), (None, "/a"), (None, "/a/b"), ("h", ""), ("h", "/a")]
    sites = sites_of(
        *(
            Site(f"{host}{path}", lambda _, n=f"{host}{path}": named(n), host, path)  # type: ignore[misc]
            for host, path in places
        )
    )
    for host, path, expected in [
        ("x", "/", "None"),
        ("x", "/a/x", "None/a"),
        ("x", "/ab", "None"),
        ("x", "/a/b/c", "None/a/b"),
        ("H:80", "/b", "h"),
        ("h", "/a/b", "h/a"),
        ("", "/a", "None/a"),
    ]:
        assert answered(sites, asked(path=path, host=host)).body.decode() == expected


def test_a_certificate_that_is_known_writes_and_another_does_not() -> None:
    known = certificate("dns:ci.example")
    rule = AccessRule((), ("dns:ci.example",))
    told: list[Served] = []
    sites = sites_of(Site("build", lambda _: named("ok"), rule=rule), told=told)
    for made, peer, status in [
        (known, PROXY, 200),
        (certificate("dns:ci.example.evil"), PROXY, 403),
        (certificate(), PROXY, 403),
        (known, "192.0.2.1", 403),  # written by somebody who is no proxy of ours
    ]:
        text = f":{b64encode(made.public_bytes(Encoding.DER)).decode()}:"
        request = asked("POST", peer=peer, client_cert=text, host="x")
        assert answered(sites, request).status == status
    assert answered(sites, asked("POST")).status == 403
    assert answered(sites, asked("GET")).status == 200
    assert [one.caller for one in told[:2]] == ["dns:ci.example", ""]


def bug(_: object) -> Answer:
    raise RuntimeError("a bug")


def to_come(make: Callable[[Future[None]], Answer]) -> Callable[[Request], Later]:
    return lambda _: Later(Future(), make, 1.0)


@pytest.mark.parametrize("log", [bug, to_come(bug)])
def test_a_bug_of_a_log_is_counted_and_its_slot_given_back(
    log: Callable[[Request], Outcome],
) -> None:
    told: list[Served] = []
    budget = WriteBudget(1, lambda: 0.0)
    sites = sites_of(Site("build", log, budget=budget, budgeted_path="/"), told=told)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            answered(sites, asked("POST"))
    assert [(one.log, one.status) for one in told] == [("build", 500)] * 2


def test_an_answer_to_come_is_told_when_it_is_there_and_costs_a_slot_if_it_was_logged() -> None:
    told: list[Served] = []
    budget = WriteBudget(2, lambda: 0.0)
    answers = [Answer(409, b"there"), Answer(201, b"logged"), Answer(201, b"logged")]
    site = Site("build", to_come(lambda _: answers.pop(0)), budget=budget, budgeted_path="/")
    sites = sites_of(site, told=told)
    first = sites.answer(asked("POST"))
    assert isinstance(first, Later) and told == []
    first.take()
    assert [(one.status, one.size) for one in told] == [(409, 5)]
    statuses = [answered(sites, asked("POST")).status for _ in range(3)]
    assert statuses == [201, 201, 429]
    assert [one.status for one in told] == [409, *statuses]


# ------------------------------------------------------------------ access log


def test_a_line_is_a_line_whatever_was_sent() -> None:
    hostile = '/a\r\n{"log":"x"}\x00\x1b[2J\x7f\u2028\udcff"' + "b" * 5000
    line = Served(0.5, "build", "::1", "", "GE\nT", hostile, 404, 3, 17).line
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert line[:-1].isascii() and line[:-1].decode().isprintable()
    assert line.startswith(b'{"at":"1970-01-01T00:00:00.500Z","log":"build","client":"::1"')
    assert len(line) < 1500


def test_a_file_is_taken_away_and_opened_anew(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "access.log"
    lines = LineFile(path, said.append)
    lines.write(b"one\n")
    path.rename(tmp_path / "access.log.1")
    lines.write(b"two\n")
    lines.reopen()
    lines.write(b"three\n")
    assert (tmp_path / "access.log.1").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"
    path.unlink()
    path.mkdir()
    lines.reopen()
    assert len(said) == 1 and "the old file is written on" in said[0]
    lines.write(b"four\n")
    lines.close()
    assert len(said) == 1


def test_a_file_that_cannot_be_opened_or_written_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        LineFile(tmp_path / "nowhere" / "access.log", lambda _: None)
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    said: list[str] = []
    lines = LineFile(Path("/dev/full"), said.append)
    for _ in range(3):
        lines.write(b"x\n")
    assert len(said) == 1 and os.strerror(28) in said[0]
