"""What docs/deploy/ has people run can be run."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from command_line import parsed
from pipecat_whatsapp.serving.supervisor import CLOSE_PATIENCE

DOCS = Path(__file__).parent.parent / "docs"
DEPLOY = DOCS / "deploy"
UNIT = DEPLOY / "pipecat-whatsapp.service"


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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bot.py, where commands are read."""
    (tmp_path / "bot.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", SERVERS)
def test_servers_are_started_with_options_that_exist(place: str, folder: Path) -> None:
    assert parsed(SERVERS[place])["bot"].name == "bot.py"


@pytest.mark.parametrize("place", GRACE)
def test_servers_get_the_time_that_they_need_to_end(place: str, folder: Path) -> None:
    server = parsed(SERVERS[place])
    needed = server["drain_timeout"] + server["goodbye_timeout"] + CLOSE_PATIENCE
    assert GRACE[place] > needed


def test_probes_and_proxies_go_to_the_ports_that_are_served(folder: Path) -> None:
    server = parsed(SERVERS["kubernetes"])
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports["webhooks"] == server["port"]
    assert server["metrics"] == f"0.0.0.0:{ports['metrics']}"
    scraped = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert scraped["prometheus.io/port"] == str(ports["metrics"])
    for place in ("systemd", "docker", "compose"):
        here = f"127.0.0.1:{parsed(SERVERS[place])['port']}"
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
    server = parsed(SERVERS["kubernetes"])
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
