"""Readers of the layouts in which data come."""
