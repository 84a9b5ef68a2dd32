"""What stands in a page: its links, its headings, its blocks of code."""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import dedent

FENCED = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+)(?P<kind>[^\n]*)\n(?P<code>.*?)^(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_CODE_OR_LINK = re.compile(
    rf"{FENCED.pattern}|`[^`]+`|(?<=\]\()(?P<link>[^()\s]+)(?=\))", re.MULTILINE | re.DOTALL
)
_ELSEWHERE = re.compile(r"[a-z]+:|/")


def blocks(markdown: str, kind: str) -> list[str]:
    """The blocks of code of a kind, such as "python"."""
    return [
        dedent(match["code"])
        for match in FENCED.finditer(markdown)
        if match["kind"].split(maxsplit=1)[:1] == [kind]
    ]


def links(markdown: str) -> list[str]:
    """Where links lead that stay within the checkout: a path, a #place, or both."""
    found: list[str] = []

    def note(target: str) -> str:
        found.append(target)
        return target

    relinked(markdown, note)
    return found


def relinked(markdown: str, change: Callable[[str], str]) -> str:
    """The page with other targets of links that stay within the checkout; code is left alone."""

    def replace(match: re.Match[str]) -> str:
        target = match["link"]
        return match[0] if target is None or _ELSEWHERE.match(target) else change(target)

    return _CODE_OR_LINK.sub(replace, markdown)


def places(markdown: str) -> set[str]:
    """The places of a page that links may lead to: its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+?) *#*$", FENCED.sub("", markdown), re.MULTILINE)
    found: dict[str, int] = {}
    for heading in headings:
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {f"{name}-{n}" if n else name for name, last in found.items() for n in range(last + 1)}
