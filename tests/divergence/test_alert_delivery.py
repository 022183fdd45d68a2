"""Alerts reach every kind of sink; a sink that fails loses none and holds nobody up."""

from __future__ import annotations

import json
import time
from email import message_from_string, policy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appliance.config.configuration import hiding_url, shown_sink
from appliance.jobs.divergence.alarm import raise_alarm
from appliance.policy.alarms import Anomaly, stale_alarm
from appliance.store.lock import writer_lock
from appliance.store.mirror.logs import put_backend
from appliance.value import replaced
from tests.alerts_heard import datagrams, mail_server
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.fetch.hostile_server import HostileServer, Reply, ok, reset, stall, status

HOUR = 3600
SECRET = b"a secret of the webhook"


class Site(MirroredHome):
    """A home with sinks, and a clock that tests turn."""

    now = NOW

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(path, capsys, "connected")
        self.app = replaced(self.app, now=lambda: self.now)

    def configure(self, *sinks: dict[str, Any]) -> None:
        file = self.path.parent / "config.yaml"
        file.write_text(json.dumps({"attestor": {"alerts": {"sinks": list(sinks)}}}))
        self.json("config", "apply", file)

    def alarm(self, origin: str = "log.example") -> None:
        found = stale_alarm(
            Anomaly.STALE_CHECKPOINT,
            origin=origin,
            tree_size=7,
            age=4000,
            threshold=HOUR,
            backend="sim",
            description="no checkpoint for an hour",
        )
        with self.mirror() as mirror, mirror.store.atomic():
            raise_alarm(mirror.store, found, self.now, log=mirror.log)

    def payload(self, number: int = 1) -> Any:
        return self.json("alerts", "show", str(number))["payload"]

    def waiting(self) -> list[Any]:
        found: list[Any] = self.json("alerts", "send", "--dry-run")["waiting"]
        return found


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path / "home", capsys)


def webhook(server: HostileServer, **more: Any) -> dict[str, Any]:
    return {"type": "webhook", "url": f"{server.url}hook", "timeout": "500ms", **more}


def hmac_by_hand(key: bytes, body: bytes) -> str:
    """RFC 2104, word for word."""
    key = key.ljust(64, b"\0")
    inner = sha256(bytes(one ^ 0x36 for one in key) + body).digest()
    return sha256(bytes(one ^ 0x5C for one in key) + inner).hexdigest()


