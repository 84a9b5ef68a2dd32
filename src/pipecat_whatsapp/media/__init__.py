"""A call's sound; knows neither Meta's HTTP nor pipelines."""
