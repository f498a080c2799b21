"""From the network or from files of one's own to interactions, items and pictures."""
