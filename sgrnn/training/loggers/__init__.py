"""Loggers: what else a run's records go to while it trains, beside metrics.jsonl."""
