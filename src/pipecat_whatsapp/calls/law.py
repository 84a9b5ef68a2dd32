"""The law of a call: one transition table, pure and synchronous.

Everything that decides what a call does next lives in this file, and nothing in it does any I/O.
A `Call` is told what happened, as a `Signal`; the table answers with the next state and with the
actions to perform, and somebody else performs them.

Three rules hold for every row:

1. The end wins. Once a call is ENDED nothing brings it back, and Meta is told at most once.
2. What Meta hears depends on what Meta knows: `reject` before accept's 200, `terminate` after it
   and for every call that we placed, and nothing when the other side ended it.
3. Sound flows when the caller has been accepted, or when the user called has picked up; not while
   a phone rings.

While accept or connect is on its way nobody knows what Meta needs. A call that ends at that moment
is cleaned up here at once and then WITHDRAWN: the answer decides what is sent.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a call stands.

    Parameters:
        RINGING: A user's call is known here; Meta has heard nothing from us.
        CONNECTING: Pre-accept was sent; the link and the bot's pipeline are coming up.
        ACCEPTING: Accept is on its way.
        OFFERING: Our own call: the offer is being written; Meta has heard nothing from us.
        DIALLING: Connect is on its way.
        CALLING: Meta has taken our call; the user's phone rings, or will.
        ALERTING: The user's phone rings.
        PICKED_UP: The user has picked up; the link or the bot's pipeline is not up yet.
        ACTIVE: Both sides hear each other.
        WITHDRAWN: It ended here while accept or connect was on its way.
        ENDED: It is over.
    """

    RINGING = "ringing"
    CONNECTING = "connecting"
    ACCEPTING = "accepting"
    OFFERING = "offering"
    DIALLING = "dialling"
    CALLING = "calling"
    ALERTING = "alerting"
    PICKED_UP = "picked up"
    ACTIVE = "active"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"


class Signal(Enum):
    """What can happen to a call.

    Parameters:
        ANSWERED: The offer is answered: by us, or by the far end when the offer was ours.
        PRE_ACCEPTED: Meta answered pre-accept with 200.
        LINKED: ICE and DTLS are up.
        READY: The bot's pipeline has started.
        PREPARED: The last preparation has come.
        ACCEPTED: Meta answered accept with 200.
        ACCEPT_REFUSED: Meta answered accept with an error.
        ACCEPT_UNANSWERED: Accept got no answer; it may have been carried out.
        HELD_BACK: The application lets the call ring, for somebody else to take.
        OFFERED: Our offer is written.
        PLACED: Meta took our call: connect was answered, or a webhook told of it.
        CONNECT_REFUSED: Meta answered connect with an error.
        CONNECT_LOST: Connect got no answer, and no webhook has told of the call either.
        ALERTED: The user's phone rings (Meta: RINGING).
        PICKED_UP: The user picked up (Meta: ACCEPTED), or was heard to speak.
        DECLINED: The user declined (Meta: REJECTED).
        OUTRUN: Another process answers the call.
        HANG_UP: Our side ends the call, for the cause given with it.
        TERMINATED: Meta says that the call is over.
    """

    ANSWERED = "answered"
    PRE_ACCEPTED = "pre-accepted"
    LINKED = "linked"
    READY = "ready"
    PREPARED = "prepared"
    ACCEPTED = "accepted"
    ACCEPT_REFUSED = "accept refused"
    ACCEPT_UNANSWERED = "accept unanswered"
    HELD_BACK = "held back"
    OFFERED = "offered"
    PLACED = "placed"
    CONNECT_REFUSED = "connect refused"
    CONNECT_LOST = "connect lost"
    ALERTED = "alerted"
    PICKED_UP = "picked up"
    DECLINED = "declined"
    OUTRUN = "outrun"
    HANG_UP = "hang up"
    TERMINATED = "terminated"


class Action(Enum):
    """What the law asks for.

    Parameters:
        PRE_ACCEPT: Send pre-accept with our session description.
        START_BOT: Start the bot's pipeline.
        ACCEPT: Send accept with the identical session description.
        CONNECT: Send connect with our offer, once.
        START_LINK: Apply the far end's answer, and bring ICE and DTLS up.
        OPEN_MEDIA: Let sound through, and tell the bot that it is heard.
        REJECT: Tell Meta that the call is declined.
        TERMINATE: Tell Meta that the call is over.
        CLEAN_UP: Close the peer, end the bot, forget the call.
    """

    PRE_ACCEPT = "pre_accept"
    START_BOT = "start bot"
    ACCEPT = "accept"
    CONNECT = "connect"
    START_LINK = "start link"
    OPEN_MEDIA = "open media"
    REJECT = "reject"
    TERMINATE = "terminate"
    CLEAN_UP = "clean up"


