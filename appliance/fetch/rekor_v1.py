"""A Rekor v1 instance read over HTTP: its trees, proofs between their sizes, its entries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from appliance.errors import IncompleteError, MalformedError, RemoteError
from appliance.fetch.http import HttpClient, url_prefix
from appliance.fetch.response import Response, ResponseFacts, refuse_page, status_error
from appliance.rekor.answer_v1 import parse_v1_answer, parse_v1_answers
from appliance.rekor.log_info_v1 import (
    MAX_INFO_BYTES,
    MAX_PROOF_BYTES,
    LogInfo,
    parse_consistency,
    parse_log_info,
)
from appliance.rekor.transparency_log_entry import MAX_ANSWER_BYTES, TransparencyLogEntry
from appliance.tlog.merkle import Hash
from appliance.tlog.tile import EntryBundle, Tile

LOG_PATH: Final = "api/v1/log"


class RekorV1Log:
    """The trees of one instance. Nothing it returns is authenticated."""

    def __init__(self, http: HttpClient, base_url: str) -> None:
        """Read below `base_url`; raises ConfigError for a URL that is none."""
        self.http = http
        self._url = url_prefix(base_url)
        self._facts: ResponseFacts | None = None  # of the last info()

    @property
    def description(self) -> str:
        """The base URL."""
        return self._url

    @property
    def exchange(self) -> Mapping[str, Any]:
        """Who answered the last info(), with which status, headers and certificate."""
        return {} if self._facts is None else self._facts.described

    def info(self, stopped: threading.Event | None = None) -> LogInfo:
        """Return the trees as they are now, each with its signed head."""
        response = self._get(LOG_PATH, MAX_INFO_BYTES, "the state of a Rekor v1 log", stopped)
        self._facts = response.facts
        try:
            return parse_log_info(response.body)
        except MalformedError as error:
            error.message = f"{self._url}{LOG_PATH}: {error.message}"
            raise

    def checkpoint(self, stopped: threading.Event | None = None) -> bytes:
        """Return the signed head of the active tree."""
        return self.info(stopped).active.note

    def consistency(self, tree_id: str, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Return what the instance offers as a proof between two sizes of one of its trees.

        Raises RemoteError (http-status) if it will not prove that.
        """
        query = f"firstSize={old_size}&lastSize={new_size}&treeID={tree_id}"
        path = f"{LOG_PATH}/proof?{query}"
        response = self._get(path, MAX_PROOF_BYTES, "a consistency proof")
        return parse_consistency(response.body)

    def entry(self, log_index: int) -> TransparencyLogEntry:
        """Return the entry at an index over all trees; raises RemoteError (not-found)."""
        path = f"{LOG_PATH}/entries?logIndex={log_index}"
        return parse_v1_answer(self._get(path, MAX_ANSWER_BYTES, "a log entry").body)

    def entries(self, log_indices: Sequence[int]) -> tuple[TransparencyLogEntry, ...]:
        """Return the entries at up to ten indices over all trees; some may be left out."""
        url = f"{self._url}{LOG_PATH}/entries/retrieve"
        response = self.http.post(
            url,
            json.dumps({"logIndexes": list(log_indices)}).encode(),
            MAX_ANSWER_BYTES,
            content_type="application/json",
            seconds=self.http.settings.request_seconds,
        )
        if response.status != 200:
            raise status_error(response)
        refuse_page(response, "log entries")
        return parse_v1_answers(response.body)

    def tree(self, tree_id: str, note: bytes) -> RekorV1Tree:
        """Return one tree as the source of one log."""
        return RekorV1Tree(self, tree_id, note)

    def _get(
        self, path: str, max_bytes: int, expected: str, stopped: threading.Event | None = None
    ) -> Response:
        try:
            response = self.http.get(f"{self._url}{path}", max_bytes, stopped=stopped)
        except RemoteError as error:
            if error.reason == "not-found" and path == LOG_PATH:
                error.next_step = "give the URL of a Rekor v1 instance, without its path"
            raise
        refuse_page(response, expected)
        return response


class RekorV1Tree:
    """A ProvingSource: one tree of an instance, which proves its sizes and serves no tiles."""

    def __init__(self, log: RekorV1Log, tree_id: str, note: bytes) -> None:
        self._log = log
        self._tree_id = tree_id
        self._note = note

    @property
    def description(self) -> str:
        """The instance's URL."""
        return self._log.description

    @property
    def exchange(self) -> Mapping[str, Any]:
        """How the note came."""
        return self._log.exchange

    def checkpoint(self) -> bytes:
        """Return the signed head that the instance offered."""
        return self._note

    def consistency(self, old_size: int, new_size: int) -> tuple[Hash, ...]:
        """Return what is offered as a proof; raises RemoteError if there is none."""
        return self._log.consistency(self._tree_id, old_size, new_size)

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Raise IncompleteError: an instance of version 1 has no tiles."""
        raise self._no_tiles()

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Raise IncompleteError, as tiles does."""
        raise self._no_tiles()

    def _no_tiles(self) -> IncompleteError:
        return IncompleteError(
            f"{self.description}: a Rekor v1 log serves no tiles", reason="no-tiles"
        )
