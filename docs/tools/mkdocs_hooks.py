"""What the site does beyond MkDocs: files outside of `docs/` that pages link to become pages.

So a link is written as it works in a checkout, `../examples/echo.py` say, and works on the site.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import markdown_pages

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
DOCS = "docs"
PROJECT = "project"
"""Where in the site the pages stand that are made of files outside of `docs/`."""

LANGUAGES = {".py": "python", ".sh": "sh", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}

# Of mkdocs' own tree: what is logged there counts in a strict build.
log = logging.getLogger("mkdocs.plugins.pipecat_whatsapp")

_FROM_ELSEWHERE = re.compile(
    r'<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc="(?:https?:)?//[^"]*"'
    r'|<link\b[^>]*\bhref="(?:https?:)?//[^"]*"'
)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Make pages of the project's own, of other files that pages link to, and of their links'."""
    from mkdocs.structure.files import File

    waiting = [path.name for path in ROOT.glob("*.md")]
    for file in files.documentation_pages():
        waiting += _leaving(f"{DOCS}/{file.src_uri}", file.content_string)
    made: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in made or not (ROOT / path).is_file():
            continue
        made.add(path)
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, _address(path), content=_as_page(path, text)))
        if path.endswith(".md"):
            waiting += _leaving(path, text)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Point links to where their files stand in the site."""
    here = _file(page.file.src_uri)
    folder = posixpath.dirname(page.file.src_uri)

    def change(target: str) -> str:
        path, hash_sign, place = target.partition("#")
        if not path:
            return target
        address = _address(_resolved(here, path))
        return posixpath.relpath(address, folder or ".") + hash_sign + place

    return markdown_pages.relinked(markdown, change)


def on_post_page(output: str, *, page: Page, **_: Any) -> str:
    """Complain of pages that have a reader's browser ask somebody else for something."""
    for found in _FROM_ELSEWHERE.findall(output):
        log.warning("%s loads something from elsewhere: %s", page.file.src_uri, found)
    return output


def _leaving(here: str, markdown: str) -> list[str]:
    """The files outside of `docs/` that a page links to."""
    paths = [target.partition("#")[0] for target in markdown_pages.links(markdown)]
    files = [_resolved(here, path) for path in paths if path]
    return [file for file in files if not file.startswith(f"{DOCS}/")]


def _resolved(here: str, path: str) -> str:
    """A link's file, from the root of the checkout."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), path))


def _address(file: str) -> str:
    """Where a file of the checkout stands in the site's sources."""
    if file.startswith(f"{DOCS}/"):
        return file.removeprefix(f"{DOCS}/")
    return f"{PROJECT}/{file}" if file.endswith(".md") else f"{PROJECT}/{file}.md"


def _file(address: str) -> str:
    """The opposite of `_address`."""
    if not address.startswith(f"{PROJECT}/"):
        return f"{DOCS}/{address}"
    path = address.removeprefix(f"{PROJECT}/")
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def _as_page(path: str, text: str) -> str:
    """A file as a page: Markdown as it is, anything else as a block of code."""
    if path.endswith(".md"):
        return text
    language = LANGUAGES.get(Path(path).suffix, "text")
    return f"# {path}\n\n````{language}\n{text.rstrip()}\n````\n"
