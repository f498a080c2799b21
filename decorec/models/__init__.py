"""The recommenders, one file each, and how they are built, saved and loaded."""
