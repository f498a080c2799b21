"""Tables, computed from the files of ranks and statistics alone."""


rule comparison_table:
    input:
        ranks=compared_ranks,
    output:
        csv="results/tables/{kind}.csv",
        tex="results/tables/{kind}.tex",
        html=report(
            "results/tables/{kind}.html",
            caption="../report/comparison.rst",
            category="Tables",
            labels=comparison_labels,
        ),
    log:
        "logs/tables/{kind}.log",
    benchmark:
        "results/benchmarks/tables/{kind}.tsv"
    wildcard_constraints:
        kind="|".join(COMPARISONS),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        runs=compared_runs,
        reference=plan.config.tables.reference,
        evaluate=plan.section("evaluate"),
        paper=plan.paper_names(),
        code=plan.code("comparison-table"),
    message:
        "Table {wildcards.kind}"
    shell:
        "python -m decorec comparison-table --kind {wildcards.kind} --ranks {input.ranks}"
        " --runs {params.runs} --reference {params.reference} --evaluate {params.evaluate:q}"
        " --paper {params.paper:q} --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule statistics_table:
    input:
        statistics=plan.of_datasets("statistics.json"),
    output:
        csv="results/tables/statistics.csv",
        tex="results/tables/statistics.tex",
        html=report(
            "results/tables/statistics.html",
            caption="../report/statistics.rst",
            category="Tables",
            labels={"table": "statistics", "paper": "Table 1"},
        ),
    log:
        "logs/tables/statistics.log",
    benchmark:
        "results/benchmarks/tables/statistics.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        paper=plan.paper_names(),
        code=plan.code("statistics-table"),
    message:
        "Table of statistics"
    shell:
        "python -m decorec statistics-table --statistics {input.statistics} --paper {params.paper:q}"
        " --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule coldstart_table:
    input:
        ranks=plan.of_runs(plan.config.tables.main),
    output:
        csv="results/tables/coldstart.csv",
        tex="results/tables/coldstart.tex",
        html=report(
            "results/tables/coldstart.html",
            caption="../report/coldstart.rst",
            category="Tables",
            labels={"table": "coldstart", "paper": "Figure 9"},
        ),
    log:
        "logs/tables/coldstart.log",
    benchmark:
        "results/benchmarks/tables/coldstart.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        runs=plan.config.tables.main,
        baseline=plan.config.tables.baseline,
        cold=plan.config.tables.cold,
        evaluate=plan.section("evaluate"),
        code=plan.code("coldstart-table"),
    message:
        "Table of cold users"
    shell:
        "python -m decorec coldstart-table --ranks {input.ranks} --runs {params.runs}"
        " --baseline {params.baseline} --cold {params.cold}"
        " --evaluate {params.evaluate:q} --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule recall_table:
    input:
        recalls=plan.of_datasets("recall.parquet"),
    output:
        csv="results/tables/recall.csv",
        tex="results/tables/recall.tex",
        html=report(
            "results/tables/recall.html",
            caption="../report/recall.rst",
            category="Tables",
            labels={"table": "recall", "paper": "Table 3"},
        ),
    log:
        "logs/tables/recall.log",
    benchmark:
        "results/benchmarks/tables/recall.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        paper=plan.paper_names(),
        code=plan.code("recall-table"),
    message:
        "Table of recall"
    shell:
        "python -m decorec recall-table --recalls {input.recalls} --paper {params.paper:q}"
        " --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule retrieval_table:
    input:
        modes=plan.of_runs(plan.config.tables.retrieval, "modes.parquet"),
    output:
        csv="results/tables/retrieval.csv",
        tex="results/tables/retrieval.tex",
        html=report(
            "results/tables/retrieval.html",
            caption="../report/retrieval.rst",
            category="Tables",
            labels={"table": "retrieval", "paper": "Figures 7 and 8"},
        ),
    log:
        "logs/tables/retrieval.log",
    benchmark:
        "results/benchmarks/tables/retrieval.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        runs=plan.config.tables.retrieval,
        reference=plan.config.tables.reference,
        evaluate=plan.section("evaluate"),
        code=plan.code("retrieval-table"),
    message:
        "Table of modes of scoring"
    shell:
        "python -m decorec retrieval-table --modes {input.modes} --runs {params.runs}"
        " --reference {params.reference} --evaluate {params.evaluate:q}"
        " --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule cost_table:
    input:
        models=plan.models(plan.config.tables.main),
        ranks=plan.of_runs(plan.config.tables.main),
    output:
        csv="results/tables/cost.csv",
        tex="results/tables/cost.tex",
        html=report(
            "results/tables/cost.html",
            caption="../report/cost.rst",
            category="Tables",
            labels={"table": "cost"},
        ),
    log:
        "logs/tables/cost.log",
    benchmark:
        "results/benchmarks/tables/cost.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        first_stages=plan.first_stages(plan.config.tables.main),
        benchmarks="results/benchmarks",
        code=plan.code("cost-table"),
    message:
        "Table of costs"
    shell:
        "python -m decorec cost-table --models {input.models}"
        " --first-stages {params.first_stages:q} --benchmarks {params.benchmarks}"
        " --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule claims_table:
    input:
        ranks=plan.of_runs(plan.compared()),
        modes=plan.of_runs(plan.config.tables.retrieval, "modes.parquet"),
        recalls=plan.of_datasets("recall.parquet"),
    output:
        csv="results/tables/claims.csv",
        tex="results/tables/claims.tex",
        html=report(
            "results/tables/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "claims"},
        ),
        md="results/tables/claims.md",
    log:
        "logs/tables/claims.log",
    benchmark:
        "results/benchmarks/tables/claims.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        main=plan.config.tables.main,
        ablations=plan.config.tables.ablations,
        retrieval=plan.config.tables.retrieval,
        reference=plan.config.tables.reference,
        baseline=plan.config.tables.baseline,
        cold=plan.config.tables.cold,
        evaluate=plan.section("evaluate"),
        code=plan.code("claims-table"),
    message:
        "The paper's claims against what was measured"
    shell:
        "python -m decorec claims-table --ranks {input.ranks} --modes {input.modes}"
        " --recalls {input.recalls} --main {params.main}"
        " --ablations {params.ablations} --retrieval {params.retrieval} --reference {params.reference}"
        " --baseline {params.baseline} --cold {params.cold} --evaluate {params.evaluate:q}"
        " --csv {output.csv} --tex {output.tex} --html {output.html} --md {output.md}"
        " 2> {log}"


