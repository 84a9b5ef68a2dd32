"""How the reference reads docstrings."""

from __future__ import annotations

import re
from typing import Any

import griffe

_PARAMETERS = re.compile(r"^Parameters:\n((?: +.*\n?|\n)+)", re.MULTILINE)


class ReadableDocstrings(griffe.Extension):  # type: ignore[misc]
    """Makes Markdown of two habits of docstrings."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """End a sentence before a block of code with one colon, where reST needs two."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"::$", ":", obj.docstring.value, flags=re.MULTILINE)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        """Call attributes what a docstring calls parameters, and no constructor takes."""
        if cls.docstring is None or _is_dataclass(cls):
            return
        section = _PARAMETERS.search(cls.docstring.value)
        if section is None:
            return
        names = re.findall(r"^    (\w+): ", section[1], re.MULTILINE)
        if not {parameter.name for parameter in cls.parameters} & set(names):
            cls.docstring.value = cls.docstring.value.replace("Parameters:\n", "Attributes:\n", 1)


def _is_dataclass(cls: griffe.Class) -> bool:
    return any("dataclass" in str(decorator.value) for decorator in cls.decorators)
