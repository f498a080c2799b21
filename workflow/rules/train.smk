"""Training and evaluation of one run with one seed.

One thread a job: seeds and runs are what is parallel, and a result does not depend on the number of cores.
"""


rule stage1:
    input:
        unpack(stage_inputs("stage1")),
    output:
        model="results/{dataset}/runs/{run}/seed-{seed}/stage1/model.safetensors",
        history="results/{dataset}/runs/{run}/seed-{seed}/stage1/history.parquet",
        config="results/{dataset}/runs/{run}/seed-{seed}/stage1/config.json",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/stage1.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/stage1.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="12h",
    params:
        run=run_section("stage1"),
        code=plan.code("stage1"),
    message:
        "Stage 1 of {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m decorec stage1 --run {params.run:q} --seed {wildcards.seed} --vocab {input.vocab}"
        " --sequences {input.sequences} --text-features {input.text_features}"
        " --image-features {input.image_features} --cooccurrence {input.cooccurrence}"
        " --model {output.model} --history {output.history} --config {output.config}"
        " --threads {threads} 2> {log}"


rule stage2:
    input:
        unpack(stage_inputs("stage2")),
    output:
        model="results/{dataset}/runs/{run}/seed-{seed}/stage2/model.safetensors",
        history="results/{dataset}/runs/{run}/seed-{seed}/stage2/history.parquet",
        config="results/{dataset}/runs/{run}/seed-{seed}/stage2/config.json",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/stage2.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/stage2.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="12h",
    params:
        run=run_section("stage2"),
        code=plan.code("stage2"),
    message:
        "Stage 2 of {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m decorec stage2 --run {params.run:q} --seed {wildcards.seed} --vocab {input.vocab}"
        " --sequences {input.sequences} --text-features {input.text_features}"
        " --image-features {input.image_features} --cooccurrence {input.cooccurrence}"
        " --text-interests {input.text_interests} --image-interests {input.image_interests}"
        " --start {input.start} --start-config {input.start_config}"
        " --model {output.model} --history {output.history} --config {output.config}"
        " --threads {threads} 2> {log}"


rule fit:
    input:
        unpack(stage_inputs("fit")),
    output:
        model="results/{dataset}/runs/{run}/seed-{seed}/fit/model.safetensors",
        history="results/{dataset}/runs/{run}/seed-{seed}/fit/history.parquet",
        config="results/{dataset}/runs/{run}/seed-{seed}/fit/config.json",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/fit.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/fit.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="12h",
    params:
        run=run_section("fit"),
        code=plan.code("fit"),
    message:
        "Training {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m decorec fit --run {params.run:q} --seed {wildcards.seed} --vocab {input.vocab}"
        " --sequences {input.sequences} --text-features {input.text_features}"
        " --image-features {input.image_features} --cooccurrence {input.cooccurrence}"
        " --text-interests {input.text_interests} --image-interests {input.image_interests}"
        " --model {output.model} --history {output.history} --config {output.config}"
        " --threads {threads} 2> {log}"


rule evaluate:
    input:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        model=evaluated("model.safetensors"),
        config=evaluated("config.json"),
    output:
        ranks="results/{dataset}/runs/{run}/seed-{seed}/ranks.parquet",
        metrics="results/{dataset}/runs/{run}/seed-{seed}/metrics.json",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/evaluate.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/evaluate.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="1h",
    params:
        evaluate=plan.section("evaluate"),
        code=plan.code("evaluate"),
    message:
        "Ranking all items for every user: {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m decorec evaluate --evaluate {params.evaluate:q} --vocab {input.vocab}"
        " --sequences {input.sequences} --model {input.model} --config {input.config}"
        " --ranks {output.ranks} --metrics {output.metrics} --threads {threads} 2> {log}"


rule modes:
    input:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        model=evaluated("model.safetensors"),
        config=evaluated("config.json"),
    output:
        modes="results/{dataset}/runs/{run}/seed-{seed}/modes.parquet",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/modes.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/modes.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="1h",
    params:
        evaluate=plan.section("evaluate"),
        code=plan.code("modes"),
    message:
        "Ranking by image, by text and by both: {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m decorec modes --evaluate {params.evaluate:q} --vocab {input.vocab}"
        " --sequences {input.sequences} --model {input.model} --config {input.config}"
        " --modes {output.modes} --threads {threads} 2> {log}"


rule probe:
    input:
        unpack(stage_inputs("fit")),
    output:
        gradients="results/{dataset}/runs/{run}/seed-{seed}/gradients.parquet",
    log:
        "logs/{dataset}/runs/{run}/seed-{seed}/probe.log",
    benchmark:
        "results/benchmarks/{dataset}/runs/{run}/seed-{seed}/probe.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="12h",
    params:
        run=run_section("fit"),
        every=plan.config.tables.probe_every,
        code=plan.code("probe"),
    message:
        "Training {wildcards.run} on {wildcards.dataset} under observation, seed {wildcards.seed}"
    shell:
        "python -m decorec probe --run {params.run:q} --seed {wildcards.seed} --vocab {input.vocab}"
        " --sequences {input.sequences} --text-features {input.text_features}"
        " --image-features {input.image_features} --cooccurrence {input.cooccurrence}"
        " --text-interests {input.text_interests} --image-interests {input.image_interests}"
        " --every {params.every} --gradients {output.gradients} --threads {threads} 2> {log}"
