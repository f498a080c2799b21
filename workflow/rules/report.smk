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


rule gallery:
    input:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        catalogue="results/{dataset}/items.parquet",
        images=images,
        text_interests="results/{dataset}/interests/text.safetensors",
        image_interests="results/{dataset}/interests/image.safetensors",
        models=shown_models,
    output:
        gallery="results/{dataset}/gallery.json",
    log:
        "logs/{dataset}/gallery.log",
    benchmark:
        "results/benchmarks/{dataset}/gallery.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="4GB",
        runtime="1h",
    params:
        evaluate=plan.section("evaluate"),
        users=plan.config.report.users,
        cache="results/cache",
        code=plan.code("gallery"),
    message:
        "Recommendations to some users of {wildcards.dataset}"
    shell:
        "python -m decorec gallery --evaluate {params.evaluate:q} --vocab {input.vocab}"
        " --sequences {input.sequences} --items {input.catalogue} --images {input.images}"
        " --cache {params.cache} --text-interests {input.text_interests}"
        " --image-interests {input.image_interests} --models {input.models} --users {params.users}"
        " --gallery {output.gallery} 2> {log}"


rule report_page:
    input:
        tables=expand("results/tables/{name}.html", name=plan.printed_tables()),
        figures=expand("results/figures/{name}.svg", name=plan.figures()),
        galleries=plan.of_datasets("gallery.json"),
        counts=plan.of_datasets("ingest.json", *INGESTED),
        statistics=plan.of_datasets("statistics.json"),
        images=plan.of_datasets("images.parquet", *INGESTED),
    output:
        page=report(
            "results/report/index.html",
            caption="../report/page.rst",
            category="Page",
            labels={"page": "everything"},
        ),
    log:
        "logs/report/page.log",
    benchmark:
        "results/benchmarks/report/page.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        code=plan.code("report-page"),
    message:
        "The page with everything"
    shell:
        "python -m decorec report-page --tables {input.tables} --figures {input.figures}"
        " --galleries {input.galleries} --counts {input.counts} --statistics {input.statistics}"
        " --images {input.images} --page {output.page} 2> {log}"
