"""DTLS-SRTP without a socket: datagrams in, datagrams and SRTP keys out (RFC 5764).

DTLS 1.2, as WhatsApp speaks it, with an ECDSA certificate made for each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pylibsrtp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL.crypto import X509

_DTLS_1_2 = 0xFEFD
_MTU = 1200
_RECORD_HEADER = 13
_CIPHERS = b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305"


@dataclass(frozen=True)
class _Profile:
    """One way to protect media (RFC 5764 section 4.1.2, RFC 7714 section 14.2); sizes in bytes."""

    name: bytes
    srtp: int
    key: int
    salt: int


_PROFILES = (
    _Profile(b"SRTP_AEAD_AES_128_GCM", pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    _Profile(b"SRTP_AES128_CM_SHA1_80", pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
)


@dataclass(frozen=True)
class SrtpKeys:
    """The two directions of agreed media protection."""

    incoming: pylibsrtp.Session
    outgoing: pylibsrtp.Session


class Identity:
    """A fresh self-signed certificate with its key.

    Attributes:
        fingerprint: SHA-256 of the certificate, as SDP writes it (RFC 8122 section 5).
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "WebRTC")])
        now = datetime.datetime.now(tz=datetime.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(self.key, hashes.SHA256())
        )
        self.fingerprint = _fingerprint(self.certificate)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


class Dtls:
    """One end of a DTLS-SRTP association.

    Parameters:
        identity: Our certificate.
        server: Whether we wait for the other end's ClientHello.
        fingerprint: What the peer's certificate must hash to; another one ends the handshake.
        send: Sends one datagram.
        on_ready: Called once when the keys are agreed.
        on_closed: Called once, with the reason, when the peer closes or the handshake fails.

    Attributes:
        keys: The agreed SRTP keys; None before, and after the end.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        server: bool,
        fingerprint: str,
        send: Callable[[bytes], None],
        on_ready: Callable[[], None],
        on_closed: Callable[[str], None],
    ) -> None:
        self.keys: SrtpKeys | None = None
        self._server = server
        self._fingerprint = fingerprint.upper()
        self._send = send
        self._on_ready = on_ready
        self._on_closed = on_closed
        self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._ssl = SSL.Connection(self._context(identity))
        self._ssl.set_ciphertext_mtu(_MTU)
        if server:
            self._ssl.set_accept_state()
        else:
            self._ssl.set_connect_state()

    def start(self) -> None:
        """Send the first flight, if it is ours to send."""
        if not self._server:
            self._advance()

    def receive(self, datagram: bytes) -> None:
        """Take in one datagram of the peer."""
        if not self._over:
            self._ssl.bio_write(datagram)
            self._advance()

    def close(self) -> None:
        """Say close_notify, when there is something to close."""
        if self.keys is not None and not self._over:
            with contextlib.suppress(SSL.Error):
                self._ssl.shutdown()
            self._flush()
        self.abandon()

    def abandon(self) -> None:
        """Stop without a word."""
        self._over, self.keys = True, None
        if self._timer is not None:
            self._timer.cancel()

    def _context(self, identity: Identity) -> SSL.Context:
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_max_proto_version(_DTLS_1_2)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._knows)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(b":".join(profile.name for profile in _PROFILES))
        return context

    def _knows(self, _ssl: SSL.Connection, certificate: X509, *_: object) -> bool:
        """Trust the certificate that the SDP named, and no other (RFC 5763 section 5)."""
        return _fingerprint(certificate.to_cryptography()) == self._fingerprint

    def _advance(self) -> None:
        try:
            if self.keys is None:
                self._ssl.do_handshake()
                self.keys = self._agree()
                self._flush()
                self._on_ready()
            self._ssl.recv(_MTU)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._end("close_notify")
        except SSL.Error:
            self._end("the DTLS handshake failed")
        self._flush()
        self._set_timer()

    def _end(self, reason: str) -> None:
        self._flush()
        self.abandon()
        self._on_closed(reason)

    def _agree(self) -> SrtpKeys:
        """Derive the SRTP keys (RFC 5764 section 4.2)."""
        name = self._ssl.get_selected_srtp_profile()
        profile = next((p for p in _PROFILES if p.name == name), None)
        if profile is None:
            raise SSL.Error("no SRTP profile in common")
        material = self._ssl.export_keying_material(
            b"EXTRACTOR-dtls_srtp", 2 * (profile.key + profile.salt)
        )
        keys, salts = material[: 2 * profile.key], material[2 * profile.key :]
        client = keys[: profile.key] + salts[: profile.salt]
        server = keys[profile.key :] + salts[profile.salt :]
        incoming, outgoing = (client, server) if self._server else (server, client)
        return SrtpKeys(
            incoming=_session(profile, incoming, pylibsrtp.Policy.SSRC_ANY_INBOUND),
            outgoing=_session(profile, outgoing, pylibsrtp.Policy.SSRC_ANY_OUTBOUND),
        )

    def _flush(self) -> None:
        for datagram in self._written():
            self._send(datagram)

    def _written(self) -> Iterator[bytes]:
        """Cut what OpenSSL wrote into datagrams, at record borders (RFC 6347 section 4.1)."""
        data = b""
        with contextlib.suppress(SSL.Error):
            data = self._ssl.bio_read(1 << 16)
        datagram = b""
        while data:
            size = _RECORD_HEADER + int.from_bytes(data[11:13], "big")
            record, data = data[:size], data[size:]
            if datagram and len(datagram) + size > _MTU:
                yield datagram
                datagram = b""
            datagram += record
        if datagram:
            yield datagram

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        timeout = None if self._over else self._ssl.DTLSv1_get_timeout()
        if timeout is not None:
            self._timer = asyncio.get_running_loop().call_later(timeout, self._resend)

    def _resend(self) -> None:
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error:
            self._end("the DTLS handshake got no answer")
        self._flush()
        self._set_timer()


def _session(profile: _Profile, key: bytes, kind: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=kind, srtp_profile=profile.srtp)
    # A reordered or delayed packet is still the phone's to hear.
    policy.window_size = 1024
    policy.allow_repeat_tx = True
    return pylibsrtp.Session(policy)
