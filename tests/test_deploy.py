"""What docs/production.md and docs/deploy/ tell people to run can be run."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from pipecat_whatsapp.cli import app
from pipecat_whatsapp.serving.supervisor import CLOSE_PATIENCE

DOCS = Path(__file__).parent.parent / "docs"
SOURCES = DOCS.parent / "src"
DEPLOY = DOCS / "deploy"
PAGE = DOCS / "production.md"
UNIT = DEPLOY / "pipecat-whatsapp.service"
COMMAND = "pipecat-whatsapp"


# Where commands stand


def unit() -> configparser.SectionProxy:
    """The service section of the unit; of names that come again, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text().replace("\\\n", " "))
    return parser["Service"]


def instruction(name: str) -> list[str]:
    """A command of the Dockerfile, which is a JSON list."""
    (found,) = re.findall(rf"^{name} (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def manifests() -> dict[str, dict[str, Any]]:
    """Those for Kubernetes, by their kind."""
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {document["kind"]: document for document in documents}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    spec: dict[str, Any] = pod()["containers"][0]
    return spec


def blocks(kind: str) -> list[str]:
    """The blocks of a kind on the page."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def commands_on_the_page() -> Iterator[list[str]]:
    """The arguments of this package's command."""
    for block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words[:1] == [COMMAND]:
                yield words[1:]


# The files

SERVERS = {
    "systemd": shlex.split(unit()["ExecStart"])[1:],
    "docker": instruction("ENTRYPOINT")[1:] + instruction("CMD"),
    "compose": instruction("ENTRYPOINT")[1:] + compose()["bot"]["command"],
    "kubernetes": instruction("ENTRYPOINT")[1:] + container()["args"],
}

GRACE = {
    "systemd": float(unit()["TimeoutStopSec"]),
    "compose": 60.0 * float(compose()["bot"]["stop_grace_period"].removesuffix("m")),
    "kubernetes": float(pod()["terminationGracePeriodSeconds"]),
}


def parsed(words: list[str], folder: Path) -> dict[str, Any]:
    """What the command line makes of arguments, by the parameters of the command's function."""
    (folder / "bot.py").touch()
    group = typer.main.get_command(app)
    name, *arguments = words
    context = typer.Context(group, info_name=COMMAND)
    command = group.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, f"{COMMAND} has no {name}"
    values: dict[str, Any] = command.make_context(name, arguments, parent=context).params
    return values


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bot.py, where commands are read."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", SERVERS)
def test_servers_are_started_with_options_that_exist(place: str, folder: Path) -> None:
    assert parsed(SERVERS[place], folder)["bot"].name == "bot.py"


@pytest.mark.parametrize("place", GRACE)
def test_servers_get_the_time_that_they_need_to_end(place: str, folder: Path) -> None:
    server = parsed(SERVERS[place], folder)
    needed = server["drain_timeout"] + server["goodbye_timeout"] + CLOSE_PATIENCE
    assert GRACE[place] > needed


def test_probes_and_proxies_go_to_the_ports_that_are_served(folder: Path) -> None:
    server = parsed(SERVERS["kubernetes"], folder)
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports["webhooks"] == server["port"]
    assert server["metrics"] == f"0.0.0.0:{ports['metrics']}"
    scraped = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert scraped["prometheus.io/port"] == str(ports["metrics"])
    for place in ("systemd", "docker", "compose"):
        here = f"127.0.0.1:{parsed(SERVERS[place], folder)['port']}"
        for name in ("Caddyfile", "nginx.conf"):
            assert here in (DEPLOY / name).read_text()
    assert f"{here}/livez" in compose()["bot"]["healthcheck"]["test"][-1]


def test_only_the_webhooks_path_is_public() -> None:
    assert re.findall(r"^\thandle (\S+) \{", (DEPLOY / "Caddyfile").read_text(), re.MULTILINE) == [
        "/whatsapp"
    ]
    assert "location = /whatsapp {" in (DEPLOY / "nginx.conf").read_text()
    (rule,) = manifests()["Ingress"]["spec"]["rules"]
    assert [(path["path"], path["pathType"]) for path in rule["http"]["paths"]] == [
        ("/whatsapp", "Exact")
    ]


def test_what_belongs_to_a_deployment_finds_its_pods() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    target = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
    assert target == found["Deployment"]["metadata"]["name"]
    ports = {port["name"] for port in container()["ports"]}
    probes = [container()[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness")]
    assert {probe["port"] for probe in probes} <= ports


def test_the_autoscaler_acts_before_pods_are_full(folder: Path) -> None:
    server = parsed(SERVERS["kubernetes"], folder)
    (metric,) = manifests()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    calls = int(metric["pods"]["target"]["averageValue"])
    assert calls < server["workers"] * server["max_calls"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    copy = tmp_path / UNIT.name
    # The command of this environment stands for that of /opt/bot.
    copy.write_text(
        UNIT.read_text().replace(shlex.split(unit()["ExecStart"])[0], sys.executable, 1)
    )
    outcome = subprocess.run(  # noqa: S603 - a program of the system
        [program, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert UNIT.name not in outcome.stderr


# The page


@pytest.mark.parametrize("words", list(commands_on_the_page()), ids=" ".join)
def test_commands_on_the_page_are_understood(words: list[str], folder: Path) -> None:
    parsed(words, folder)


def test_files_that_the_page_links_to_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)", PAGE.read_text())
    assert links
    missing = {link for link in links if not (DOCS / link).exists()}
    assert not missing


def test_places_on_the_page_that_it_links_to_are_there() -> None:
    text = PAGE.read_text()
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_variables_on_the_page_are_read() -> None:
    sources = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    named = set(re.findall(r"WHATSAPP_[A-Z_0-9]+", PAGE.read_text()))
    assert not {name for name in named if name not in sources}


@pytest.mark.parametrize("block", blocks("python"))
def test_python_on_the_page_is_python(block: str) -> None:
    compile(block, str(PAGE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
