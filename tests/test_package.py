"""What a wheel and a source distribution hold, and what the wheel says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "pipecat_whatsapp"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"{PACKAGE}-{PROJECT['version']}"

# What makes a checkout complete, and what a stranger reads first.
AT_THE_TOP = {
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "PKG-INFO",
    "README.md",
    "RELEASING.md",
    "SECURITY.md",
    "mkdocs.yml",
    "pyproject.toml",
}
FOLDERS = {"benchmarks", "docs", "examples", "src", "tests"}


def build(kind: str, folder: Path) -> Path:
    """Build a distribution as `python -m build` does, but with the tools that are here."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"{NAME}.dist-info/METADATA").decode())


def files(folder: Path) -> set[str]:
    """The files below a folder that belong to it, seen from the folder above."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_a_wheel_holds_the_package_as_it_is_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if not name.startswith(f"{NAME}.dist-info/")}
    assert names == files(ROOT / "src" / PACKAGE)


@pytest.mark.parametrize(
    "name",
    ["py.typed", "simulator/demo/question.wav", "simulator/page/static/index.html"],
)
def test_a_wheel_holds_what_is_no_python(wheel: zipfile.ZipFile, name: str) -> None:
    assert f"{PACKAGE}/{name}" in wheel.namelist()


def test_a_wheel_holds_its_licence_and_its_entry_points(wheel: zipfile.ZipFile) -> None:
    assert wheel.read(f"{NAME}.dist-info/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    points = wheel.read(f"{NAME}.dist-info/entry_points.txt").decode()
    assert "pipecat-whatsapp = pipecat_whatsapp.cli:app" in points
    assert "[pipecat_cli.extensions]\nwhatsapp = pipecat_whatsapp.cli:app" in points
    assert "pipecat_whatsapp = pipecat_whatsapp.simulator.pytest_plugin" in points


def test_the_base_package_asks_for_no_web_framework_nor_command_line(metadata: Message) -> None:
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert {re.split("[<>=]", text)[0] for text in required} == {
        "aiohttp",
        "aiortc",
        "ifaddr",
        "loguru",
        "pipecat-ai",
    }
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_the_description_is_the_readme_for_every_python_that_is_tested(metadata: Message) -> None:
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text().strip()
    assert metadata["Requires-Python"] == ">=3.11"


def test_a_source_distribution_is_a_checkout_to_test_and_nothing_else(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {Path(name).relative_to(NAME) for name in archive.getnames()}
    at_the_top = {name.parts[0] for name in names}
    assert at_the_top - {".gitignore"} == AT_THE_TOP | FOLDERS
    for folder in FOLDERS:
        inside = {name.as_posix() for name in names if name.parts[0] == folder}
        assert inside == files(ROOT / folder), folder


@pytest.mark.parametrize("name", ["pipecat-ai", "aiortc"])
@pytest.mark.parametrize("file", [".ci/run", ".github/workflows/ci.yml"])
def test_the_oldest_version_that_is_allowed_is_tested(name: str, file: str) -> None:
    if not (ROOT / file).exists():
        pytest.skip("a source distribution has no CI")
    (allowed,) = [text for text in PROJECT["dependencies"] if text.startswith(f"{name}>=")]
    oldest = allowed.removeprefix(f"{name}>=").split(",")[0]
    assert f"{name}=={oldest}." in (ROOT / file).read_text()
