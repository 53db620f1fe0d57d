"""The senders that are measured, each a program of its own: `python -m bench.peers.<name>`."""
