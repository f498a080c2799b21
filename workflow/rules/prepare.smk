"""From interactions and features to sequences, the co-occurrence graph and interests."""


rule split:
    input:
        interactions="results/{dataset}/interactions.parquet",
        catalogue="results/{dataset}/items.parquet",
        text="results/{dataset}/features/text.safetensors",
        image="results/{dataset}/features/image.safetensors",
    output:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        statistics="results/{dataset}/statistics.json",
    log:
        "logs/{dataset}/split.log",
    benchmark:
        "results/benchmarks/{dataset}/split.tsv"
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem="4GB",
        runtime="1h",
    params:
        filter=plan.section("filter"),
        code=plan.code("split"),
    message:
        "Filtering and splitting {wildcards.dataset}"
    shell:
        "python -m decorec split --filter {params.filter:q} --interactions {input.interactions}"
        " --items {input.catalogue} --text {input.text} --image {input.image} --vocab {output.vocab}"
        " --sequences {output.sequences} --statistics {output.statistics} --threads {threads} 2> {log}"


rule atomic:
    input:
        files=atomic_files,
    output:
        catalogue="results/{dataset}/items.parquet",
        text="results/{dataset}/features/text.safetensors",
        image="results/{dataset}/features/image.safetensors",
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        statistics="results/{dataset}/statistics.json",
    log:
        "logs/{dataset}/atomic.log",
    benchmark:
        "results/benchmarks/{dataset}/atomic.tsv"
    wildcard_constraints:
        dataset=plan.pattern("atomic"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="4GB",
        runtime="1h",
    params:
        dataset=dataset_section,
        code=plan.code("atomic"),
    message:
        "Reading the given splits and features of {wildcards.dataset}"
    shell:
        "python -m decorec atomic --dataset {params.dataset:q} --items {output.catalogue} --text {output.text}"
        " --image {output.image} --vocab {output.vocab} --sequences {output.sequences}"
        " --statistics {output.statistics} 2> {log}"


rule cooccurrence:
    input:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
    output:
        cooccurrence="results/{dataset}/{variant}graph/cooccurrence.npz",
    log:
        "logs/{dataset}/{variant}cooccurrence.log",
    benchmark:
        "results/benchmarks/{dataset}/{variant}cooccurrence.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem="4GB",
        runtime="1h",
    params:
        graph=section_of_variant("graph"),
        code=plan.code("cooccurrence"),
    message:
        "Counting training co-occurrences of {wildcards.dataset}"
    shell:
        "python -m decorec cooccurrence --graph {params.graph:q} --vocab {input.vocab}"
        " --sequences {input.sequences} --cooccurrence {output.cooccurrence} --threads {threads} 2> {log}"


rule cluster:
    input:
        cooccurrence=graph_of_interests,
        vocab="results/{dataset}/vocab.parquet",
        text_features="results/{dataset}/features/text.safetensors",
        image_features="results/{dataset}/features/image.safetensors",
    output:
        text="results/{dataset}/{variant}interests/text.safetensors",
        image="results/{dataset}/{variant}interests/image.safetensors",
    log:
        "logs/{dataset}/{variant}cluster.log",
    benchmark:
        "results/benchmarks/{dataset}/{variant}cluster.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem="4GB",
        runtime="2h",
    params:
        interests=section_of_variant("interests"),
        code=plan.code("cluster"),
    message:
        "Clustering the enriched features of {wildcards.dataset}"
    shell:
        "python -m decorec cluster --interests {params.interests:q} --cooccurrence {input.cooccurrence}"
        " --vocab {input.vocab} --text-features {input.text_features} --image-features {input.image_features}"
        " --text {output.text} --image {output.image} --threads {threads} 2> {log}"


rule recall:
    input:
        vocab="results/{dataset}/vocab.parquet",
        sequences="results/{dataset}/sequences.parquet",
        cooccurrence="results/{dataset}/graph/cooccurrence.npz",
        text_features="results/{dataset}/features/text.safetensors",
        image_features="results/{dataset}/features/image.safetensors",
    output:
        recall="results/{dataset}/recall.parquet",
    log:
        "logs/{dataset}/recall.log",
    benchmark:
        "results/benchmarks/{dataset}/recall.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="4GB",
        runtime="1h",
    params:
        predictions=plan.config.tables.predictions,
        code=plan.code("recall"),
    message:
        "Finding next items by the graph and by features alone on {wildcards.dataset}"
    shell:
        "python -m decorec recall --vocab {input.vocab} --sequences {input.sequences}"
        " --cooccurrence {input.cooccurrence} --text-features {input.text_features}"
        " --image-features {input.image_features} --predictions {params.predictions}"
        " --recall {output.recall} 2> {log}"
