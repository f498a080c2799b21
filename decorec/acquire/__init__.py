"""Gets interactions, items and pictures, from the network or from the user's own files."""
