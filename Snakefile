# The workflow stands in workflow/Snakefile, where the Snakemake catalog and other workflows' `module` look for it.
# This file lets `snakemake` find it without an option.
include: "workflow/Snakefile"
