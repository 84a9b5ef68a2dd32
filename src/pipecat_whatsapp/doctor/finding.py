"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipecat_whatsapp.errors import WhatsAppError


class Verdict(Enum):
    """How serious a finding is.

    Parameters:
        OK: As it must be.
        WARNING: Calls work, but something may surprise.
        BROKEN: Calls, or some of them, do not work.
        SKIPPED: Could not be checked.
    """

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Parameters:
        name: What was checked.
        verdict: How serious it is.
        what: What was found.
        cure: What to do about it; empty when there is nothing to do.
    """

    name: str
    verdict: Verdict
    what: str
    cure: str = ""


def ok(name: str, what: str) -> Finding:
    """Something is as it must be."""
    return Finding(name, Verdict.OK, what)


def warning(name: str, what: str, cure: str) -> Finding:
    """Something may surprise."""
    return Finding(name, Verdict.WARNING, what, cure)


def broken(name: str, what: str, cure: str) -> Finding:
    """Something keeps calls from working."""
    return Finding(name, Verdict.BROKEN, what, cure)


def skipped(name: str, what: str, cure: str = "") -> Finding:
    """Something could not be checked."""
    return Finding(name, Verdict.SKIPPED, what, cure)


def what_and_cure(error: WhatsAppError) -> tuple[str, str]:
    """An error's sentence in two: what happened, and what to do, which stands last."""
    what, colon, cure = str(error).removesuffix(".").rpartition(": ")
    return (what, cure) if colon else (cure, "")
