"""Data in memory: interactions, filters, sequences, batches, features and graphs."""
