"""The environment's variables, and the versions of what is installed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipecat_whatsapp.config import REQUIRED_VARIABLES, WhatsAppConfig
from pipecat_whatsapp.doctor.finding import Finding, broken, ok, warning, what_and_cure
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.graph import DEFAULT_GRAPH_URL

SOURCES = {
    "WHATSAPP_TOKEN": "a system user's token from Business settings > System users",
    "WHATSAPP_PHONE_NUMBER_ID": "the phone number id from WhatsApp > API Setup",
    "WHATSAPP_APP_SECRET": "the app secret from App settings > Basic",
    "WHATSAPP_WEBHOOK_VERIFICATION_TOKEN": "any secret string that you choose",
}
"""By variable, what it holds and where Meta shows it."""

_DISTRIBUTION = "pipecat-whatsapp"
_EXAMINED = ("pipecat-ai", "aiortc")


def examine_variables(environ: Mapping[str, str]) -> list[Finding]:
    """Is every variable there that a bot needs, and can it be used?"""
    missing = [name for name in REQUIRED_VARIABLES if not environ.get(name, "").strip()]
    if missing:
        return [
            broken(name, "is missing", f"set it, or run `pipecat-whatsapp setup`: {SOURCES[name]}")
            for name in missing
        ]
    try:
        config = WhatsAppConfig.from_env(environ)
    except ConfigError as error:
        return [broken("variables", *what_and_cure(error))]
    if config.graph_url != DEFAULT_GRAPH_URL:
        return [
            warning(
                "variables",
                f"are there, but WHATSAPP_GRAPH_URL points to {config.graph_url} instead of Meta",
                "unset WHATSAPP_GRAPH_URL for calls from WhatsApp",
            )
        ]
    return [ok("variables", "are there")]


def examine_versions() -> list[Finding]:
    """Are Python, pipecat and aiortc of versions that this package is made for?"""
    python = SpecifierSet(metadata.metadata(_DISTRIBUTION)["Requires-Python"])
    needed = {
        requirement.name: requirement.specifier
        for requirement in map(Requirement, metadata.requires(_DISTRIBUTION) or [])
        if requirement.marker is None
    }
    return [
        _check_version("Python", platform.python_version(), python),
        *(_check_version(name, metadata.version(name), needed[name]) for name in _EXAMINED),
    ]


def _check_version(name: str, version: str, needed: SpecifierSet) -> Finding:
    if needed.contains(version, prereleases=True):
        return ok(name, f"{version} is supported")
    return broken(name, f"{version} is not supported", f"install {name}{needed}")
