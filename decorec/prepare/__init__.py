"""From interactions and features to sequences, the co-occurrence graph and interests."""
