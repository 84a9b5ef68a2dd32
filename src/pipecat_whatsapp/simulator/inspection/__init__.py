"""What a simulated call is made of, written down while it goes on."""
