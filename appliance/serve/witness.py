"""A witness over HTTP (c2sp.org/tlog-witness).

POST /add-checkpoint               a log asks for a cosignature
GET  /<hex of SHA-256(origin)>/checkpoint   what was cosigned last of a log
GET  /healthz
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from appliance.errors import (
    ApplianceError,
    DivergenceError,
    IncompleteError,
    LimitError,
    LockedError,
    MalformedError,
    ProofError,
    RefusedError,
    RestoredError,
    SignatureError,
    StoreError,
)
from appliance.jobs.witness.witness import Cosigned, OldSizeError
from appliance.serve.answers import NOW, Answer
from appliance.serve.requests import Request
from appliance.serve.routes import Routes
from appliance.store.witness.cosigned import CosignedRow
from appliance.tlog.witness_request import (
    MAX_REQUEST_BYTES,
    SIZE_TYPE,
    WitnessRequest,
    parse_witness_request,
)

ADD_PATH: Final = "/add-checkpoint"
HEALTH_PATH: Final = "/healthz"
_TEXT: Final = "text/plain; charset=utf-8"
_READ: Final = re.compile(r"[0-9a-f]{64}/checkpoint")
_TRY_AGAIN: Final = "the witness cannot be used now; try again"
# What a refusal is called in HTTP; the first family that fits counts.
_STATUSES: Final[tuple[tuple[type[ApplianceError], int], ...]] = (
    (RestoredError, 503),
    (StoreError, 503),
    (LockedError, 503),
    (DivergenceError, 422),
    (ProofError, 422),
    (SignatureError, 403),
    (LimitError, 400),
    (MalformedError, 400),
    (IncompleteError, 404),
    (RefusedError, 403),
)


class WitnessService:
    """The endpoints of one witness key."""

    def __init__(
        self,
        cosign: Callable[[WitnessRequest], Cosigned],
        cosigned: Callable[[], tuple[CosignedRow, ...]],
        tell: Callable[[str, ApplianceError | None], None],
    ) -> None:
        """Answer with `cosign`; `tell` hears the status of each request, and what was wrong."""
        self._cosign = cosign
        self._cosigned = cosigned
        self._tell = tell
        self.routes = Routes()
        self.routes.add("POST", ADD_PATH, self._add)
        self.routes.add("GET", HEALTH_PATH, lambda _: Answer(200, b'{"status":"SERVING"}\n'))
        self.routes.add_reads("/", lambda path: bool(_READ.fullmatch(path)), self._read)

    def _add(self, request: Request) -> Answer:
        try:
            asked = parse_witness_request(request.read(MAX_REQUEST_BYTES + 1))
            answer = Answer(200, self._cosign(asked).line, _TEXT, NOW)
        except OldSizeError as error:
            answer = Answer(409, b"%d\n" % error.size, SIZE_TYPE, NOW)
            self._tell("409", error)
        except ApplianceError as error:
            status = next((code for kind, code in _STATUSES if isinstance(error, kind)), 503)
            # What is wrong with this home is the operator's to know.
            message = _TRY_AGAIN if status == 503 else error.message
            answer = Answer(status, f"{message}\n".encode(), _TEXT, NOW)
            self._tell(str(status), error)
        else:
            self._tell("200", None)
        return answer

    def _read(self, request: Request) -> Answer:
        wanted = request.path.partition("/")[0]
        try:
            rows = self._cosigned()
        except ApplianceError:
            return Answer(503, f"{_TRY_AGAIN}\n".encode(), _TEXT, NOW)
        for row in rows:
            if sha256(row.origin.encode()).hexdigest() == wanted:
                return Answer(200, row.note, _TEXT, NOW)
        return Answer(404, b"Not Found\n", _TEXT, NOW)
