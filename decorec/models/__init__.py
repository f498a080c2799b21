"""The recommenders, one file each; and code that builds, saves and loads them."""
