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


def python(code: str) -> None:
    """Run code in a new process; it must succeed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["pipecat_whatsapp", "pipecat_whatsapp.simulator.pytest_plugin"])
def test_importing_costs_nothing_heavy(module: str) -> None:
    """The plugin is loaded by every pytest run of everybody who has the package."""
    python(
        f"import sys, {module}; "
        "heavy = {'pipecat', 'aiortc', 'av', 'numpy', 'aiohttp', 'fastapi', 'typer', 'redis'}; "
        "heavy &= set(sys.modules); "
        "sys.exit(f'{heavy} imported' if heavy else 0)"
    )


def test_no_public_name_pulls_in_an_extra_nor_the_simulator() -> None:
    python(
        "import sys, pipecat_whatsapp as package; "
        "names = [getattr(package, name) for name in package.__all__]; "
        "extras = ('fastapi', 'starlette', 'uvicorn', 'typer', 'rich', 'redis', 'cv2'); "
        "extra = [m for m in sys.modules if m.split('.')[0] in extras"
        " or m.startswith('pipecat_whatsapp.simulator')]; "
        "sys.exit(f'{extra} imported' if extra else 0)"
    )
