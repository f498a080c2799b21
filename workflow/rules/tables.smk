"""Tables, computed from what evaluation, training and the steps before them have written. Nothing is trained again."""


rule table:
    input:
        unpack(ask(plan.table_files)),
    output:
        csv=layout.TABLE,
        tex=layout.TABLE_TEX,
        html=report(
            layout.TABLE_HTML,
            caption="../report/table.rst",
            category="Tables",
            labels=ask(plan.table_labels),
        ),
        md=layout.TABLE_MD,
    log:
        layout.log("tables/{table}"),
    wildcard_constraints:
        table="|".join(plan.printed_tables()),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(2),
        runtime=runtime(0.5),
    params:
        call=ask(plan.table_call),
        code=ask(plan.code_of_table),
    message:
        "Table {wildcards.table}"
    shell:
        "python -m decorec {params.call} --csv {output.csv} --tex {output.tex}"
        " --html {output.html} --md {output.md} --log {log} 2> {log}"


rule drawn_table:
    input:
        unpack(ask(plan.table_files)),
    output:
        csv=layout.TABLE,
    log:
        layout.log("tables/{table}"),
    wildcard_constraints:
        table="|".join(set(plan.tables()) - set(plan.printed_tables())) or "(?!)",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(4),
        runtime=runtime(1),
    params:
        call=ask(plan.table_call),
        code=ask(plan.code_of_table),
    message:
        "Table {wildcards.table}, for its figure"
    shell:
        "python -m decorec {params.call} --csv {output.csv} --log {log} 2> {log}"


rule tuning_table:
    input:
        trials=ask(plan.trials),
    output:
        csv=layout.TRIALS_TABLE,
    log:
        layout.log("{dataset}/tuning-table"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(2),
        runtime=runtime(0.5),
    params:
        earlier=ask(plan.chosen_before),
        code=ask(partial(plan.code, "tuning-table")),
    message:
        "Trials on {wildcards.dataset}"
    shell:
        step("tuning-table", params="earlier", input="trials", output="csv")


rule verdict:
    input:
        unpack(ask(plan.verdict_files)),
    output:
        document=layout.VERDICT,
        output=layout.VERDICT_VALUES,
    log:
        layout.log("{dataset}/verdict"),
    wildcard_constraints:
        dataset=plan.pattern(),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(2),
        runtime=runtime(0.5),
    params:
        twins=ask(plan.verdict_twins),
        reads=ask(plan.verdict_reads),
        stages=ask(plan.verdict_stages),
        benchmarks=layout.BENCHMARKS,
        smallest_effect=plan.config.tables.smallest_effect,
        evaluate=plan.section("evaluate"),
        code=ask(partial(plan.code, "verdict")),
    message:
        "Verdict on {wildcards.dataset}"
    shell:
        step(
            "verdict",
            params="twins reads stages benchmarks smallest_effect evaluate",
            input="ranks validation statistics counts features",
            output="document output",
        )


rule results_page:
    input:
        ranks=plan.of_runs(plan.config.tables.main),
        statistics=plan.of_datasets(layout.STATISTICS),
        beyond=layout.fill(layout.TABLE, table="beyond"),
        advantages=plan.advantages(),
    output:
        output=layout.RESULTS_PAGE,
    log:
        layout.log("tables/results-page"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory_of_rows(2),
        runtime=runtime(0.5),
    params:
        runs=plan.config.tables.main,
        references=plan.references(),
        evaluate=plan.section("evaluate"),
        paper=plan.paper_names(),
        chosen=plan.chosen(plan.config.tables.main),
        code=ask(partial(plan.code, "results-page")),
    message:
        "Page of results"
    shell:
        step(
            "results-page",
            params="runs references evaluate paper chosen",
            input="ranks statistics beyond advantages",
            output="output",
        )
