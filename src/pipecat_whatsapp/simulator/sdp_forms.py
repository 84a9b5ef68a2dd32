"""The forms of WhatsApp's session descriptions, with names for what differs between calls.

`offer` fills them in. Today's offers, Meta's older printed samples, offers of a number that is set
to SDES, and the answer to a business that calls.
"""

_HEAD = """\
v=0
o=- {now} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE audio
a=msid-semantic: WMS {stream}
"""

TODAY = (
    _HEAD
    + """\
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {opus} {dtmf}
c=IN {net}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1000000001 1 udp 2122260223 {host} {port} typ host generation 0 network-cost 50
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=mid:audio
a=sendrecv
a=msid:{stream} WhatsAppTrack1
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501  One line of SDP is one line.
)

PRINTED = (
    _HEAD
    + """\
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {opus} {dtmf}
c=IN {net}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1000000001 1 udp 2122260223 {host} {port} typ host generation 0 network-cost 50 ufrag {ufrag}
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=fingerprint:sha-256 {fingerprint}
a=setup:actpass
a=mid:audio
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendrecv
a=msid:{stream} audio#{ssrc}
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} minptime=10;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501
)

SDES = (
    _HEAD
    + """\
m=audio {port} RTP/SAVP {opus} {dtmf}
c=IN {net}
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}
a=mid:audio
a=sendrecv
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=rtpmap:{dtmf} telephone-event/8000
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501
)

ANSWER = """\
v=0
o=- {now} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE {mid}
a=msid-semantic: WMS {stream}
a=ice-lite
m=audio {port} UDP/TLS/RTP/SAVPF {formats}
c=IN {net}
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1000000001 1 udp 2122260223 {host} {port} typ host generation 0 network-cost 50
a=ice-ufrag:{ufrag}
a=ice-pwd:{pwd}
a=ice-options:trickle
a=fingerprint:sha-256 {fingerprint}
a=setup:{setup}
a=mid:{mid}
a=sendrecv
a=msid:{stream} WhatsAppTrack1
a=rtcp-mux
{rtpmaps}
a=rtcp-fb:{opus} transport-cc
a=fmtp:{opus} maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1
a=maxptime:20
a=ptime:20
a=ssrc:{ssrc} cname:WhatsAppAudioStream1
"""  # noqa: E501

OFFERS = {"today": TODAY, "printed": PRINTED, "sdes": SDES}
