"""`pipecat eval` over a simulated call."""
