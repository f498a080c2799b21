"""From interactions and features to sequences, the co-occurrence graph and interests.

All trainings wait for some of these jobs and of those in acquire.smk. With a priority they are not put off by trainings
that are ready: those of models that need no graph, or of another data set.
"""


rule split:
    input:
        interactions=rules.ingest.output.interactions,
        catalogue=rules.ingest.output.catalogue,
        features=ask(plan.required_features),
    output:
        vocab=layout.VOCAB,
        sequences=layout.SEQUENCES,
        statistics=layout.STATISTICS,
    log:
        layout.log("{dataset}/split"),
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem=memory(4, 6),
        runtime=runtime(1),
    params:
        filter=plan.section("filter"),
        settings=plan.section("split"),
        code=ask(partial(plan.code, "split")),
    message:
        "Filtering and splitting {wildcards.dataset}"
    shell:
        step(
            "split",
            params="filter settings",
            input="interactions catalogue features",
            output="vocab sequences statistics",
        )


rule atomic:
    input:
        files=ask_own(plan.atomic_files),
    output:
        catalogue=layout.CATALOGUE,
        vocab=layout.VOCAB,
        sequences=layout.SEQUENCES,
        statistics=layout.STATISTICS,
    log:
        layout.log("{dataset}/atomic"),
    wildcard_constraints:
        dataset=plan.pattern("atomic"),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4, 12),
        runtime=runtime(1),
    params:
        dataset=ask(plan.given_splits),
        own=ask(plan.own_content),
        code=ask(partial(plan.code, "atomic")),
    message:
        "Reading the given splits of {wildcards.dataset}"
    shell:
        step(
            "atomic",
            params="dataset",
            output="catalogue vocab sequences statistics",
        )


rule atomic_features:
    input:
        files=ask_own(plan.given_features),
    output:
        features=layout.FEATURES,
    log:
        layout.log("{dataset}/atomic-features-{modality}"),
    wildcard_constraints:
        dataset=plan.pattern("atomic"),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4),
        runtime=runtime(1),
    params:
        dataset=ask(plan.given_modality),
        given=ask(plan.given_content),
        code=ask(partial(plan.code, "atomic-features")),
    message:
        "Reading the given features ({wildcards.modality}) of {wildcards.dataset}"
    shell:
        step(
            "atomic-features",
            wildcards="modality",
            params="dataset",
            output="features",
        )


rule cooccurrence:
    input:
        vocab=rules.split.output.vocab,
        sequences=rules.split.output.sequences,
    output:
        matrix=layout.COOCCURRENCE,
    log:
        layout.log("{dataset}/{variant}cooccurrence"),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem=memory(4 + plan.config.dask.beside(threads=2), 32),
        runtime=runtime(1),
    params:
        settings=ask(partial(plan.variant_section, section="graph")),
        dask=ask_untracked(partial(plan.section, "dask")),
        code=ask(partial(plan.code, "cooccurrence")),
    message:
        "Counting training co-occurrences of {wildcards.dataset}"
    shell:
        step(
            "cooccurrence",
            params="settings dask",
            input="vocab sequences",
            output="matrix",
        )


rule cluster:
    input:
        cooccurrence=ask(plan.graph_behind_interests),
        vocab=rules.split.output.vocab,
        features=layout.FEATURES,
    output:
        interests=layout.INTERESTS,
    log:
        layout.log("{dataset}/{variant}cluster-{modality}"),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4, 4),
        runtime=runtime(2),
    params:
        settings=ask(partial(plan.variant_section, section="interests")),
        code=ask(partial(plan.code, "cluster")),
    message:
        "Clustering the enriched features ({wildcards.modality}) of {wildcards.dataset}"
    shell:
        step(
            "cluster",
            params="settings",
            input="cooccurrence vocab features",
            output="interests",
        )
