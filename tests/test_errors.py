from __future__ import annotations

import inspect

from pipecat_whatsapp import errors


def test_one_tree() -> None:
    classes = [
        c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__
    ]
    assert all(issubclass(c, errors.WhatsAppError) for c in classes)
    assert errors.__doc__ is not None
    assert all(c.__name__ in errors.__doc__ for c in classes), "the docstring draws the whole tree"
