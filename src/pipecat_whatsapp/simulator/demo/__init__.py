"""A bot to call without any key: it greets, says back what it hears, and says goodbye."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
BOT = FOLDER / "bot.py"
QUESTION = FOLDER / "question.wav"