INBOUND_PREPARATIONS = frozenset({Signal.PRE_ACCEPTED, Signal.LINKED, Signal.READY})
"""What must have come, in any order, before a user's call is accepted."""

OUTBOUND_PREPARATIONS = frozenset({Signal.LINKED, Signal.READY})
"""What must have come, beside the pick-up, before sound flows in a call of ours."""

TABLE: dict[tuple[State, Signal], tuple[State, tuple[Action, ...]]] = {
    # state            signal                       next state        actions
    # A user calls us.
    (State.RINGING, Signal.ANSWERED): (State.CONNECTING, (Action.PRE_ACCEPT, Action.START_BOT)),
    (State.RINGING, Signal.HELD_BACK): (State.ENDED, (Action.CLEAN_UP,)),
    (State.RINGING, Signal.OUTRUN): (State.ENDED, (Action.CLEAN_UP,)),
    (State.RINGING, Signal.HANG_UP): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.RINGING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.CONNECTING, Signal.PREPARED): (State.ACCEPTING, (Action.ACCEPT,)),
    (State.CONNECTING, Signal.OUTRUN): (State.ENDED, (Action.CLEAN_UP,)),
    (State.CONNECTING, Signal.HANG_UP): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.CONNECTING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ACCEPTING, Signal.ACCEPTED): (State.ACTIVE, (Action.OPEN_MEDIA,)),
    (State.ACCEPTING, Signal.ACCEPT_REFUSED): (State.ENDED, (Action.REJECT, Action.CLEAN_UP)),
    (State.ACCEPTING, Signal.ACCEPT_UNANSWERED): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.ACCEPTING, Signal.OUTRUN): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ACCEPTING, Signal.HANG_UP): (State.WITHDRAWN, (Action.CLEAN_UP,)),
    (State.ACCEPTING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    # We call a user.
    (State.OFFERING, Signal.OFFERED): (State.DIALLING, (Action.CONNECT,)),
    (State.OFFERING, Signal.HANG_UP): (State.ENDED, (Action.CLEAN_UP,)),
    (State.DIALLING, Signal.PLACED): (State.CALLING, (Action.START_BOT,)),
    (State.DIALLING, Signal.CONNECT_REFUSED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.DIALLING, Signal.HANG_UP): (State.WITHDRAWN, (Action.CLEAN_UP,)),
    (State.CALLING, Signal.ANSWERED): (State.CALLING, (Action.START_LINK,)),
    (State.CALLING, Signal.ALERTED): (State.ALERTING, ()),
    (State.CALLING, Signal.PICKED_UP): (State.PICKED_UP, ()),
    (State.CALLING, Signal.DECLINED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.CALLING, Signal.HANG_UP): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.CALLING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ALERTING, Signal.ANSWERED): (State.ALERTING, (Action.START_LINK,)),
    (State.ALERTING, Signal.PICKED_UP): (State.PICKED_UP, ()),
    (State.ALERTING, Signal.DECLINED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.ALERTING, Signal.HANG_UP): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.ALERTING, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    (State.PICKED_UP, Signal.ANSWERED): (State.PICKED_UP, (Action.START_LINK,)),
    (State.PICKED_UP, Signal.PREPARED): (State.ACTIVE, (Action.OPEN_MEDIA,)),
    (State.PICKED_UP, Signal.HANG_UP): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.PICKED_UP, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    # Both hear each other.
    (State.ACTIVE, Signal.HANG_UP): (State.ENDED, (Action.TERMINATE, Action.CLEAN_UP)),
    (State.ACTIVE, Signal.TERMINATED): (State.ENDED, (Action.CLEAN_UP,)),
    # It ended here before Meta had answered.
    (State.WITHDRAWN, Signal.ACCEPTED): (State.ENDED, (Action.TERMINATE,)),
    (State.WITHDRAWN, Signal.ACCEPT_REFUSED): (State.ENDED, (Action.REJECT,)),
    (State.WITHDRAWN, Signal.ACCEPT_UNANSWERED): (State.ENDED, (Action.TERMINATE,)),
    (State.WITHDRAWN, Signal.OUTRUN): (State.ENDED, ()),
    (State.WITHDRAWN, Signal.PLACED): (State.ENDED, (Action.TERMINATE,)),
    (State.WITHDRAWN, Signal.CONNECT_REFUSED): (State.ENDED, ()),
    (State.WITHDRAWN, Signal.CONNECT_LOST): (State.ENDED, ()),
    (State.WITHDRAWN, Signal.TERMINATED): (State.ENDED, ()),
}
"""The law. A pair that is not in the table changes nothing and asks for nothing."""
