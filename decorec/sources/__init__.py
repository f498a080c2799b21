"""Readers of data in the formats of particular sources."""
