"""What the documents under docs/ show of the program, made from the program itself (by cog).

`scripts/docs` writes it into the documents, and tests/test_docs.py holds them to it.
"""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import click

from appliance import errors
from appliance.cli.main import cli
from appliance.config.formatting import format_value
from appliance.config.keys import ItemList, Setting, TextList
from appliance.config.kinds import MAX_COUNT
from appliance.config.schema import SECTIONS, SETTINGS, default_of
from appliance.errors import ApplianceError
from appliance.report.metric_families import FAMILIES
from appliance.runs.exit_codes import EXIT_CODES, OTHER_CODES, WORST_FIRST, exit_code
from appliance.store.schema import MIGRATIONS, migration_sql

HELP_COLUMNS = 80


# Exit codes and commands: docs/commands.md.


def exit_code_table() -> str:
    """Return the table of exit codes in Markdown."""
    meanings = dict(OTHER_CODES) | dict(EXIT_CODES.values())
    return _table(("code", "meaning"), ((code, meanings[code]) for code in sorted(meanings)))


def exit_code_order() -> str:
    """Return the sentence that says which code a run with several outcomes ends with."""
    order = ", ".join(map(str, WORST_FIRST))
    return f"\nA run with several outcomes ends with the worst, in this order: {order}.\n"


def every_command(
    group: click.Group = cli, words: tuple[str, ...] = ("attestor",)
) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with the words that call it."""
    for name, command in _members(group):
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield " ".join((*words, name)), command
            yield from every_command(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def _members(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"{name} is listed and not there")
        yield name, command


@cache
def help_of(words: str, command: click.Command) -> str:
    """Return a command's help as 80 columns show it."""
    # The names that the root command gives its subcommands: click remembers the first it sees.
    names = cli.context_settings["help_option_names"]
    context = click.Context(
        command, info_name=words, max_content_width=HELP_COLUMNS, help_option_names=names
    )
    context.terminal_width = HELP_COLUMNS
    return command.get_help(context)


def command_contents() -> str:
    """Return one line for each command or group, with links to what is below."""
    return _table(("command", "what it does"), _command_rows())


def _command_rows() -> Iterator[tuple[str, str]]:
    for name, command in _members(cli):
        first = command.get_short_help_str(limit=200)
        links = _link(f"attestor {name}", name)
        if isinstance(command, click.Group):
            below = [_link(f"attestor {name} {word}", word) for word, _ in _members(command)]
            links = f"{name} {', '.join(below)}"
        yield links, first


def _link(words: str, text: str) -> str:
    return f"[{text}](#{words.replace(' ', '-')})"


def command_reference() -> str:
    """Return the help of the program and of every command in Markdown."""
    shown = [("attestor", cli), *every_command()]
    parts = [
        f"### {words}\n\n```text\n{help_of(words, command)}\n```\n" for words, command in shown
    ]
    return "\n" + "\n".join(parts) + "\n"


# Settings: docs/configuration.md.


def settings_reference() -> str:
    """Return every setting with its kind, its default and one sentence, section by section."""
    parts = []
    for section, title in SECTIONS.items():
        below = {n: one for n, one in SETTINGS.items() if n.startswith(f"{section}.")}
        rows = ((f"`{n}`", _kind(one), _default(n), one.comment) for n, one in below.items())
        parts.append(f"### {section}\n\n{title}.\n\n")
        parts.append(_table(("setting", "value", "default", "meaning"), rows))
        for name, one in below.items():
            if isinstance(one, ItemList):
                parts.append(f"\nAn item of `{name}`:\n\n")
                parts.append(_table(("field", "value", "default", "meaning"), _fields(one)))
        parts.append("\n")
    return "\n" + "".join(parts)


def _fields(setting: ItemList) -> Iterator[tuple[str, str, str, str]]:
    for name, field in setting.fields.items():
        default = "" if field.default in (None, []) else f"`{field.default}`".lower()
        yield f"`{name}`", _kind(field), default, field.comment


def _kind(setting: Setting) -> str:
    if isinstance(setting, ItemList):
        return "a list of items, see below"
    if isinstance(setting, TextList):
        return f"a list; each {setting.kind.expected}"
    # What is spelled how stands above the tables; the greatest number there is bounds nothing.
    expected = setting.kind.expected.partition(" such as ")[0].removesuffix(f" to {MAX_COUNT}")
    return f"{expected}, or {setting.absent}" if setting.absent else expected


def _default(name: str) -> str:
    default, isolated = default_of(name, "connected"), default_of(name, "isolated")
    if isinstance(SETTINGS[name], ItemList) and default:
        return "see `attestor config example`"
    text = f"`{format_value(name, default)}`"
    if isolated != default:
        text += f"; isolated sites `{format_value(name, isolated)}`"
    return text


# Metrics: docs/metrics.md.


def metric_table() -> str:
    """Return every metric family with its kind, its labels and its help."""
    rows = ((f"`{f.name}`", f.kind, ", ".join(f.labels), f.help) for f in FAMILIES)
    return _table(("metric", "kind", "labels", "meaning"), rows)


# The database: docs/schema.md.


