"""Calls that are over: recordings replayed, calls explained, traces of old calls exported again."""
