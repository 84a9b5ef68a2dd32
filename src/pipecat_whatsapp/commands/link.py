"""`link`: an address that calls the business number, and its QR code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from pipecat_whatsapp.commands import environment, terminal
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.meta.checks import MAX_PAYLOAD_CHARS

if TYPE_CHECKING:
    import segno

_PICTURE = typer.Option(metavar="FILE", help="Write the QR code as a picture.", dir_okay=False)


def link(
    number: Annotated[
        str | None, typer.Argument(help="The business number; that of the environment by default.")
    ] = None,
    payload: Annotated[
        str | None,
        typer.Option(help="What the bot gets as call.deeplink_payload, such as 'shop window'."),
    ] = None,
    png: Annotated[Path | None, _PICTURE] = None,
    svg: Annotated[Path | None, _PICTURE] = None,
    phone_number_id: environment.PhoneNumberId = None,
    env_file: environment.EnvFile = environment.ENV_FILE,
) -> None:
    """Print a link that calls the business number, and its QR code."""
    terminal.run(_link(number, payload, png, svg, phone_number_id, env_file))


def call_link(phone: str, payload: str | None = None) -> str:
    """The address that makes WhatsApp call a business number.

    Source: Meta, call button messages and deep links.

    Args:
        phone: The number in digits.
        payload: Comes back as `call.deeplink_payload`. Whoever has the link can change it.

    Raises:
        ConfigError: The payload is longer than 512 characters.
    """
    if payload is not None and len(payload) > MAX_PAYLOAD_CHARS:
        raise ConfigError(
            f"The payload has {len(payload)} characters, and WhatsApp takes {MAX_PAYLOAD_CHARS}: "
            "shorten it."
        )
    query = f"?biz_payload={quote(payload, safe='')}" if payload else ""
    return f"https://wa.me/call/{phone}{query}"


async def _link(
    number: str | None,
    payload: str | None,
    png: Path | None,
    svg: Path | None,
    phone_number_id: str | None,
    env_file: Path,
) -> None:
    phone = _given(number) if number else await _registered(phone_number_id, env_file)
    address = call_link(phone, payload)
    typer.echo(address)
    code = _qr_code(address)
    code.terminal(compact=True)
    for path, kind in ((png, "png"), (svg, "svg")):
        if path is not None:
            _save(code, path, kind)


def _given(number: str) -> str:
    from pipecat_whatsapp.meta.address import read_user

    phone = read_user(number).phone
    if phone is None:
        raise ConfigError("A link calls a phone number, not a user id: give the business number.")
    return phone


async def _registered(phone_number_id: str | None, env_file: Path) -> str:
    environ = environment.load(env_file)
    chosen = environment.phone_number_id(environ, phone_number_id)
    async with environment.open_graph(environ) as graph:
        number = await graph.account.phone_number(chosen)
    return _given(number.display_phone_number or "")


def _qr_code(address: str) -> segno.QRCode:
    import segno

    try:
        return segno.make_qr(address)
    except segno.DataOverflowError:
        raise ConfigError(
            f"No QR code can hold this link of {len(address)} characters: shorten the payload."
        ) from None


def _save(code: segno.QRCode, path: Path, kind: str) -> None:
    try:
        code.save(str(path), kind=kind, scale=8)
    except OSError as error:
        raise ConfigError(f"The QR code cannot be written: {error}") from error
    typer.echo(f"Written: {path}")
