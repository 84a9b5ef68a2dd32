"""Everything that Meta can be asked about: token, numbers, settings, subscriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from pipecat_whatsapp.doctor import account, subscription
from pipecat_whatsapp.doctor.finding import Finding, Verdict, broken, skipped, what_and_cure
from pipecat_whatsapp.doctor.patient import Patient
from pipecat_whatsapp.errors import GraphError, GraphRequestError, WhatsAppError
from pipecat_whatsapp.meta.account import PhoneNumber, TokenInfo
from pipecat_whatsapp.meta.graph import GraphClient


class AtMeta:
    """Asks Meta about a patient, and remembers what the webhook's examination needs.

    Args:
        patient: What is examined.
        graph: The Graph API.

    Attributes:
        url: Where Meta sends webhooks to, once `findings` is through; None when it is not known.
        app_secret: The secret that Meta signs them with; None when it is not among ours.
    """

    def __init__(self, patient: Patient, graph: GraphClient) -> None:
        self.url = patient.url
        self.app_secret = next(iter(patient.app_secrets), None)
        self._patient = patient
        self._graph = graph
        self._app_url: str | None = None

    async def findings(self) -> AsyncIterator[Finding]:
        """Run the checks; one that fails spoils no other, as far as it does not rest on it."""
        try:
            info = await self._graph.account.inspect_token()
        except GraphError as error:
            yield refused("token", error, account.SYSTEM_USER_ADVICE)
            yield skipped("account", "Meta cannot be asked with this token")
            return
        yield account.check_token(info, self._patient.now)
        if not info.is_valid:
            yield skipped("account", "Meta cannot be asked with this token")
            return
        async for finding in self._examine_numbers():
            yield finding
        if info.app_id is None:
            yield skipped("app subscription", "Meta does not tell which app the token is of")
            return
        async for finding in self._examine_subscriptions(info, info.app_id):
            yield finding

    async def _examine_numbers(self) -> AsyncIterator[Finding]:
        for number_id in self._patient.phone_number_ids:
            for finding in await self._examine_number(number_id):
                yield self._of_number(finding, number_id)

    async def _examine_number(self, number_id: str) -> list[Finding]:
        try:
            number = await self._graph.account.phone_number(number_id)
        except WhatsAppError as error:
            return [
                refused(
                    "number",
                    error,
                    "copy WHATSAPP_PHONE_NUMBER_ID from WhatsApp > API Setup, and give the "
                    "system user this account",
                )
            ]
        found = account.check_number(number)
        try:
            settings = await self._graph.settings.read(number_id)
        except GraphError as error:
            return [found, refused("calling", error, account.SYSTEM_USER_ADVICE)]
        judged = account.judge_settings(settings, self._patient.now, self._patient.answer_time)
        return [found, *judged]

    async def _examine_subscriptions(self, info: TokenInfo, app_id: str) -> AsyncIterator[Finding]:
        for finding in await self._examine_app(app_id):
            yield finding
        for finding in await self._examine_accounts(info, app_id):
            yield finding

    async def _examine_app(self, app_id: str) -> list[Finding]:
        findings = []
        for secret in self._patient.app_secrets:
            findings = [await account.check_app_secret(self._graph, app_id, secret)]
            if findings[0].verdict is Verdict.OK:
                self.app_secret = secret
                return [*findings, await self._check_app(app_id, secret)]
            if findings[0].verdict is Verdict.BROKEN:
                self.app_secret = None
        return [*findings, skipped("app subscription", "the app's secret is needed to ask for it")]

    async def _examine_accounts(self, info: TokenInfo, app_id: str) -> list[Finding]:
        name = "account subscription"
        waba_ids = (self._patient.waba_id,) if self._patient.waba_id else wabas(info)
        if not self._patient.phone_number_ids:
            return [skipped(name, "the number is not known")]
        if not waba_ids:
            what = "the token does not tell the WhatsApp Business Account"
            return [skipped(name, what, "name it with --waba")]
        findings = [
            finding for waba_id in waba_ids for finding in await self._examine_waba(waba_id, app_id)
        ]
        return findings or [
            broken(
                name,
                f"the number belongs to none of the accounts {', '.join(waba_ids)}",
                "give the system user the number's account, and name it with --waba",
            )
        ]

    async def _check_app(self, app_id: str, secret: str) -> Finding:
        try:
            subscriptions = await self._graph.account.app_subscriptions(app_id, secret)
        except GraphError as error:
            return refused("app subscription", error, subscription.SETUP)
        found = subscription.app_subscription(subscriptions)
        self._app_url = found.callback_url if found else None
        self.url = self.url or self._app_url
        return subscription.check_app(subscriptions)

    async def _examine_waba(self, waba_id: str, app_id: str) -> list[Finding]:
        try:
            numbers = await self._graph.account.phone_numbers(waba_id)
            apps = await self._graph.account.subscribed_apps(waba_id)
        except WhatsAppError as error:
            return [refused("account subscription", error, account.SYSTEM_USER_ADVICE)]
        ours = [number for number in numbers if number.id in self._patient.phone_number_ids]
        if not ours:
            return []
        return [
            subscription.check_waba(waba_id, app_id, apps),
            *self._overrides(ours, subscription.override_of(app_id, apps)),
        ]

    def _overrides(self, numbers: Iterable[PhoneNumber], waba_url: str | None) -> list[Finding]:
        findings = []
        for number in numbers:
            if self._patient.url is None:
                self.url = number.webhook_url or waba_url or self._app_url
            findings += [
                self._of_number(finding, number.id)
                for finding in subscription.check_overrides(
                    self._app_url, waba_url, number, self._patient.url
                )
            ]
        return findings

    def _of_number(self, finding: Finding, number_id: str) -> Finding:
        if len(self._patient.phone_number_ids) == 1:
            return finding
        cure = finding.cure.replace(account.SET, f"{account.SET} --phone-number-id {number_id}")
        return replace(finding, name=f"{finding.name} of {number_id}", cure=cure)


def wabas(info: TokenInfo) -> tuple[str, ...]:
    """The WhatsApp Business Accounts that a token names."""
    named = [target for scope in account.SCOPES for target in info.targets.get(scope, ())]
    return tuple(dict.fromkeys(named))


def refused(name: str, error: WhatsAppError, cure: str) -> Finding:
    """What a refusal of Meta, or its silence, means for a check."""
    if isinstance(error, GraphRequestError):
        if error.retryable:
            what = f"Meta cannot say now: {error.meta_message}"
            return skipped(name, what, error.advice or "run the doctor again later")
        return broken(name, f"Meta refuses it: {error.meta_message}", error.advice or cure)
    what, advice = what_and_cure(error)
    return broken(name, what, advice or cure)
