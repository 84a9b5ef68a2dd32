from __future__ import annotations

from pathlib import Path

import pytest

from conftest import until
from pipecat_whatsapp.commands import tunnel
from pipecat_whatsapp.commands.tunnel import open_tunnel
from pipecat_whatsapp.errors import ConfigError

CLOUDFLARED = """#!/bin/sh
echo "INF Requesting new quick Tunnel on trycloudflare.com..." >&2
echo "$@" > "$(dirname "$0")/arguments"
echo "INF |  https://four-random-words-here.trycloudflare.com   |" >&2
exec yes "INF more than a pipe holds" >&2
"""

CLOUDFLARED_OFFLINE = """#!/bin/sh
echo 'failed to request quick Tunnel: Post "https://api.trycloudflare.com/tunnel": no such host'
exit 1
"""

CLOUDFLARED_AT_LENGTH = """#!/bin/sh
head -c 300000 /dev/zero | tr '\\0' x
echo
echo "https://four-random-words-here.trycloudflare.com"
head -c 300000 /dev/zero | tr '\\0' x
echo
touch "$(dirname "$0")/through"
exec sleep 1000
"""

NGROK = """#!/bin/sh
echo "$@" > "$(dirname "$0")/arguments"
echo '{"msg":"open config file"}'
echo '{"msg":"client session established","url":"https://not.this.one"}'
echo '{"msg":"started tunnel","url":"https://ab12.ngrok.app"}'
exec sleep 1000
"""

NGROK_WITHOUT_ACCOUNT = """#!/bin/sh
echo "ERROR: authentication failed: ERR_NGROK_4018"
exit 1
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH where such programs may be."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def install(tools: Path, name: str, script: str) -> None:
    (tools / name).write_text(script)
    (tools / name).chmod(0o755)


async def test_cloudflared_tells_an_address_that_leads_to_the_port(tools: Path) -> None:
    install(tools, "cloudflared", CLOUDFLARED)
    install(tools, "ngrok", NGROK)
    async with open_tunnel(7860) as opened:
        assert opened.name == "cloudflared"
        assert opened.url == "https://four-random-words-here.trycloudflare.com"
        assert opened.process.returncode is None
    assert opened.process.returncode is not None
    assert "--url http://127.0.0.1:7860" in (tools / "arguments").read_text()


async def test_the_address_of_cloudflared_s_own_service_is_no_tunnel(tools: Path) -> None:
    install(tools, "cloudflared", CLOUDFLARED_OFFLINE)
    with pytest.raises(ConfigError, match="failed to request quick Tunnel"):
        async with open_tunnel(7860):
            raise AssertionError("there is no tunnel")


async def test_a_line_of_any_length_does_not_end_a_tunnel(tools: Path) -> None:
    install(tools, "cloudflared", CLOUDFLARED_AT_LENGTH)
    async with open_tunnel(7860) as opened:
        await until(lambda: (tools / "through").exists())
    assert opened.process.returncode is not None


async def test_ngrok_serves_where_there_is_no_cloudflared(tools: Path) -> None:
    install(tools, "ngrok", NGROK)
    async with open_tunnel(7861) as opened:
        assert opened.url == "https://ab12.ngrok.app"
    assert opened.process.returncode is not None
    assert (tools / "arguments").read_text().startswith("http 7861 ")


async def test_a_program_that_opens_no_tunnel_is_quoted(tools: Path) -> None:
    install(tools, "ngrok", NGROK_WITHOUT_ACCOUNT)
    with pytest.raises(ConfigError, match="ERR_NGROK_4018"):
        async with open_tunnel(7860):
            raise AssertionError("there is no tunnel")


async def test_a_program_that_says_nothing_is_given_up_and_stopped(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "START_PATIENCE", 0.3)
    install(tools, "ngrok", "#!/bin/sh\nexec sleep 1000\n")
    with pytest.raises(ConfigError, match="told no address"):
        async with open_tunnel(7860):
            raise AssertionError("there is no tunnel")


async def test_without_any_program_the_sentence_says_what_to_install(tools: Path) -> None:
    with pytest.raises(ConfigError, match="install cloudflared or ngrok"):
        async with open_tunnel(7860):
            raise AssertionError("there is no tunnel")
