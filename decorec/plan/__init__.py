"""Decides what to compute for a configuration."""
