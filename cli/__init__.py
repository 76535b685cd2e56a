"""The command ``osplade``: parse, call, print."""
