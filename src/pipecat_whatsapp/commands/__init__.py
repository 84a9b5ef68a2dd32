"""The commands of `pipecat-whatsapp`, one module each.

They are all imported for `pipecat --help`, so what is heavy is imported where it is used.
"""
