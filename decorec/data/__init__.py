"""The data contract: interactions, filters, sequences, batches, features and graphs in memory."""
