"""ARCHITECTURE.md is true: its tables say what the imports say."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PLAN = Path(__file__).parent.parent / "ARCHITECTURE.md"
PACKAGE = "pipecat_whatsapp"
SOURCE = PLAN.parent / "src" / PACKAGE
ENTRANCE = "__init__"
SIMULATOR = "simulator"
PRIVATE = SOURCE / "media" / "aiortc_private.py"

FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def table(title: str) -> list[tuple[list[str], list[str]]]:
    """The names in the first and in the last column of a table, row by row."""
    _, _, section = PLAN.read_text().partition(f"\n## {title}\n")
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [row.strip("| ").split("|") for row in rows]
    assert cells, f"{PLAN.name} has no table under {title!r}"
    return [(re.findall("`([^`]+)`", row[0]), re.findall("`([^`]+)`", row[-1])) for row in cells]


def name_of(path: Path) -> str:
    """How the plan calls a module: its path in the package."""
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    return name.removesuffix("/__init__")


def imports(path: Path) -> Iterator[str]:
    """What a module imports, at whatever place in it: dotted, with the names that it takes."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports in relation to itself"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(place: str, name: str) -> bool:
    """Whether a module is a place of the plan, or lies in it."""
    return name == place or name.startswith(f"{place}/")


# The first name of a row stands for all of them.
ROOM_OF_PLACE = {place: row[0] for row, _ in table("Rooms") for place in row}
WRITTEN = {row[0]: set(known) for row, known in table("Rooms")}


def room_of(name: str) -> str:
    """The room of a module, or of a name in it: the narrowest that it lies in."""
    places = [place for place in ROOM_OF_PLACE if is_in(place, name)]
    return ROOM_OF_PLACE[max(places, key=len)] if places else ENTRANCE


def known_rooms() -> dict[str, set[str]]:
    """Which rooms each room imports from."""
    found: dict[str, set[str]] = {room: set() for room in WRITTEN}
    for path in FILES:
        ours = [name for name in imports(path) if name.split(".")[0] == PACKAGE]
        room = room_of(name_of(path))
        found[room] |= {room_of("/".join(name.split(".")[1:])) for name in ours} - {room}
    return found


FOUND = known_rooms()


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    names = [name_of(path) for path in FILES]
    assert [name for name in names if not any(is_in(p, name) for p in ROOM_OF_PLACE)] == []
    assert [p for p in ROOM_OF_PLACE if not any(is_in(p, name) for name in names)] == []


def test_rooms_know_whom_the_plan_says() -> None:
    assert FOUND == WRITTEN


def test_no_two_rooms_need_each_other() -> None:
    list(TopologicalSorter(FOUND).static_order())


def test_what_no_change_of_the_plan_may_change() -> None:
    assert FOUND["errors"] == set()
    assert FOUND["meta"] == FOUND["media"] == {"errors"}
    assert FOUND["calls"] == {"config", "errors", "media", "meta"}
    visitors = {room for room, known in FOUND.items() if any(is_in(SIMULATOR, k) for k in known)}
    assert {room for room in visitors if not is_in(SIMULATOR, room)} == {"commands"}
    assert FOUND[SIMULATOR] == {"calls", "errors", "media", "meta"}


def test_packages_are_imported_where_the_plan_says() -> None:
    written = {package: set(places) for row, places in table("Packages") for package in row}
    assert "pipecat" in written
    found = defaultdict(set)
    for path in FILES:
        for package in {name.split(".")[0] for name in imports(path)}:
            if package not in sys.stdlib_module_names | {PACKAGE}:
                places = [p for p in written.get(package, ()) if is_in(p, name_of(path))]
                found[package].add(max(places, key=len, default=name_of(path)))
    assert found == written


def test_private_names_of_others_are_used_in_one_file() -> None:
    """The linter refuses every use of one that is not marked as an exception."""
    marked = [path for path in FILES if "noqa: SLF001" in path.read_text()]
    assert marked == [PRIVATE]
    for path in FILES:
        foreign = [name for name in imports(path) if name.split(".")[0] != PACKAGE]
        assert [n for n in foreign if re.search(r"(^|\.)_(?!_)", n)] == [], path
        if path != PRIVATE:
            assert list(private_lookups(TREES[path])) == [], path


def private_lookups(tree: ast.AST) -> Iterator[str]:
    """Private names that are looked up by their text, which no linter sees."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("getattr" | "setattr" | "hasattr"), [_, ast.Constant(name), *_]):
                if isinstance(name, str) and re.match("_(?!_)", name):
                    yield name
