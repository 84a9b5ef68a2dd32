"""pytest fixtures for bot authors: a simulated WhatsApp, and a phone."""
