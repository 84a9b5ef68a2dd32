"""`pipecat-whatsapp doctor`: checks of what a WhatsApp call needs, each with its cure.

::

    examination            all of it, in order
    ├── variables          the environment, and the versions of what is installed
    ├── at_meta            what Meta can be asked about:
    │   ├── account            token, app secret, number, the number's settings
    │   └── subscription       the app, the WhatsApp Business Account, overrides
    ├── webhook            the public address, and the bot behind it
    └── network            UDP, NAT, candidates, servers, and what a caller will experience:
        ├── stun
        └── turn

A check returns `Finding`s and prints nothing.
"""
