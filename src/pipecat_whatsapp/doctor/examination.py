"""All checks, in the order in which one rests on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pipecat_whatsapp.doctor import network, variables, webhook
from pipecat_whatsapp.doctor.at_meta import AtMeta
from pipecat_whatsapp.doctor.finding import Finding, broken, skipped, what_and_cure
from pipecat_whatsapp.doctor.patient import Patient
from pipecat_whatsapp.errors import ConfigError
from pipecat_whatsapp.media.network import ANYWHERE, Network
from pipecat_whatsapp.meta.graph import GraphClient


async def examine(
    patient: Patient, graph: GraphClient | ConfigError | None
) -> AsyncIterator[Finding]:
    """Run every check; one that fails spoils no other.

    Args:
        patient: What is examined.
        graph: The Graph API, or why it cannot be asked; None when there is no token to ask with.
    """
    for finding in variables.examine_versions():
        yield finding
    for finding in variables.examine_variables(patient.environ):
        yield finding
    url, app_secret = patient.url, next(iter(patient.app_secrets), None)
    if graph is None:
        yield skipped("token", "Meta cannot be asked without one")
    elif isinstance(graph, ConfigError):
        yield broken("Graph API", *what_and_cure(graph))
    else:
        meta = AtMeta(patient, graph)
        async for finding in meta.findings():
            yield finding
        url, app_secret = meta.url, meta.app_secret
    for finding in await _examine_webhook(patient, url, app_secret):
        yield finding
    chosen = _network_of(patient)
    for finding in await network.examine_network(patient.ice_servers, patient.probes, chosen):
        yield finding


def _network_of(patient: Patient) -> Network:
    try:
        return Network.from_env(patient.environ)
    except ConfigError:
        # Among the variables it was found broken already.
        return ANYWHERE


async def _examine_webhook(
    patient: Patient, url: str | None, app_secret: str | None
) -> list[Finding]:
    if url is None:
        return [skipped("public address", "is not known", "name it with --url")]
    if not patient.verification_token:
        return [skipped("public address", "cannot be asked without the verification token")]
    return await webhook.examine_webhook(
        url,
        verification_token=patient.verification_token,
        app_secret=app_secret,
        bot_url=patient.bot_url,
    )
