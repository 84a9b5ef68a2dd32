"""The reference tells of everything that is public, and the code says what it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest

import pipecat_whatsapp
from pipecat_whatsapp.screening import Weekday

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

_DIRECTIVE = re.compile(r"^::: (\S+)\n((?: +.*\n|\n(?= ))*)", re.MULTILINE)
_MEMBERS = re.compile(r"members:\s*(\[[^\]]*\]|(?:\n +- \w+)+)")


def found(path: str) -> Any:
    """What stands at a dotted path."""
    with_module = path
    while True:
        try:
            value: Any = importlib.import_module(with_module)
            break
        except ModuleNotFoundError:
            with_module = with_module.rpartition(".")[0]
    for name in path.removeprefix(with_module).split(".")[1:]:
        value = getattr(value, name)
    return value


def directives() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What the pages of the reference are made of: a path, and its members if they are chosen."""
    for page in REFERENCE.glob("*.md"):
        for path, options in _DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            chosen = _MEMBERS.search(options)
            yield path, tuple(re.findall(r"\w+", chosen[1])) if chosen else ()


def referenced() -> dict[str, Any]:
    """Everything that the reference tells of."""
    things: dict[str, Any] = {}
    for path, chosen in directives():
        thing = found(path)
        if isinstance(thing, ModuleType):
            for name in chosen or public_names(thing):
                things[f"{path}.{name}"] = getattr(thing, name)
        else:
            things[path] = thing
    return things


def public_names(module: ModuleType) -> list[str]:
    """What a module has for others: what it says so of, else what it defines."""
    defined = (
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )
    return list(getattr(module, "__all__", defined))


REFERENCED = referenced()
CLASSES = {
    base
    for thing in REFERENCED.values()
    if inspect.isclass(thing)
    for base in thing.__mro__
    if base.__module__.startswith("pipecat_whatsapp")
}

FACES = ("runner", "server", "screening", "tools", "bridge", "errors", "meta.events")
"""Modules that are imported from by name, beside the package itself."""


def test_every_public_name_is_in_the_reference() -> None:
    names = {f"pipecat_whatsapp.{name}" for name in pipecat_whatsapp.__all__}
    for face in FACES:
        module = importlib.import_module(f"pipecat_whatsapp.{face}")
        names |= {f"{module.__name__}.{name}" for name in public_names(module)}
    known = [*REFERENCED.values()]
    assert not sorted(name for name in names if not any(found(name) is thing for thing in known))


def tree_of(thing: Any) -> ast.Module:
    return ast.parse(dedent(inspect.getsource(thing)))


def data_of(cls: type) -> set[str]:
    """The fields, members and attributes of a class that are public."""
    (body,) = (node.body for node in tree_of(cls).body if isinstance(node, ast.ClassDef))
    targets: list[ast.expr] = []
    for node in body:
        if isinstance(node, ast.AnnAssign):
            targets.append(node.target)
        elif isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            targets += [
                each
                for each in ast.walk(node)
                if isinstance(each, ast.Attribute)
                and isinstance(each.ctx, ast.Store)
                and isinstance(each.value, ast.Name)
                and each.value.id == "self"
            ]
    names = {getattr(target, "id", getattr(target, "attr", "_")) for target in targets}
    properties = {name for name, value in vars(cls).items() if isinstance(value, property)}
    constants = set() if issubclass(cls, Enum) else {name for name in names if name.isupper()}
    return {name for name in names if not name.startswith("_")} - properties - constants


def described(cls: type) -> set[str]:
    """The names that a class's docstring, or those of its bases, tell of."""
    return {
        name
        for base in cls.__mro__
        for name in re.findall(r"^ +(\w+): ", base.__doc__ or "", re.MULTILINE)
    }


SPEAK_FOR_THEMSELVES = {Weekday}
"""Classes whose members need no words."""


@pytest.mark.parametrize("cls", sorted(CLASSES, key=str), ids=lambda cls: cls.__qualname__)
def test_a_class_of_the_reference_says_what_is_public_in_it(cls: type) -> None:
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "written by dataclass, not by a person"
    assert cls in SPEAK_FOR_THEMSELVES or not data_of(cls) - described(cls)
    for name, value in vars(cls).items():
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(cls, name)), f"{cls.__qualname__}.{name}"


def test_functions_and_aliases_of_the_reference_say_what_they_are() -> None:
    for path, thing in REFERENCED.items():
        if inspect.isroutine(thing):
            assert inspect.getdoc(thing), path
        elif not inspect.isclass(thing):
            assert path.rpartition(".")[2] in explained_constants(path), path


def explained_constants(path: str) -> set[str]:
    """The names of the module that defines something which a docstring stands behind."""
    package, _, name = path.rpartition(".")
    if package == "pipecat_whatsapp":
        modules: dict[str, tuple[str, ...]] = pipecat_whatsapp._MODULES  # noqa: SLF001
        package += "." + next(module for module, names in modules.items() if name in names)
    module = sys.modules.get(package) or importlib.import_module(package)
    body = tree_of(module).body
    return {
        getattr(target, "id", "")
        for node, behind in pairwise(body)
        if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
        for target in getattr(node, "targets", [getattr(node, "target", None)])
    }