rule sensitivity_table:
    input:
        ranks=sensitivity("ranks.parquet"),
        metrics=sensitivity("metrics.json"),
    output:
        csv="results/tables/{knob}.csv",
        tex="results/tables/{knob}.tex",
        html=report(
            "results/tables/{knob}.html",
            caption="../report/sensitivity.rst",
            category="Tables",
            labels={"table": "sensitivity to {knob}"},
        ),
    log:
        "logs/tables/{knob}.log",
    benchmark:
        "results/benchmarks/tables/{knob}.tsv"
    wildcard_constraints:
        knob="|".join(KNOBS),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        values=sensitivity_values,
        reference=plan.config.tables.reference,
        evaluate=plan.section("evaluate"),
        code=plan.code("sensitivity-table"),
    message:
        "Table of sensitivity to {wildcards.knob}"
    shell:
        "python -m decorec sensitivity-table --knob {wildcards.knob} --ranks {input.ranks}"
        " --metrics {input.metrics} --values {params.values:q} --reference {params.reference}"
        " --evaluate {params.evaluate:q} --csv {output.csv} --tex {output.tex} --html {output.html} 2> {log}"


rule curves_table:
    input:
        histories=plan.histories(),
    output:
        csv="results/tables/curves.csv",
    log:
        "logs/tables/curves.log",
    benchmark:
        "results/benchmarks/tables/curves.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        code=plan.code("curves-table"),
    message:
        "Validation curves"
    shell:
        "python -m decorec curves-table --histories {input.histories} --csv {output.csv} 2> {log}"


rule gradients_table:
    input:
        gradients=plan.of_runs(plan.config.tables.gradients, "gradients.parquet", 1),
    output:
        csv="results/tables/gradients.csv",
    log:
        "logs/tables/gradients.log",
    benchmark:
        "results/benchmarks/tables/gradients.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        code=plan.code("gradients-table"),
    message:
        "Gradients of ids and modalities"
    shell:
        "python -m decorec gradients-table --gradients {input.gradients} --csv {output.csv} 2> {log}"


rule embedding_table:
    input:
        models=plan.embedded_models(),
        interests=plan.of_datasets("interests/text.safetensors"),
    output:
        csv="results/tables/embedding.csv",
    log:
        "logs/tables/embedding.log",
    benchmark:
        "results/benchmarks/tables/embedding.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="4GB",
        runtime="1h",
    params:
        code=plan.code("embedding-table"),
    message:
        "Representations of items in two dimensions"
    shell:
        "python -m decorec embedding-table --models {input.models} --interests {input.interests}"
        " --csv {output.csv} 2> {log}"


rule results_page:
    input:
        ranks=plan.of_runs(plan.config.tables.main),
        statistics=plan.of_datasets("statistics.json"),
    output:
        output="results/results.md",
    log:
        "logs/tables/results_page.log",
    benchmark:
        "results/benchmarks/tables/results_page.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        runs=plan.config.tables.main,
        references=plan.references(),
        evaluate=plan.section("evaluate"),
        paper=plan.paper_names(),
        chosen=plan.chosen(plan.config.tables.main),
        code=plan.code("results-page"),
    message:
        "Page of results"
    shell:
        "python -m decorec results-page --ranks {input.ranks} --statistics {input.statistics}"
        " --runs {params.runs} --references {params.references} --evaluate {params.evaluate:q}"
        " --paper {params.paper:q} --chosen {params.chosen:q} --output {output.output} 2> {log}"
