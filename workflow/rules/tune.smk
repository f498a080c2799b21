"""Choice of values on validation: one job per data set and run, so that --cores runs them side by side."""


rule tune:
    input:
        unpack(tuning_inputs),
    output:
        trials="results/tuning/{dataset}/{run}.parquet",
    log:
        "logs/{dataset}/tuning/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/tuning/{run}.tsv"
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        mem="8GB",
        runtime="2d",
    params:
        run=whole_run,
        tuning=plan.section("tuning"),
        cache="results/cache/tuning/{dataset}/{run}",
        code=plan.code("tune"),
    message:
        "Tuning {wildcards.run} on {wildcards.dataset}"
    shell:
        "python -m decorec tune --run {params.run:q} --tuning {params.tuning:q} --vocab {input.vocab}"
        " --sequences {input.sequences} --text-features {input.text_features}"
        " --image-features {input.image_features} --cooccurrence {input.cooccurrence}"
        " --text-interests {input.text_interests} --image-interests {input.image_interests}"
        " --cache {params.cache} --trials {output.trials} --threads {threads} 2> {log}"


rule tuning_table:
    input:
        trials=trials,
    output:
        csv="results/tuning/{dataset}.csv",
    log:
        "logs/{dataset}/tuning/table.log",
    benchmark:
        "results/benchmarks/{dataset}/tuning/table.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="2GB",
        runtime="30m",
    params:
        code=plan.code("tuning-table"),
    message:
        "Trials on {wildcards.dataset}"
    shell:
        "python -m decorec tuning-table --trials {input.trials} --csv {output.csv} 2> {log}"
