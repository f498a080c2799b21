"""Files: how every kind is written and read, where each lies under results/, and the columns of tables."""
