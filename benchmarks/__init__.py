"""Measurements against other tools and against the bare hardware; python -m benchmarks NAME."""
