"""Encodes pictures and texts as feature vectors."""