def schema_reference() -> str:
    """Return every table and view as the database itself describes them.

    The text is what SQLite stores: the comments on columns are in every home's database. What
    stands above a statement is not stored; it is taken from the migrations.
    """
    scripts = {name: migration_sql(name) for name in MIGRATIONS}
    remarks = {
        found[2]: " ".join(line.removeprefix("--").strip() for line in found[1].split("\n")).strip()
        for script in scripts.values()
        for found in re.finditer(r"((?:^--.*\n)+)CREATE (?:TABLE|VIEW) (\w+)", script, re.M)
    }
    parts = []
    with closing(sqlite3.connect(":memory:")) as database:
        for script in scripts.values():
            database.executescript(script)
        objects = database.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
            " AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        ).fetchall()
    for kind, name, _, sql in objects:
        if kind in ("table", "view"):
            beside = [
                one[3] for one in objects if one[2] == name and one[0] in ("index", "trigger")
            ]
            remark = f"{remarks[name]}\n\n" if name in remarks else ""
            body = ";\n".join((sql, *beside))
            parts.append(f"### {name}\n\n{remark}```sql\n{body};\n```\n")
    return "\n" + "\n".join(parts) + "\n"


def schema_contents() -> str:
    """Return the migrations and what each made or changed."""
    rows = []
    for name in MIGRATIONS:
        script = migration_sql(name)
        made = re.findall(r"(?m)^CREATE (?:TABLE|VIEW) (\w+)", script)
        changed = dict.fromkeys(re.findall(r"(?m)^ALTER TABLE (\w+)", script))
        cells = [f"[{one}](#{one})" for one in made]
        cells += [f"columns of [{one}](#{one})" for one in changed]
        else_made = "indexes and triggers" if "CREATE " in script else "rows put right"
        rows.append((f"`{name}`", ", ".join(cells) or else_made))
    return _table(("migration", "made"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# Why verify says no: docs/verification.md.

# Where an answer of verify comes from; what else lies there is about other commands.
_ANSWERING = (
    *("appliance/sigstore/*.py", "appliance/jobs/verify/*.py", "appliance/runs/verify.py"),
    *("appliance/runs/clock.py", "appliance/cli/verify/inputs.py", "appliance/jobs/our_tree.py"),
    *("appliance/rekor/entry_inclusion.py", "appliance/rekor/set.py", "appliance/rekor/ed25519.py"),
    *("appliance/rekor/signing_algorithms.py", "appliance/rekor/x509_certificate.py"),
    *("appliance/tlog/note.py", "appliance/tlog/note_keys.py", "appliance/tlog/checkpoint.py"),
    *("appliance/tlog/quorum.py", "appliance/tlog/strict_json.py", "appliance/store/blobs.py"),
    *("appliance/tlog/foreign_files.py", "appliance/tlog/ml_dsa.py", "appliance/store/files.py"),
    "appliance/store/mirror/mirror.py",
)
_ELSEWHERE = frozenset(
    {
        *("client_config", "monitor_config", "signing_config", "submission", "log_shards"),
        *("bundle_making", "tuf_writing", "file_kinds", "recheck"),
    }
)
_MAX_MESSAGES = 3  # of a reason; the others are like them
_ANY_OTHER = {
    "malformed": "what was signed or sent is not in the form it must have; the message says where",
    "signature": "a signature that has to verify does not",
    "proof": "an inclusion proof, or a tile, does not lead to the root it must",
    "digest": "bytes do not have the digest by which they are named",
    "limit": "larger, longer, deeper or more than is read here: nothing was judged",
}


def verify_reasons() -> str:
    """Return the table of reasons that verify gives, with their codes, from what raises them."""
    found: dict[str, tuple[set[int], dict[str, None]]] = {}
    root = Path(__file__).resolve().parent.parent
    for path in sorted(one for pattern in _ANSWERING for one in root.glob(pattern)):
        if path.stem in _ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (told := _told(node)):
                reason, family, message = told
                if reason == "file-exists":  # of outputs
                    continue
                codes, messages = found.setdefault(reason, (set(), {}))
                codes.add(exit_code(family("")))
                messages[message] = None
    for reason, message in _ANY_OTHER.items():
        family = next(one for one in _FAMILIES.values() if one.default_reason == reason)
        codes, messages = found.setdefault(reason, (set(), {}))
        codes.add(exit_code(family("")))
        found[reason] = (codes, {message: None})
    rows = (
        (
            f"`{reason}`",
            ", ".join(map(str, sorted(codes))),
            "; or: ".join(list(messages)[:_MAX_MESSAGES]),
        )
        for reason, (codes, messages) in sorted(found.items())
    )
    return _table(("reason", "code", "message"), rows)


_FAMILIES: dict[str, type[ApplianceError]] = {
    name: one
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, ApplianceError) and one is not ApplianceError
}


def _told(call: ast.Call) -> tuple[str, type[ApplianceError], str] | None:
    """Return the reason, the family and the message of a call that makes an error, if it does."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    family = _FAMILIES.get("SignatureError" if name == "_differs" else name)
    given = next((one.value for one in call.keywords if one.arg == "reason"), None)
    if family is None or not isinstance(given, ast.Constant) or not call.args:
        return None
    return str(given.value), family, _template(call.args[0])


def _template(node: ast.expr) -> str:
    """Return a message with … for what differs from case to case."""
    if isinstance(node, ast.Constant):
        text = str(node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    elif isinstance(node, ast.IfExp):
        return f"{_template(node.body)}; or: {_template(node.orelse)}"
    else:
        return "…"
    return re.sub(r"…(?:[ ,:.]*…)+", "…", " ".join(text.split())).replace("|", "\\|")
