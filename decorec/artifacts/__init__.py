"""Files: reading and writing, paths under results/, and columns of tables."""
