"""From a source to items with features: sample shop, download, ingest, crawl, features."""


rule sample:
    output:
        reviews="results/{dataset}/shop/reviews.json.gz",
        meta="results/{dataset}/shop/meta.json.gz",
        pictures=directory("results/{dataset}/shop/pictures"),
    log:
        "logs/{dataset}/sample.log",
    benchmark:
        "results/benchmarks/{dataset}/sample.tsv"
    wildcard_constraints:
        dataset=plan.pattern("sample"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="1GB",
        runtime="10m",
    params:
        dataset=dataset_section,
        code=plan.code("sample"),
    message:
        "Drawing the sample shop of {wildcards.dataset}"
    shell:
        "python -m decorec sample --dataset {params.dataset:q} --reviews {output.reviews}"
        " --meta {output.meta} --pictures {output.pictures} 2> {log}"


rule download:
    input:
        shop=shop_files,
    output:
        reviews="results/{dataset}/raw/reviews.jsonl.gz",
        meta="results/{dataset}/raw/meta.jsonl.gz",
        checksums="results/{dataset}/raw/checksums.json",
    log:
        "logs/{dataset}/download.log",
    benchmark:
        "results/benchmarks/{dataset}/download.tsv"
    wildcard_constraints:
        dataset=plan.pattern("sample", "amazon2018", "amazon2023"),
    retries: 2
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem="1GB",
        runtime="12h",
    params:
        dataset=dataset_section,
        download=plan.section("download"),
        shop=shop,
        cache="results/cache",
        code=plan.code("download"),
    message:
        "Downloading reviews and metadata of {wildcards.dataset}"
    shell:
        "python -m decorec download --dataset {params.dataset:q} --download {params.download:q}"
        " --shop {params.shop} --cache {params.cache} --reviews {output.reviews} --meta {output.meta}"
        " --checksums {output.checksums} 2> {log}"


rule ingest:
    input:
        reviews=raw_reviews,
        meta=raw_meta,
    output:
        interactions="results/{dataset}/interactions.parquet",
        catalogue="results/{dataset}/items.parquet",
        counts="results/{dataset}/ingest.json",
    log:
        "logs/{dataset}/ingest.log",
    benchmark:
        "results/benchmarks/{dataset}/ingest.tsv"
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem="4GB",
        runtime="2h",
    params:
        dataset=dataset_section,
        filter=plan.section("filter"),
        code=plan.code("ingest"),
    message:
        "Reading interactions and items of {wildcards.dataset}"
    shell:
        "python -m decorec ingest --dataset {params.dataset:q} --filter {params.filter:q}"
        " --reviews {input.reviews:q} --meta {input.meta:q} --interactions {output.interactions}"
        " --items {output.catalogue} --counts {output.counts} --threads {threads} 2> {log}"


rule crawl:
    input:
        catalogue="results/{dataset}/items.parquet",
        shop=shop_files,
    output:
        images="results/{dataset}/images.parquet",
    log:
        "logs/{dataset}/crawl.log",
    benchmark:
        "results/benchmarks/{dataset}/crawl.tsv"
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem="4GB",
        runtime="1d",
    params:
        dataset=dataset_section,
        crawl=plan.section("crawl"),
        shop=shop,
        cache="results/cache",
        code=plan.code("crawl"),
    message:
        "Fetching the pictures of {wildcards.dataset}"
    shell:
        "python -m decorec crawl --dataset {params.dataset:q} --crawl {params.crawl:q}"
        " --items {input.catalogue} --shop {params.shop} --cache {params.cache} --images {output.images} 2> {log}"


rule features:
    input:
        catalogue="results/{dataset}/items.parquet",
        images="results/{dataset}/images.parquet",
    output:
        text="results/{dataset}/features/text.safetensors",
        image="results/{dataset}/features/image.safetensors",
    log:
        "logs/{dataset}/features.log",
    benchmark:
        "results/benchmarks/{dataset}/features.tsv"
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    conda:
        "../../envs/gpu.yaml"
    threads: 2
    resources:
        mem="8GB",
        runtime="8h",
    params:
        features=plan.section("features"),
        cache="results/cache",
        code=plan.code("features"),
    message:
        "Encoding texts and pictures of {wildcards.dataset}"
    shell:
        "python -m decorec features --features {params.features:q} --items {input.catalogue}"
        " --images {input.images} --cache {params.cache} --text {output.text} --image {output.image}"
        " --threads {threads} 2> {log}"
