"""From pictures and texts to feature vectors."""
