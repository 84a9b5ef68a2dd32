"""A WhatsApp of one's own: Meta's Graph API, its webhooks, and a phone. Nothing else imports it."""
