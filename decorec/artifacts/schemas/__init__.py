"""Columns of the tables that one step writes and another one reads; a module each, so that a step depends on its own."""
