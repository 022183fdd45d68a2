"""The configuration of rekor-monitor, read as it is and written so that it loads there.

The Go program of the Sigstore project: each of its monitored values becomes one watch.
What has no counterpart here is named with the reason, and is no error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from appliance.config.strict_yaml import Mapping as YamlMapping
from appliance.config.strict_yaml import Node, parse_yaml
from appliance.config.strict_yaml import Sequence as YamlSequence
from appliance.errors import ConfigError
from appliance.jobs.find.criteria import Criteria, criteria_data
from appliance.policy.re2 import quoted, translate
from appliance.value import frozen, replaced

_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_ANY_ISSUER: Final = "(?s)."  # there an identity without an issuer never matches
_EXTENSIONS: Final = {  # of fulcioExtensions
    "issuer": (1, 8),
    "github-workflow-trigger": (2,),
    "github-workflow-sha": (3,),
    "github-workflow-name": (4,),
    "github-workflow-repository": (5,),
    "github-workflow-ref": (6,),
    "build-signer-uri": (9,),
    "build-signer-digest": (10,),
    "runner-environment": (11,),
    "source-repository-uri": (12,),
    "source-repository-digest": (13,),
    "source-repository-ref": (14,),
    "source-repository-identifier": (15,),
    "source-repository-owner-uri": (16,),
    "source-repository-owner-identifier": (17,),
    "build-config-uri": (18,),
    "build-config-digest": (19,),
    "build-trigger": (20,),
    "run-invocation-uri": (21,),
    "source-repository-visibility-at-signing": (22,),
}
_AUTHORITIES: Final = ("caRootsFile", "caIntermediatesFile")
_NOT_TAKEN: Final = {
    "endIndex": "a watch goes on with the log",
    "logInfoFile": "what was compared is in the store",
    "identityMetadataFile": "what was compared is in the store",
    "githubIssue": "nothing here opens issues; a sink of type command can",
    "emailNotificationMailgun": "use a sink of type smtp or webhook",
    "emailNotificationSendGrid": "use a sink of type smtp or webhook",
    "ctShards": "certificate transparency logs are not mirrored here",
    "outputIdentitiesFormat": "a sink of type file writes JSON lines",
}


@frozen
class Wanted:
    """One watch that a configuration asks for."""

    name: str  # the same for the same conditions
    criteria: Criteria


@frozen
class Imported:
    """What a configuration of rekor-monitor asks for."""

    watches: tuple[Wanted, ...]
    begins: str  # start, or the index of an entry
    notes: tuple[str, ...]  # what was not taken, or means something else there
    ca_roots: str | None = None  # a file's name, as it stands there
    ca_intermediates: str | None = None

    def with_authorities(self, roots: tuple[bytes, ...], more: tuple[bytes, ...]) -> Imported:
        """Return the same with who may vouch for the names that are watched for; DER."""
        criteria = [
            replaced(one.criteria, ca_roots=roots, ca_intermediates=more) for one in self.watches
        ]
        watches = tuple(Wanted(name_of(one), one) for one in criteria)
        return replaced(self, watches=watches)


def read_configuration_file(text: str, file_name: str) -> Imported:
    """Read a configuration; raises ConfigError, with the line, for what cannot be read."""
    notes: list[str] = []
    root = _mapping(parse_yaml(text, file_name), file_name, "the file")
    values = _mapping(root.entries.get("monitoredValues"), file_name, "monitoredValues")
    wanted = [
        *_identities(values, file_name),
        *_subjects(values, file_name),
        *_fingerprints(values, file_name, notes),
        *_claims(values, file_name, notes),
    ]
    known = {"certIdentities", "subjects", "fingerprints", "oidMatchers"}
    notes += [f"monitoredValues.{one}: unknown" for one in values.entries.keys() - known]
    begins, files = "start", dict[str, str | None].fromkeys(_AUTHORITIES)
    for name, node in root.entries.items():
        if name == "startIndex":
            begins = _text(node, file_name, name)
            if not re.fullmatch("[0-9]{1,12}", begins):
                raise _bad(file_name, node, "startIndex: expected the index of an entry")
        elif name == "outputIdentities":
            sink = [{"type": "file", "path": _text(node, file_name, name)}]
            notes.append(f"{name}: {_sink(sink)}")
        elif name == "emailNotificationSMTP":
            notes.append(f"{name}: {_smtp(_mapping(node, file_name, name), file_name)}")
        elif name in _AUTHORITIES:
            files[name] = _text(node, file_name, name) or None
        elif name in _NOT_TAKEN:
            notes.append(f"{name}: not taken, {_NOT_TAKEN[name]}")
        elif name != "monitoredValues":
            notes.append(f"{name}: not taken, rekor-monitor does not know it")
    if not wanted:
        raise ConfigError(
            f"{file_name}: monitors nothing that can be watched for here"
            + "".join(f"; {one}" for one in notes),
            reason="nothing-to-watch",
            next_step="it needs monitoredValues, as rekor-monitor's README shows",
        )
    roots, intermediates = (files[name] for name in _AUTHORITIES)
    if intermediates is not None and roots is None:
        raise ConfigError(
            f"{file_name}: caIntermediatesFile is set and caRootsFile is not, as rekor-monitor"
            " says",
            reason="bad-value",
        )
    watches = {one: Wanted(name_of(one), one) for one in wanted}
    return Imported(tuple(watches.values()), begins, tuple(notes), roots, intermediates)


def name_of(criteria: Criteria) -> str:
    """Name a watch by what it watches for."""
    data = json.dumps(criteria_data(criteria), sort_keys=True).encode()
    kind = "identity"
    if criteria.fingerprints:
        kind = "fingerprint"
    elif criteria.claims or criteria.issuers:
        kind = "claim"
    return f"{kind}-{sha256(data).hexdigest()[:8]}"


def _identities(values: YamlMapping, file: str) -> Iterator[Criteria]:
    for node in _items(values.entries.get("certIdentities"), file, "certIdentities"):
        one = _mapping(node, file, "certIdentities")
        subject = one.entries.get("certSubject")
        if subject is None:
            raise _bad(file, node, "certIdentities: expected certSubject")
        issuers = [
            _pattern(at, file, "issuers")
            for at in _items(one.entries.get("issuers"), file, "issuers")
        ]
        yield Criteria(
            identity_patterns=(_pattern(subject, file, "certSubject"),),
            issuer_patterns=tuple(issuers) or (_ANY_ISSUER,),
        )


def _subjects(values: YamlMapping, file: str) -> Iterator[Criteria]:
    for node in _items(values.entries.get("subjects"), file, "subjects"):
        yield Criteria(identity_patterns=(_pattern(node, file, "subjects"),))


def _fingerprints(values: YamlMapping, file: str, notes: list[str]) -> Iterator[Criteria]:
    for node in _items(values.entries.get("fingerprints"), file, "fingerprints"):
        text = _text(node, file, "fingerprints")
        digits = text.replace(":", "")
        if not re.fullmatch("[0-9A-Fa-f]{64}", digits):
            notes.append(
                f"fingerprint {text[:80]!r}: not taken, it is no SHA-256 of a key or certificate"
                " (keys of PGP and SSH are not read here)"
            )
            continue
        if digits != digits.lower() or digits != text:
            notes.append(
                f"fingerprint {text}: taken in any case; rekor-monitor finds only lower case"
            )
        yield Criteria(fingerprints=(bytes.fromhex(digits),))


def _claims(values: YamlMapping, file: str, notes: list[str]) -> Iterator[Criteria]:
    matchers = _mapping(values.entries.get("oidMatchers"), file, "oidMatchers")
    found: dict[str, tuple[str, ...]] = {}  # as there, the last of an OID holds
    for name in ("oidExtensions", "fulcioExtensions", "customExtensions"):
        for oid, texts in _extensions(matchers.entries.get(name), file, name):
            if found.get(oid, texts) != texts:
                notes.append(f"{oid}: only its last list of values holds, as in rekor-monitor")
            found[oid] = texts
    for oid, texts in found.items():
        number = oid.removeprefix(_FULCIO)
        if number == oid or not re.fullmatch("[1-9][0-9]?", number):
            notes.append(f"{oid}: not taken, only claims of Fulcio are read here")
        elif number in ("1", "8"):
            yield Criteria(issuers=texts)
        else:
            yield Criteria(claims=tuple((int(number), text) for text in texts))


def _extensions(node: Node | None, file: str, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if name == "fulcioExtensions":
        for key, values in _mapping(node, file, name).entries.items():
            if key not in _EXTENSIONS:
                raise _bad(file, values, f"{name}: unknown extension {key}")
            for number in _EXTENSIONS[key]:
                yield f"{_FULCIO}{number}", _texts(values, file, key)
        return
    for item in _items(node, file, name):
        one = _mapping(item, file, name)
        oid = one.entries.get("objectIdentifier")
        if isinstance(oid, YamlSequence):
            dotted = ".".join(_text(at, file, "objectIdentifier") for at in oid.items)
        elif oid is not None:
            dotted = _text(oid, file, "objectIdentifier")
        else:
            raise _bad(file, item, f"{name}: expected objectIdentifier")
        yield dotted, _texts(one.entries.get("extensionValues"), file, "extensionValues")


def _sink(sinks: Sequence[Mapping[str, Any]]) -> str:
    return f"add a sink: attestor config set alerts.sinks '{json.dumps(sinks)}'"


def _smtp(node: YamlMapping, file: str) -> str:
    host = node.entries.get("SMTPHostURL")
    to = node.entries.get("recipientEmailAddress")
    if host is None or to is None:
        return "not taken, it needs SMTPHostURL and recipientEmailAddress"
    url = _text(host, file, "SMTPHostURL")
    url = url if "://" in url else f"smtps://{url}"
    sink = {"type": "smtp", "url": url, "address": _text(to, file, "recipientEmailAddress")}
    return f"{_sink([sink])}; its password is not copied, see secretFile"


def _mapping(node: Node | None, file: str, what: str) -> YamlMapping:
    if node is None:
        return YamlMapping({}, {}, 1)
    if isinstance(node, YamlMapping):
        return node
    if not isinstance(node, YamlSequence) and node.value is None:
        return YamlMapping({}, {}, node.line)
    raise _bad(file, node, f"{what}: expected a mapping")


def _items(node: Node | None, file: str, what: str) -> tuple[Node, ...]:
    if node is None:
        return ()
    if isinstance(node, YamlSequence):
        return tuple(node.items)
    if not isinstance(node, YamlMapping) and node.value is None:
        return ()
    raise _bad(file, node, f"{what}: expected a list")


def _texts(node: Node | None, file: str, what: str) -> tuple[str, ...]:
    found = tuple(_text(one, file, what) for one in _items(node, file, what))
    if not found or "" in found:
        raise ConfigError(
            f"{file}: {what}: expected a list of values that are not empty", reason="bad-value"
        )
    return found


def _text(node: Node, file: str, what: str) -> str:
    """Return a scalar as text, digits included."""
    if isinstance(node, YamlMapping | YamlSequence) or isinstance(node.value, bool | None):
        raise _bad(file, node, f"{what}: expected a text")
    return str(node.value)


def _pattern(node: Node, file: str, what: str) -> str:
    text = _text(node, file, what)
    try:
        translate(text)
    except ConfigError as error:
        raise ConfigError(
            f"{file}:{node.line}: {what}: {error.message}",
            reason=error.reason,
            next_step=error.next_step,
        ) from error
    if not text:
        raise _bad(file, node, f"{what}: expected a pattern that is not empty")
    return text


def _bad(file: str, node: Node, message: str) -> ConfigError:
    return ConfigError(f"{file}:{node.line}: {message}", reason="bad-value")


# --- the other way


@frozen
class Exported:
    """A configuration for rekor-monitor."""

    text: str  # YAML
    left_out: tuple[str, ...]  # watches that it cannot have, and why


def write_configuration(watches: Sequence[tuple[str, Criteria]]) -> Exported:
    """Write watches, by name and conditions, as a configuration that rekor-monitor loads."""
    identities: list[dict[str, Any]] = []
    subjects: list[str] = []
    fingerprints: list[str] = []
    claims: dict[str, list[str]] = {}
    left_out = []
    for name, named in watches:
        if named.ca_roots:
            left_out.append(f"{name}: without its authorities, which caRootsFile names there")
        one = replaced(named, ca_roots=(), ca_intermediates=())
        names = [*one.identity_patterns]
        names += [f"^{quoted(text)}$" for text in one.identities]
        names += [f"^{quoted(text)}" for text in one.prefixes]
        issuers = [*one.issuer_patterns, *(f"^{quoted(text)}$" for text in one.issuers)]
        kinds = [bool(names), bool(one.fingerprints), bool(one.claims)]
        alone = Criteria(issuers=one.issuers, pattern_seconds=one.pattern_seconds)
        if one == alone and one.issuers:
            for number in (1, 8):
                claims.setdefault(f"{_FULCIO}{number}", []).extend(one.issuers)
        elif (
            sum(kinds) != 1
            or one.digests
            or one.commits
            or one.kinds
            or one.claim_patterns
            or len({number for number, _ in one.claims}) > 1
            or (issuers and not names)
        ):
            left_out.append(f"{name}: rekor-monitor cannot watch for these conditions together")
        elif names and issuers:
            listed = [] if issuers == [_ANY_ISSUER] else issuers
            identities += [{"certSubject": text, "issuers": listed} for text in names]
        elif names:
            subjects += names
        else:
            fingerprints += [digest.hex() for digest in one.fingerprints]
            for number, text in one.claims:
                claims.setdefault(f"{_FULCIO}{number}", []).append(text)
    lines = ["monitoredValues:"]
    lines += _listed("certIdentities", identities)
    lines += _listed("subjects", subjects)
    lines += _listed("fingerprints", fingerprints)
    if claims:
        lines.append("  oidMatchers:")
        custom = [
            {"objectIdentifier": oid, "extensionValues": list(dict.fromkeys(texts))}
            for oid, texts in claims.items()
        ]
        lines += [f"  {line}" for line in _listed("customExtensions", custom)]
    return Exported("\n".join(lines) + "\n", tuple(left_out))


def _listed(name: str, items: Sequence[Any]) -> list[str]:
    """Write a list; JSON is YAML."""
    if not items:
        return []
    return [f"  {name}:", *(f"    - {json.dumps(one)}" for one in items)]
