"""`pipecat-whatsapp doctor`: checks of what a WhatsApp call needs, each with its cure.

::

    environment ─ versions        the variables, and what is installed
    account                       token, number, settings of the number
    subscription                  app, WhatsApp Business Account, overrides
    webhook                       the public address, and the bot behind it
    network ─ stun, turn          UDP, NAT, candidates, servers, and what a caller will experience

A check returns `Finding`s and prints nothing; `examination` runs them all.
"""
