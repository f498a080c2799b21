"""Tables and the page of results, computed from the files of ranks alone."""

from decorec.tables.comparison import comparison_table
from decorec.tables.results_page import results_page
from decorec.tables.statistics import statistics_table
from decorec.tables.trials import tuned, tuning_table

__all__ = [
    "comparison_table",
    "results_page",
    "statistics_table",
    "tuned",
    "tuning_table",
]
