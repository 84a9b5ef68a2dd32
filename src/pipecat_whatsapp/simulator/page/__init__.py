"""The phone in the browser: a page, and the server behind it."""
