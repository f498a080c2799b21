"""Figures, drawn from the tables, and the pages: index shows what is there, full shows everything."""


rule figure:
    input:
        tables=ask(plan.figure_tables),
    output:
        svg=report(
            layout.FIGURE_SVG,
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
        pdf=layout.FIGURE_PDF,
    log:
        layout.log("figures/{name}"),
    wildcard_constraints:
        name="|".join(plan.figures()),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(2),
        runtime=runtime(0.5),
    params:
        caption=ask(plan.figure_caption),
        code=ask(partial(plan.code, "figure")),
    message:
        "Drawing {wildcards.name}"
    shell:
        step("figure", wildcards="name", input="tables", output="svg pdf")


rule gallery:
    input:
        vocab=rules.split.output.vocab,
        sequences=rules.split.output.sequences,
        catalogue=rules.ingest.output.catalogue,
        images=ask(plan.images),
        interests=ask(plan.interests_shown),
        models=ask(plan.shown_models),
    output:
        output=layout.GALLERY,
    log:
        layout.log("{dataset}/gallery"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(4),
        runtime=runtime(1),
    params:
        users=plan.config.report.users,
        cache=layout.CACHE,
        code=ask(partial(plan.code_of_runs, "gallery", plan.config.report.runs)),
    message:
        "Recommendations to some users of {wildcards.dataset}"
    shell:
        step(
            "gallery",
            params="users cache",
            input="vocab sequences catalogue images interests models",
            output="output",
        )


rule report_page:
    input:
        unpack(files_of_page),
    output:
        page=report(
            layout.PAGE,
            caption="../report/page.rst",
            category="Page",
            labels={"page": "{page}"},
        ),
    log:
        layout.log("report/{page}"),
    wildcard_constraints:
        page="index|full",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(2),
        runtime=runtime(0.5),
    params:
        reference=plan.config.tables.reference,
        code=ask(partial(plan.code, "report-page")),
    message:
        "The page {wildcards.page}"
    shell:
        step(
            "report-page",
            params="reference",
            input="leaderboard tables figures histories galleries verdicts counts statistics images",
            output="page",
        )
