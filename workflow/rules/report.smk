"""Figures, drawn from the tables, and the page that shows everything."""


rule figure:
    input:
        tables=figure_tables,
    output:
        svg=report(
            "results/figures/{name}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        pdf="results/figures/{name}.pdf",
    log:
        "logs/figures/{name}.log",
    benchmark:
        "results/benchmarks/figures/{name}.tsv"
    wildcard_constraints:
        name="|".join(plan.figures()),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        code=plan.code("figure"),
    message:
        "Drawing {wildcards.name}"
    shell:
        "python -m decorec figure --name {wildcards.name} --tables {input.tables} --svg {output.svg}"
        " --pdf {output.pdf} 2> {log}"
