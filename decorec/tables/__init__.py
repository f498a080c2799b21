"""Tables and the page of results, computed from what the steps before them have written."""
