"""A call as one file, to attach to a bug report."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from pipecat_whatsapp.simulator.captures import ogg_opus
from pipecat_whatsapp.simulator.inspection.masking import Mask
from pipecat_whatsapp.simulator.inspection.record import CallRecord
from pipecat_whatsapp.simulator.payloads import Json

FORMAT = "pipecat-whatsapp call"
VERSION = 1


def saved_call(record: CallRecord, *, heard: bytes, said: bytes, secrets: Sequence[str]) -> bytes:
    """Write a call with its sound as a JSON file, without phone numbers and secrets.

    What was said in the call is in it nevertheless, and users' names. The sound is encoded, which
    takes a second for every two minutes of it: let another thread do it.

    Args:
        record: The call.
        heard: What the phone heard, as `sound` has it; may be empty.
        said: What its user said, likewise.
        secrets: What nobody else may know, such as tokens.

    Returns:
        The file: ASCII, and so UTF-8.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "record": _masked(record.as_json(), secrets),
        "audio": {"heard": _ogg(heard), "said": _ogg(said)},
    }
    return json.dumps(document).encode("ascii")


def _masked(record: Json, secrets: Sequence[str]) -> Json:
    """The record without numbers and secrets; what only this package writes into it stays."""
    mask = Mask(record, secrets)

    def free(fields: Json, *names: str) -> Json:
        return fields | {name: mask.json(fields[name]) for name in names}

    return free(record, "business_phone", "end") | {
        "user": free(record["user"], *record["user"]),
        "steps": [free(step, "title", "outcome", "detail") for step in record["steps"]],
        "remarks": [free(remark, "text") for remark in record["remarks"]],
    }


def _ogg(pcm: bytes) -> str | None:
    return base64.b64encode(ogg_opus(pcm)).decode() if pcm else None
