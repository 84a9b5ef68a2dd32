"""Put a pipecat voice bot on WhatsApp calls."""
