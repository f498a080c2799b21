"""The page with everything."""
