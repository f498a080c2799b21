"""Columns of tables that one step writes and another one reads; one module each, so that a step depends on few."""
