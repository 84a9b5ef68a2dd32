from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pipecat.transports.smallwebrtc.connection import IceServer

from conftest import wait_for_stun
from pipecat_whatsapp.doctor import network, stun, turn
from pipecat_whatsapp.doctor.finding import Finding, Verdict
from pipecat_whatsapp.doctor.network import NetworkFacts, examine_network, judge
from pipecat_whatsapp.doctor.stun import Address, StunAnswer, host_and_port
from pipecat_whatsapp.doctor.turn import TurnAnswer
from pipecat_whatsapp.media.gathering import STUN_TIMEOUT, TURN_TIMEOUT
from pipecat_whatsapp.media.network import Network
from stun_server import stun_server

PRIVATE, PUBLIC = "192.168.1.7", "8.8.4.4"
ONE, OTHER = ("9.9.9.9", 3478), ("149.112.112.112", 3478)

UNRESOLVED = StunAnswer("stun:one", why="its name cannot be resolved")
SILENT = StunAnswer("stun:one", ONE, (PRIVATE, 5000), why="no answer came")


def seen(server: Address, mapped: Address, local: Address = (PRIVATE, 5000)) -> StunAnswer:
    return StunAnswer(f"stun:{server[0]}", server, local, mapped)


HOME = NetworkFacts((PRIVATE,), probes=(seen(ONE, (PUBLIC, 6000)), seen(OTHER, (PUBLIC, 6000))))
BLOCKED = NetworkFacts((PRIVATE,), probes=(SILENT,))
RELAY = TurnAnswer("turn:relay:443?transport=tcp", ("203.0.113.9", 50000))


def judged(facts: NetworkFacts, name: str) -> Finding:
    return next(finding for finding in judge(facts) if finding.name == name)


def test_private_candidates_are_no_trouble_while_udp_gets_out() -> None:
    finding = judged(HOME, "sound")
    assert finding.verdict is Verdict.OK
    assert "every candidate is private, but UDP gets out" in finding.what
    assert "ICE-lite" in finding.what


def test_a_public_address_is_told() -> None:
    facts = NetworkFacts((PUBLIC,), probes=(seen(ONE, (PUBLIC, 5000), (PUBLIC, 5000)),))
    assert "a public address" in judged(facts, "sound").what
    assert judged(facts, "NAT").what.startswith("there is none")
    assert "1 public" in judged(facts, "candidates").what


def test_blocked_udp_says_what_callers_will_experience() -> None:
    udp, sound = judged(BLOCKED, "UDP"), judged(BLOCKED, "sound")
    assert udp.verdict is sound.verdict is Verdict.BROKEN
    assert "hears it ring" in sound.what
    assert "silence" in sound.what
    assert "TURN" in sound.cure


def test_a_relay_carries_calls_where_udp_is_blocked() -> None:
    facts = replace(BLOCKED, turn=(TurnAnswer("turn:dead", why="no answer came"), RELAY))
    sound = judged(facts, "sound")
    assert sound.verdict is Verdict.OK
    assert RELAY.url in sound.what
    assert judged(facts, "UDP").verdict is Verdict.WARNING
    assert judged(facts, "turn:dead").verdict is Verdict.WARNING
    assert judged(facts, RELAY.url).verdict is Verdict.OK


def test_a_relay_says_nothing_of_udp_that_could_not_be_tried() -> None:
    facts = NetworkFacts((PRIVATE,), probes=(UNRESOLVED,), turn=(RELAY,))
    sound = judged(facts, "sound")
    assert sound.verdict is Verdict.OK
    assert RELAY.url in sound.what
    assert "blocked" not in sound.what


def test_calls_that_may_use_nothing_but_a_relay_are_lost_without_one() -> None:
    sound = judged(replace(HOME, candidates=(), relay_only=True), "sound")
    assert sound.verdict is Verdict.BROKEN
    assert "WHATSAPP_RELAY_ONLY" in sound.what


def test_calls_that_may_use_nothing_but_a_relay_offer_no_other_address() -> None:
    facts = replace(HOME, candidates=(), turn=(RELAY,), relay_only=True)
    assert judged(facts, "candidates").verdict is Verdict.OK
    sound = judged(facts, "sound")
    assert sound.verdict is Verdict.OK
    assert RELAY.url in sound.what


@pytest.mark.parametrize(
    ("chosen", "candidates"),
    [
        (Network(address="127.0.0.1"), ("127.0.0.1",)),
        (Network(public_ip="203.0.113.7"), ("203.0.113.7",)),
        (Network(relay_only=True), ()),
        (Network(address="192.0.2.1"), ()),
    ],
)
async def test_candidates_are_those_that_the_settings_leave(
    chosen: Network, candidates: tuple[str, ...]
) -> None:
    assert (await network.look([], [], chosen)).candidates == candidates


def test_a_server_that_answers_after_calls_have_given_it_up_is_no_help() -> None:
    slow = replace(seen(ONE, (PUBLIC, 6000)), seconds=STUN_TIMEOUT * 2)
    finding = judged(NetworkFacts((PRIVATE,), probes=(), stun=(slow,)), slow.url)
    assert finding.verdict is Verdict.WARNING
    assert f"{STUN_TIMEOUT:g} s" in finding.what
    assert turn.PATIENCE == TURN_TIMEOUT


def test_names_that_cannot_be_resolved_are_not_taken_for_blocked_udp() -> None:
    facts = NetworkFacts((PRIVATE,), probes=(UNRESOLVED,))
    assert judged(facts, "UDP").verdict is Verdict.SKIPPED
    assert judged(facts, "sound").verdict is Verdict.SKIPPED
    assert "DNS" in judged(facts, "UDP").cure


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((seen(ONE, (PUBLIC, 6000)), seen(OTHER, (PUBLIC, 6000))), "the same address"),
        ((seen(ONE, (PUBLIC, 6000)), seen(OTHER, (PUBLIC, 6001))), "symmetric"),
        ((seen(ONE, (PUBLIC, 6000)), seen(ONE, (PUBLIC, 6000))), "only one server told"),
        ((seen(ONE, (PUBLIC, 6000)), SILENT), "only one server told"),
    ],
)
def test_the_kind_of_nat_is_seen_by_comparing_two_servers(
    answers: tuple[StunAnswer, ...], words: str
) -> None:
    finding = judged(NetworkFacts((PRIVATE,), probes=answers), "NAT")
    assert finding.verdict is Verdict.OK
    assert words in finding.what


def test_a_host_without_an_address_is_broken() -> None:
    assert judged(replace(BLOCKED, candidates=()), "candidates").verdict is Verdict.BROKEN


async def test_a_real_network_is_examined(turn_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "STUN_TIMEOUT", 60.0)
    for asked in (stun, turn):
        monkeypatch.setattr(asked, "PATIENCE", 60.0)
    await asyncio.to_thread(wait_for_stun, host_and_port(turn_url)[1])
    async with stun_server(seen=(PUBLIC, 6000)) as one, stun_server(seen=(PUBLIC, 6001)) as other:
        servers = [IceServer([one, turn_url], "ada", "secret")]
        findings = {finding.name: finding for finding in await examine_network(servers, [other])}
    assert findings["UDP"].verdict is Verdict.OK
    assert "symmetric" in findings["NAT"].what
    assert findings[one].verdict is Verdict.OK
    assert "127.0.0.1" in findings[turn_url].what
    assert findings["sound"].verdict is Verdict.OK
