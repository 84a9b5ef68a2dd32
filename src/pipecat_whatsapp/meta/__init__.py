"""Speaks Meta's Cloud API; knows neither pipecat nor media."""
