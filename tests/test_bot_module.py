from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipecat_whatsapp.calls.observer import Observer
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.serving.bot_module import HOOKS, BotModule, load_bot

BOT = "async def bot(runner_args): ...\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a bot's file; what was loaded of it is forgotten afterwards."""
    modules, search = set(sys.modules), list(sys.path)

    def write(text: str, name: str = "some_bot.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    yield write
    sys.path[:] = search
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(path: Path, *arguments: str) -> BotModule:
    return load_bot(path, arguments)


def test_hooks_are_found_by_their_names(write: Write) -> None:
    module = load(write(BOT + "".join(f"async def {name}(*args): ...\n" for name in HOOKS)))
    assert module.bot.__module__ == "some_bot"
    for name in HOOKS:
        assert getattr(module, name).__name__ == name


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_the_region_may_be_told_with_and_without_await(write: Write, kind: str) -> None:
    module = load(write(BOT + f"{kind} region(call): return 'eu' + call\n"))
    assert module.region is not None
    told: Any = "-1"
    assert await module.region(told) == "eu-1"


def test_observers_are_found(write: Write) -> None:
    text = "from pipecat_whatsapp import Observer\nobservers = [Observer(), Observer()]\n"
    module = load(write(text + BOT))
    assert [type(observer) for observer in module.observers] == [Observer, Observer]
    assert list(load(write(BOT, "other_bot.py")).observers) == []


def test_hooks_may_be_missing(write: Write) -> None:
    module = load(write(BOT))
    assert not any(getattr(module, name) for name in HOOKS)
    assert vars(module.cli_args) == {}


def test_files_beside_the_bot_are_found(write: Write, tmp_path: Path) -> None:
    (tmp_path / "some_helper.py").write_text("GREETING = 'hello'\n")
    module = load(write("from some_helper import GREETING as greeting\n" + BOT))
    assert module.bot.__globals__["greeting"] == "hello"


def test_the_part_for_running_it_alone_is_left_out(write: Write) -> None:
    load(write(BOT + "if __name__ == '__main__': raise ValueError\n"))


def test_the_bots_own_arguments(write: Write) -> None:
    text = "import argparse\nparser = argparse.ArgumentParser()\n"
    text += "parser.add_argument('--greeting', default='hello')\n"
    module = load(write(text + BOT), "--greeting", "good morning")
    assert module.cli_args.greeting == "good morning"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no function bot"),
        ("bot = 3\n", "bot in some_bot.py is no function"),
        (BOT + "region = 'eu'\n", "region in some_bot.py is no function"),
        (BOT + "observers = ['one']\n", "observers in some_bot.py is no list of instances"),
        (BOT + "def observers(): ...\n", "observers in some_bot.py is no list of instances"),
        ("import no_such_package\n", "could not be loaded .ModuleNotFoundError"),
        ("def (\n", "could not be loaded .SyntaxError"),
        ("import sys; sys.exit('no key')\n", "could not be loaded .SystemExit: no key"),
    ],
)
def test_what_is_wrong_is_said(write: Write, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(write(text))


def test_arguments_that_nobody_reads_are_refused(write: Write) -> None:
    with pytest.raises(ConfigError, match="of the name parser"):
        load(write(BOT), "--greeting")


def test_arguments_that_the_parser_does_not_know_are_refused(write: Write) -> None:
    text = "import argparse\nparser = argparse.ArgumentParser()\n" + BOT
    with pytest.raises(ConfigError, match="does not take these arguments"):
        load(write(text), "--greeting")


def test_a_name_that_is_in_use_is_refused(write: Write) -> None:
    sys.modules["some_bot"] = sys
    with pytest.raises(ConfigError, match="rename it"):
        load(write(BOT))


def test_a_file_that_is_no_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bot.txt").write_text(BOT)
    with pytest.raises(ConfigError, match="no Python file"):
        load(tmp_path / "bot.txt")
