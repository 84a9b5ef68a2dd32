"""The `pipecat-whatsapp` command, also mounted as `pipecat whatsapp`."""

from __future__ import annotations

import sys

try:
    import typer
except ModuleNotFoundError:
    sys.exit("This command needs more: pip install 'pipecat-whatsapp[cli]'.")

from pipecat_whatsapp.commands.call import call
from pipecat_whatsapp.commands.doctor import doctor
from pipecat_whatsapp.commands.evaluate import evaluate
from pipecat_whatsapp.commands.link import link
from pipecat_whatsapp.commands.permissions import permissions
from pipecat_whatsapp.commands.serve import serve
from pipecat_whatsapp.commands.settings import settings
from pipecat_whatsapp.commands.setup import setup
from pipecat_whatsapp.commands.simulate import demo, ring, simulate

app = typer.Typer(
    help="Put a pipecat voice bot on WhatsApp calls.",
    no_args_is_help=True,
    add_completion=False,
    # They hold tokens and secrets.
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main() -> None:
    """Put a pipecat voice bot on WhatsApp calls."""


for command in (demo, simulate, ring, evaluate, serve, setup, doctor, call, permissions, link):
    app.command()(command)
app.add_typer(settings, name="settings")


if __name__ == "__main__":
    app()
