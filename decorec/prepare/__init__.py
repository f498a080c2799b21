"""Makes sequences, the co-occurrence graph and interests from interactions and features."""
