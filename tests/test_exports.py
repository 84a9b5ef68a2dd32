from __future__ import annotations

import subprocess
import sys

import pytest

import pipecat_whatsapp


def test_every_public_name_is_there_and_no_other() -> None:
    for name in pipecat_whatsapp.__all__:
        assert getattr(pipecat_whatsapp, name).__name__ or name == "Bot"
    listed = {name for names in pipecat_whatsapp._MODULES.values() for name in names}  # noqa: SLF001
    assert listed == set(pipecat_whatsapp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = pipecat_whatsapp.Nonsense


@pytest.mark.parametrize("module", ["pipecat_whatsapp", "pipecat_whatsapp.simulator.pytest_plugin"])
def test_importing_costs_nothing_heavy(module: str) -> None:
    """The plugin is loaded by every pytest run of everybody who has the package."""
    code = (
        f"import sys, {module}; "
        "heavy = {'pipecat', 'aiortc', 'av', 'aiohttp', 'fastapi', 'typer'} & set(sys.modules); "
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_the_transport_pulls_in_no_web_framework_nor_the_simulator() -> None:
    code = (
        "import sys, pipecat_whatsapp.transport, pipecat_whatsapp.calls.adapter; "
        "extra = [m for m in sys.modules if m.split('.')[0] in ('fastapi', 'typer', 'redis', 'cv2')"
        " or m.startswith('pipecat_whatsapp.simulator')]; "
        "sys.exit(f'{extra} imported' if extra else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
