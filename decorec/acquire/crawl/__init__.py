"""The crawl: fetches pictures by their addresses, at a polite pace, and continues after an interruption."""
