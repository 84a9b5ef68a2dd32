"""Writes variables into a `.env` file, and leaves the rest of it alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from pipecat_whatsapp.commands.dialogue import Dialogue
from pipecat_whatsapp.commands.environment import values
from pipecat_whatsapp.errors import ConfigError


def write(path: Path, variables: Mapping[str, str], dialogue: Dialogue) -> list[str]:
    """Write variables that are not there yet; a value that is there goes only with consent.

    A variable may hold several values, separated by commas.

    The file is for its owner's eyes only from then on.

    Args:
        path: The file, which may not exist.
        variables: Their names and values.
        dialogue: Asked for the consent.

    Returns:
        The names of those that were written.

    Raises:
        ConfigError: The file cannot be read or written, or there is no consent.
    """
    from dotenv import dotenv_values, set_key

    path = path.resolve()
    try:
        found = {name: value or "" for name, value in dotenv_values(path).items()}
        new = {
            name: value for name, value in variables.items() if not _has_all(found, variables, name)
        }
        for name in new:
            if not _has_all(variables, found, name):
                dialogue.demand(f"{name} in {path.name} has another value. Replace it?")
        path.touch(mode=0o600)
        path.chmod(0o600)
        for name, value in new.items():
            # No needless quotes: kubectl and podman take them for a part of the value.
            plain = value == shlex.quote(value)
            set_key(path, name, value, quote_mode="never" if plain else "always")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be written ({error}): repair or remove it.") from error
    return list(new)


def _has_all(variables: Mapping[str, str], others: Mapping[str, str], name: str) -> bool:
    """Whether a variable has every value that it has among others."""
    return set(values(others, name)) <= set(values(variables, name))
