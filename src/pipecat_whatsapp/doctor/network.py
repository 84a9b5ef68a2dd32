"""Does sound get from this machine to Meta's relay and back, and what will a caller experience?"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from pipecat.transports.smallwebrtc.connection import IceServer

from pipecat_whatsapp.config import Timing
from pipecat_whatsapp.doctor import stun, turn
from pipecat_whatsapp.doctor.finding import Finding, broken, ok, skipped, warning
from pipecat_whatsapp.doctor.stun import StunAnswer
from pipecat_whatsapp.doctor.turn import TurnAnswer
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.gathering import STUN_TIMEOUT
from pipecat_whatsapp.media.interfaces import read_interfaces
from pipecat_whatsapp.media.network import ANYWHERE, Network, choose_addresses

STUN_SERVERS = ("stun:stun.l.google.com:19302", "stun:stun.cloudflare.com:3478")
"""Public servers of two operators, asked whether UDP gets out."""

OPEN_UDP = (
    "let outgoing UDP through the firewall, or name a TURN server that is reached by TCP with "
    "--ice-server, and with --ice-servers for the bot"
)


@dataclass(frozen=True)
class NetworkFacts:
    """What was seen of the network.

    Parameters:
        candidates: The addresses that a call offers, but for those of relays.
        probes: Answers of the servers that tell whether UDP gets out.
        stun: Answers of the STUN servers that the bot is configured with.
        turn: Answers of its TURN servers.
        relay_only: Whether calls may use nothing but a relay.
    """

    candidates: tuple[str, ...]
    probes: tuple[StunAnswer, ...]
    stun: tuple[StunAnswer, ...] = ()
    turn: tuple[TurnAnswer, ...] = ()
    relay_only: bool = False

    @property
    def mapped(self) -> list[StunAnswer]:
        """The answers that tell how we are seen from outside."""
        return [answer for answer in (*self.probes, *self.stun) if answer.mapped]

    @property
    def unanswered(self) -> list[StunAnswer]:
        """The servers that were asked and kept silent; a name without an address was not asked."""
        asked = (answer for answer in (*self.probes, *self.stun) if answer.server)
        return [answer for answer in asked if not answer.mapped]

    @property
    def relay(self) -> TurnAnswer | None:
        """The first TURN server that gives a relay, which is the one that calls use."""
        return next((answer for answer in self.turn if answer.relayed), None)


async def examine_network(
    ice_servers: Sequence[IceServer] = (),
    probes: Sequence[str] = STUN_SERVERS,
    chosen: Network = ANYWHERE,
) -> list[Finding]:
    """Look at the network, and judge it.

    Args:
        ice_servers: The STUN and TURN servers that the bot is configured with.
        probes: STUN servers that tell whether UDP gets out.
        chosen: Which part of the network calls use.
    """
    return judge(await look(ice_servers, probes, chosen))


async def look(
    ice_servers: Sequence[IceServer], probes: Sequence[str], chosen: Network
) -> NetworkFacts:
    """See what the network gives."""
    servers = list(_one_url_each(ice_servers))
    configured = [str(server.urls) for server in servers if _is_stun(server)]
    relays = [turn.allocate(server) for server in servers if not _is_stun(server)]
    answers, relayed = await asyncio.gather(
        stun.ask([*probes, *configured]), asyncio.gather(*relays)
    )
    return NetworkFacts(
        _candidates(chosen),
        probes=tuple(answers[: len(probes)]),
        stun=tuple(answers[len(probes) :]),
        turn=tuple(relayed),
        relay_only=chosen.relay_only,
    )


def _candidates(chosen: Network) -> tuple[str, ...]:
    try:
        found = tuple(choose_addresses(read_interfaces(), chosen))
    except ConfigError:
        return ()
    return (chosen.public_ip,) if chosen.public_ip else found


def judge(facts: NetworkFacts) -> list[Finding]:
    """What the network means for calls."""
    return [
        judge_udp(facts),
        judge_nat(facts),
        judge_candidates(facts),
        *map(_judge_stun, facts.stun),
        *map(_judge_turn, facts.turn),
        judge_sound(facts),
    ]


def judge_udp(facts: NetworkFacts) -> Finding:
    """Does UDP get out at all?"""
    if facts.mapped:
        return ok("UDP", f"gets out and back: {facts.mapped[0].url} answers")
    if not facts.unanswered:
        return skipped(
            "UDP",
            "no STUN server could be asked, because no name could be resolved",
            "check DNS, or name a server by its address with --stun",
        )
    told = "; ".join(f"{answer.url}: {answer.why}" for answer in facts.unanswered)
    if facts.relay is not None:
        cure = "let outgoing UDP through the firewall, which spares calls the way by the relay"
        return warning("UDP", f"is blocked ({told})", cure)
    return broken("UDP", f"is blocked ({told})", OPEN_UDP)


def judge_nat(facts: NetworkFacts) -> Finding:
    """What kind of NAT stands between us and the internet (RFC 5780 section 4.3)?"""
    if not facts.mapped:
        return skipped("NAT", "no STUN server answered")
    first = facts.mapped[0]
    if all(answer.mapped == answer.local for answer in facts.mapped):
        return ok("NAT", f"there is none: the world sees {_shown(first)} itself")
    others = [answer for answer in facts.mapped if answer.server != first.server]
    if not others:
        return ok("NAT", f"there is one: the world sees {_shown(first)}; only one server told")
    if all(answer.mapped == first.mapped for answer in others):
        return ok("NAT", f"shows everybody the same address, {_shown(first)}; calls work")
    return ok(
        "NAT",
        f"shows everybody another address (symmetric), such as {_shown(first)} and "
        f"{_shown(others[0])}; calls work, because Meta's relay answers to where packets come from",
    )


def judge_candidates(facts: NetworkFacts) -> Finding:
    """Which addresses of ours does a call offer?"""
    if facts.relay_only:
        return ok("candidates", "none but a relay's is offered, as WHATSAPP_RELAY_ONLY says")
    if not facts.candidates:
        return broken(
            "candidates",
            "this machine has no network address that calls may use",
            "connect it, or correct WHATSAPP_BIND_ADDRESS",
        )
    public = [host for host in facts.candidates if stun.is_public(host)]
    kind = f"{len(public)} public" if public else "all private"
    return ok("candidates", f"{', '.join(facts.candidates)} ({kind})")


def judge_sound(facts: NetworkFacts) -> Finding:
    """What will the caller experience with this network?"""
    if facts.relay_only:
        return _judge_relayed_sound(facts.relay)
    if facts.mapped and any(map(stun.is_public, facts.candidates)):
        return ok("sound", "calls work: a public address, and UDP gets out")
    if facts.mapped:
        return ok(
            "sound",
            "every candidate is private, but UDP gets out: calls work, because Meta's relay is "
            "ICE-lite and learns our address from the first packet",
        )
    if facts.relay is not None:
        udp = "UDP is blocked" if facts.unanswered else "it is not known whether UDP gets out"
        return ok("sound", f"{udp}, but calls work through the relay of {facts.relay.url}")
    if not facts.unanswered:
        return skipped("sound", "it is not known whether UDP gets out")
    return broken(
        "sound",
        "UDP is blocked: no sound will flow; whoever calls hears it ring for "
        f"{Timing().link_timeout:.0f} s and is then declined, and whoever is called picks up and "
        "hears silence until WhatsApp gives up after 20 s",
        OPEN_UDP,
    )


def _judge_relayed_sound(relay: TurnAnswer | None) -> Finding:
    if relay is not None:
        return ok("sound", f"calls work through the relay of {relay.url}")
    return broken(
        "sound",
        "calls may use nothing but a relay (WHATSAPP_RELAY_ONLY), and there is none: all will fail",
        "see to a TURN server, or unset WHATSAPP_RELAY_ONLY",
    )


def _judge_stun(answer: StunAnswer) -> Finding:
    if answer.mapped and answer.seconds <= STUN_TIMEOUT:
        return ok(answer.url, f"answers: the world sees {_shown(answer)}")
    slow = f"it took {answer.seconds:.1f} s to answer, and calls wait {STUN_TIMEOUT:g} s"
    return warning(
        answer.url,
        f"{answer.why or slow}, so every call waits for it in vain",
        "remove it from --ice-servers: Meta's relays need no STUN server",
    )


def _judge_turn(answer: TurnAnswer) -> Finding:
    if answer.relayed:
        return ok(answer.url, f"gives a relay at {answer.relayed[0]}")
    return warning(
        answer.url,
        f"gives no relay ({answer.why}), so every call waits for it in vain",
        "check its address, user name and credential, or remove it from --ice-servers",
    )


def _one_url_each(servers: Sequence[IceServer]) -> list[IceServer]:
    return [
        IceServer(url, server.username, server.credential)
        for server in servers
        for url in ([server.urls] if isinstance(server.urls, str) else server.urls)
    ]


def _is_stun(server: IceServer) -> bool:
    return str(server.urls).startswith(("stun:", "stuns:"))


def _shown(answer: StunAnswer) -> str:
    if answer.mapped is None:
        return "nothing"
    host, port = answer.mapped
    return f"[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"{host}:{port}"
