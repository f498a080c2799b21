"""The report: one page with all tables and figures, and recommendations to some users."""
