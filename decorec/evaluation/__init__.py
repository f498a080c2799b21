"""Ranking, metrics and statistics over users."""
