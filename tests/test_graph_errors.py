"""What each of Meta's error codes is raised as. Source: Meta, calling, troubleshooting."""

from __future__ import annotations

import pytest

from pipecat_whatsapp import errors
from pipecat_whatsapp.errors import GraphError, GraphRequestError, GraphUnreachableError
from pipecat_whatsapp.meta.graph_errors import (
    MAX_WORDS,
    REFUSALS,
    Answer,
    advice_for,
    masked,
    refusal,
)

# Code, HTTP status that it comes with, class, whether the same request may succeed later.
CODES: list[tuple[int, int, type[GraphRequestError], bool]] = [
    (4, 400, errors.RateLimitError, True),
    (10, 403, errors.TokenError, False),
    (100, 400, errors.InvalidRequestError, False),
    (190, 401, errors.TokenError, False),
    (200, 403, errors.TokenError, False),
    (613, 429, errors.RateLimitError, True),
    (2200, 400, errors.InvalidRequestError, False),
    (80007, 400, errors.RateLimitError, True),
    (130429, 400, errors.RateLimitError, True),
    (131009, 400, errors.UncallableError, False),
    (131026, 400, errors.UncallableError, False),
    (131030, 400, errors.UncallableError, False),
    (131044, 400, errors.PaymentError, False),
    (131047, 400, errors.ConversationClosedError, False),
    (131055, 400, errors.CallingUnavailableError, False),
    (131056, 400, errors.RateLimitError, True),
    (131062, 400, errors.UncallableError, False),
    (132000, 400, errors.InvalidRequestError, False),
    (132001, 404, errors.InvalidRequestError, False),
    (138000, 401, errors.CallingUnavailableError, False),
    (138001, 400, errors.UncallableError, False),
    (138002, 429, errors.CallLimitError, True),
    (138003, 400, errors.UserBusyError, False),
    (138004, 500, errors.InvalidRequestError, True),
    (138005, 429, errors.CallLimitError, True),
    (138006, 401, errors.NotPermittedError, False),
    (138007, 500, errors.CallSetupError, False),
    (138008, 400, errors.InvalidRequestError, False),
    (138009, 400, errors.PermissionRequestError, False),
    (138011, 400, errors.PermissionRequestError, False),
    (138012, 400, errors.CallLimitError, False),
    (138013, 400, errors.CallingUnavailableError, False),
    (138014, 400, errors.CallingUnavailableError, False),
    (138015, 400, errors.CallingUnavailableError, False),
    (138017, 400, errors.PermissionRequestError, False),
    (138018, 400, errors.CallingUnavailableError, False),
    (138019, 400, errors.CallSetupError, False),
    (138020, 400, errors.CallSetupError, False),
    (138021, 400, errors.CallSetupError, False),
    (138022, 400, errors.CallSetupError, False),
    (138023, 400, errors.CallSetupError, False),
]


def refuse(status: int, code: int | None) -> GraphError:
    error = {"message": "Words"} | ({} if code is None else {"code": code})
    return refusal("connect", Answer(status, {"error": error}))


@pytest.mark.parametrize(("code", "status", "kind", "retryable"), CODES)
def test_every_code_has_its_class_its_advice_and_its_retry_rule(
    code: int, status: int, kind: type[GraphRequestError], retryable: bool
) -> None:
    error = refuse(status, code)
    assert type(error) is kind
    assert isinstance(error, GraphRequestError)
    assert (error.code, error.status, error.retryable) == (code, status, retryable)
    assert error.advice == REFUSALS[code].advice
    assert error.advice.endswith(".")
    assert str(error) == f"Meta refused connect (HTTP {status}, code {code}): Words. {error.advice}"


@pytest.mark.parametrize("code", [None, 0, 1, 999999])
def test_no_advice_is_made_up_for_an_unknown_code(code: int | None) -> None:
    assert advice_for(code) == ""


def test_advice_can_be_had_without_a_request() -> None:
    assert advice_for(138009) == REFUSALS[138009].advice


def test_no_code_is_left_untested() -> None:
    assert {code for code, *_ in CODES} == REFUSALS.keys()


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, GraphRequestError, False),
        (401, GraphRequestError, False),
        (429, errors.RateLimitError, True),
        (500, GraphRequestError, True),
    ],
)
@pytest.mark.parametrize("code", [None, 138010])
def test_an_unknown_code_is_judged_by_its_status(
    status: int, kind: type[GraphRequestError], retryable: bool, code: int | None
) -> None:
    error = refuse(status, code)
    assert (type(error), error.retryable) == (kind, retryable)


def test_a_gateways_page_is_no_answer_of_metas() -> None:
    assert isinstance(refusal("connect", Answer(502, {})), GraphUnreachableError)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("to 4915550002222", "to ***********22"),
        ("to +49 155 500 022 22", "to +** *** *** *** 22"),
        ("to 49 155 500 022 22", "to ** *** *** *** 22"),
        ("to +1 (555) 000-1111", "to +* (***) ***-**11"),
        ("(#131030) on 2026-12-25 at 10:00", "(#131030) on 2026-12-25 at 10:00"),
    ],
)
def test_phone_numbers_are_masked_however_they_are_written(words: str, shown: str) -> None:
    assert masked(words) == shown


def test_a_secret_at_the_cut_is_masked_before_it_is_cut() -> None:
    secret = "shhh" * 10
    message = "x" * (MAX_WORDS - 10) + secret
    error = refusal("connect", Answer(400, {"error": {"message": message}}, secrets=(secret,)))
    assert "shhh" not in str(error)