def test_a_webhook_gets_the_payload_its_id_and_its_hmac(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    with HostileServer() as server:
        server.on("/hook", status(202))
        site.configure(webhook(server, secretFile=str(secret)))
        site.alarm()
        (sent,) = site.json("alerts", "send")["delivered"]
        (request,) = server.requests
    payload = site.payload()
    assert json.loads(request.body) == payload
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == payload["id"] == sent["id"]
    assert request.headers["x-attestor-event"] == "rekor.checkpoint.stale"
    assert request.headers["x-attestor-signature"] == f"sha256={hmac_by_hand(SECRET, request.body)}"
    assert site.run("alerts", "send") == (0, "nothing waits\n", "")


def test_a_secret_that_others_can_read_is_not_used(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o644)
    with HostileServer() as server:
        site.configure(webhook(server, secretFile=str(secret)))
        site.alarm()
        error = site.json("alerts", "send", expect=7)
        assert "chmod" in error["message"] + error["next"] or "open to others" in error["message"]
        assert server.requests == []
    assert len(site.waiting()) == 1


def test_a_command_gets_the_payload_on_stdin(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "cat > $0.body; env > $0.env"
    site.configure({"type": "command", "argv": ["/bin/sh", "-c", script, str(out)]})
    site.alarm()
    site.json("alerts", "send")
    assert json.loads((tmp_path / "out.body").read_text()) == site.payload()
    environment = (tmp_path / "out.env").read_text()
    assert "ATTESTOR_SEVERITY=warning\n" in environment
    assert "ATTESTOR_HOME" not in environment


def test_a_command_that_hangs_is_killed_with_all_it_started(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    argv = ["/bin/sh", "-c", f"(sleep 1; touch {mark}) & sleep 60"]
    site.configure({"type": "command", "argv": argv, "timeout": "300ms"})
    site.alarm()
    began = time.monotonic()
    assert "killed" in site.json("alerts", "send", expect=7)["message"]
    assert time.monotonic() - began < 5
    time.sleep(1.2)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [(["/bin/sh", "-c", "echo no room >&2; exit 3"], "exit code 3: no room"),
     (["/nowhere/program"], "No such file")],
)  # fmt: skip
def test_a_command_that_says_no_says_why(site: Site, argv: list[str], expected: str) -> None:
    site.configure({"type": "command", "argv": argv})
    site.alarm()
    assert expected in site.json("alerts", "send", expect=7)["message"]
    assert expected in site.waiting()[0]["lastError"]


def test_a_file_gets_a_line_for_each_alert_even_after_half_a_line(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "alerts.jsonl"
    file.write_text('{"half')
    site.configure({"type": "file", "path": str(file)})
    site.alarm("one.example")
    site.alarm("two.example")
    site.json("alerts", "send")
    half, *lines = file.read_text().split("\n")
    assert half == '{"half'
    assert [json.loads(line) for line in lines[:-1]] == [site.payload(1), site.payload(2)]
    assert lines[-1] == ""


def test_a_file_that_cannot_be_written_is_a_warning_for_later(site: Site, tmp_path: Path) -> None:
    site.configure({"type": "file", "path": str(tmp_path / "none" / "alerts.jsonl")})
    site.alarm()
    site.json("alerts", "send", expect=7)
    (tmp_path / "none").mkdir()
    site.json("alerts", "send", "--all")
    assert site.waiting() == []


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_syslog_gets_an_rfc_5424_message(site: Site, tmp_path: Path, kind: str) -> None:
    with datagrams(tmp_path / "log" if kind == "unix" else None) as (address, listener):
        site.configure({"type": "syslog", "address": address})
        site.alarm()
        site.json("alerts", "send")
        head, _, message = listener.recv(65_536).partition(b"\xef\xbb\xbf")
    assert json.loads(message) == site.payload()
    priority, at, host, name, _, event, nothing = head.decode().split()
    assert (priority, at, name, nothing) == ("<28>1", "2025-10-09T08:53:20Z", "attestor", "-")
    assert (host, event) == ("site.example", "rekor.checkpoint.stale")


def test_mail_says_it_in_the_subject(site: Site) -> None:
    with mail_server() as (url, messages):
        site.configure({"type": "smtp", "url": url, "address": "ops@example.org"})
        site.alarm()
        site.json("alerts", "send")
    message = message_from_string(messages[0], policy=policy.default)
    assert message["Subject"] == "[warning] rekor.checkpoint.stale: log.example"
    assert message["To"] == "ops@example.org"
    payload = site.payload()
    assert message["Message-ID"] == f"<{payload['id']}@site.example>"
    text = message.get_content().replace("\r\n", "\n")
    assert text.startswith("no checkpoint for an hour\n")
    assert json.loads(text.partition("\n\n")[2]) == payload


def test_a_mail_that_nobody_takes_waits(site: Site) -> None:
    with mail_server(refuse=True) as (url, messages):
        site.configure({"type": "smtp", "url": url, "address": "ops@example.org"})
        site.alarm()
        assert "550" in site.json("alerts", "send", expect=7)["message"]
    assert messages == []
    assert len(site.waiting()) == 1


def test_every_sink_gets_it_and_a_failing_one_stops_no_other(site: Site, tmp_path: Path) -> None:
    good = tmp_path / "alerts.jsonl"
    with HostileServer() as server:
        server.on("/hook", status(500))
        site.configure(webhook(server), {"type": "file", "path": str(good)})
        site.alarm()
        site.run("alerts", "send")
    assert len(good.read_text().splitlines()) == 1
    assert [one["sink"] for one in site.waiting()] == [f"webhook {server.url}…"]


def _sick(site: Site, server: HostileServer, minutes: int) -> list[float]:
    """Sync every five minutes while the webhook is sick; how long each took, in seconds."""
    took = []
    for _ in range(minutes // 5):
        site.log.grow(3)
        site.log.write_static(server.directory or Path())
        began = time.monotonic()
        code, _, err = site.run("sync")
        took.append(time.monotonic() - began)
        assert code == 0, err
        site.now += 300
    return took


@pytest.mark.parametrize("sickness", ["fails", "hangs", "answers-500"])
def test_an_hour_of_a_sick_webhook_loses_no_alert_and_delays_no_sync(
    site: Site, tmp_path: Path, sickness: str
) -> None:
    with HostileServer() as server:
        server.directory = tmp_path / "static"
        server.directory.mkdir()
        replies: dict[str, Reply] = {"fails": reset(), "hangs": stall(), "answers-500": status(500)}
        server.on("/hook", replies[sickness])
        with site.mirror() as mirror, mirror.store.atomic():
            put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=server.url)
        quiet = max(_sick(site, server, 15))
        site.configure(webhook(server))
        for number in range(3):
            site.alarm(f"log{number}.example")
        took = _sick(site, server, 60)
        tries = [one for one in server.requests if one.target == "/hook"]
        assert len(site.waiting()) == 3
        assert all(one["lastError"] or one["attempts"] == 0 for one in site.waiting())
        # 30 s, 1, 2, 4, 8, 16 min: at most one try of one alert in each sync.
        assert 3 <= len(tries) <= 12
        assert max(took) < quiet + 0.5 + 1.5, (quiet, took)
        server.on("/hook", ok(b""))
        site.now += HOUR
        before = len(server.requests)
        site.json("alerts", "send")
        arrived = [one.headers["idempotency-key"] for one in server.requests[before:]]
        assert sorted(arrived) == sorted(site.payload(n)["id"] for n in (1, 2, 3))
        assert site.waiting() == []


def test_a_damaged_alert_is_told_and_keeps_no_other_from_its_sink(
    site: Site, tmp_path: Path
) -> None:
    heard = tmp_path / "heard.jsonl"
    site.configure({"type": "file", "path": str(heard)})
    site.alarm()
    site.alarm("other.example")
    with site.mirror() as mirror:
        mirror.store.execute("UPDATE alert SET payload = '{' WHERE number = 1")
    heard.write_text("", "utf-8")
    site.run("alerts", "send")
    site.now += 1
    site.run("alerts", "send")
    [line] = heard.read_text("utf-8").splitlines()
    assert "other.example" in line
    [waits] = site.waiting()
    assert "alert 1 is damaged in the database" in waits["lastError"]


def test_retry_after_is_honoured(site: Site) -> None:
    with HostileServer() as server:
        server.on("/hook", status(503, b"", "Retry-After: 1800"))
        site.configure(webhook(server))
        site.alarm()
        site.run("alerts", "send")
        assert site.waiting()[0]["nextAt"] == "2025-10-09T09:23:20Z"
        site.now += 1799
        assert site.json("alerts", "send")["delivered"] == []
        assert len(server.requests) == 1
        server.on("/hook", ok(b""))
        site.now += 1
        assert len(site.json("alerts", "send")["delivered"]) == 1


def test_a_sink_cannot_ask_for_more_than_an_hour(site: Site) -> None:
    with HostileServer() as server:
        server.on("/hook", status(429, b"", "Retry-After: 80000"))
        site.configure(webhook(server))
        site.alarm()
        site.run("alerts", "send")
        assert site.waiting()[0]["nextAt"] == "2025-10-09T09:53:20Z"


def test_the_secret_in_the_url_of_a_sink_is_never_shown() -> None:
    url = "https://user:pass-word@hooks.example:8443/services/T0KEN-secret?key=s3cret-key"
    said = f"{url}: the server cannot answer now (503); /services/T0KEN-secret?key=s3cret-key"
    for text in (hiding_url(said, url), shown_sink(f"webhook {url}")):
        assert "hooks.example" in text
        assert not any(one in text for one in ("T0KEN", "s3cret", "pass-word"))
    assert hiding_url("nothing", None) == "nothing"
    assert shown_sink("file /var/log/alerts") == "file /var/log/alerts"


def test_what_was_sent_but_not_recorded_comes_again_with_the_same_id(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the answer and the record: the claim runs out, the id is the same."""
    import appliance.jobs.divergence.deliver as job

    with HostileServer() as server:
        server.on("/hook", ok(b""))
        site.configure(webhook(server))
        site.alarm()

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(job, "record_delivered", killed)
            assert site.run("alerts", "send")[0] == 130
        assert site.json("alerts", "send")["delivered"] == [], "claimed: nobody else sends it"
        site.now += 120
        assert len(site.json("alerts", "send")["delivered"]) == 1
        first, second = server.requests
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_a_sink_that_was_taken_out_of_the_configuration_is_named(site: Site) -> None:
    site.configure({"type": "file", "path": "/nowhere/alerts.jsonl"})
    site.alarm()
    site.configure()
    code, out, err = site.run("alerts", "send")
    assert (code, "waits for file /nowhere/alerts.jsonl" in out) == (0, True)
    assert "no longer configured" in err
    site.configure({"type": "file", "path": "/elsewhere/alerts.jsonl"})
    site.alarm("other.example")
    site.json("alerts", "ack", "1", "2", "--dry-run")
    assert len(site.waiting()) == 2
    site.json("alerts", "ack", "1", "2")
    [left] = site.waiting()  # somebody has seen the first; the second has a sink to reach
    assert left["sink"] == "file /elsewhere/alerts.jsonl"


def test_alerts_are_not_delivered_while_another_run_holds_the_lock(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileServer() as server:
        site.configure(webhook(server))
        site.alarm()
        monkeypatch.setattr("appliance.runs.tell.LOCK_SECONDS", 0.0)
        with writer_lock(site.path, holder="a test\n", wait_seconds=0, sleep=time.sleep):
            assert site.run("alerts", "send")[0] == 75
        assert server.requests == []


def test_an_import_delivers_to_files_but_opens_no_connection(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "alerts.jsonl"
    with HostileServer() as server:
        site.configure(webhook(server), {"type": "file", "path": str(file)})
        site.alarm()
        assert site.run("import", tmp_path / "none.tar")[0] == 5
        assert server.n_connections == 0
    assert json.loads(file.read_text()) == site.payload()
    assert [one["sink"].partition(" ")[0] for one in site.waiting()] == ["webhook"]


def test_whom_an_alert_did_not_reach_is_a_warning_at_the_end(site: Site, tmp_path: Path) -> None:
    site.configure({"type": "file", "path": str(tmp_path / "missing" / "alerts.jsonl")})
    site.alarm()
    code, _, err = site.run("import", tmp_path / "none.tar")
    assert code == 5
    assert "Warning: an alert waits for file " in err


def test_a_sync_that_is_switched_off_asks_nobody(site: Site) -> None:
    with HostileServer() as server:
        with site.mirror() as mirror, mirror.store.atomic():
            put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=server.url)
        site.json("config", "set", "rekorSync.enabled", "false")
        code, out, err = site.run("sync")
        assert (code, out, "config set rekorSync.enabled true" in err) == (0, "", True)
        assert server.requests == []
        site.json("config", "set", "rekorSync.enabled", "true")
        assert site.run("sync")[0] == 7
        assert server.requests
