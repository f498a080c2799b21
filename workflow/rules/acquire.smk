"""From a source to items with features: sample shop, download, ingest, crawl, features."""


rule sample:
    output:
        reviews=layout.SHOP_REVIEWS,
        meta=layout.SHOP_META,
        pictures=directory(layout.SHOP_PICTURES),
    log:
        layout.log("{dataset}/sample"),
    wildcard_constraints:
        dataset=plan.pattern("sample"),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(1),
        runtime=runtime(1 / 6),
    params:
        dataset=ask(plan.origin),
        code=ask(partial(plan.code, "sample")),
    message:
        "Drawing the sample shop of {wildcards.dataset}"
    shell:
        step("sample", params="dataset", output="reviews meta pictures")


rule download:
    input:
        files=ask_own(plan.downloaded_files),
    output:
        reviews=layout.RAW_REVIEWS,
        meta=layout.RAW_META,
        checksums=layout.CHECKSUMS,
    log:
        layout.log("{dataset}/download"),
    wildcard_constraints:
        dataset=plan.pattern("sample", "amazon2018", "amazon2023"),
    priority: 100
    retries: 2
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(1),
        runtime=runtime(12),
    params:
        dataset=ask(plan.origin),
        settings=plan.section("download"),
        shop=ask(plan.shop),
        cache=layout.CACHE,
        own=ask(plan.own_content),
        code=ask(partial(plan.code, "download")),
    message:
        "Downloading reviews and metadata of {wildcards.dataset}"
    shell:
        step(
            "download",
            params="dataset settings shop cache",
            output="reviews meta checksums",
        )


# Which items the new tables have is known when it has run: then the DAG is evaluated again (see `catalogue_of`).
checkpoint ingest:
    input:
        unpack(ask_own(plan.raw_files)),
    output:
        # The first one: until the checkpoint has run, Snakemake plans with it in place of what `catalogue_of` gives.
        catalogue=layout.CATALOGUE,
        interactions=layout.INTERACTIONS,
        counts=layout.COUNTS,
    log:
        layout.log("{dataset}/ingest"),
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem=memory(4, 6),
        runtime=runtime(2),
    params:
        dataset=ask(plan.dataset),
        filter=plan.section("filter"),
        own=ask(plan.own_content),
        code=ask(partial(plan.code_of_source, "ingest")),
    message:
        "Reading interactions and items of {wildcards.dataset}"
    shell:
        step(
            "ingest",
            params="dataset filter",
            input="reviews meta checksums",
            output="interactions catalogue counts",
        )


rule histories:
    input:
        unpack(ask_own(plan.raw_files)),
    output:
        histories=layout.HISTORIES,
    log:
        layout.log("{dataset}/histories"),
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem=memory(4, 6),
        runtime=runtime(2),
    params:
        dataset=ask(plan.dataset),
        filter=plan.section("filter"),
        own=ask(plan.own_content),
        code=ask(partial(plan.code_of_source, "histories")),
    message:
        "Reading what every customer of {wildcards.dataset} bought"
    shell:
        step(
            "histories",
            params="dataset filter",
            input="reviews meta checksums",
            output="histories",
        )


rule crawl:
    input:
        catalogue=catalogue_of,
        files=ask(plan.shop_files),
    output:
        images=layout.IMAGES,
    log:
        layout.log("{dataset}/crawl"),
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    priority: 100
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem=memory(4),
        runtime=runtime(24),
    params:
        dataset=ask(plan.origin),
        settings=plan.section("crawl"),
        shop=ask(plan.shop),
        cache=layout.CACHE,
        pictures=ask(plan.local_pictures),
        listed=catalogue_content,
        code=ask(partial(plan.code, "crawl")),
    message:
        "Fetching the pictures of {wildcards.dataset}"
    shell:
        step(
            "crawl",
            params="dataset settings shop cache",
            input="catalogue",
            output="images",
        )


rule features:
    input:
        catalogue=catalogue_of,
        images=rules.crawl.output.images,
        weights=ask_own(plan.weights),
    output:
        encoder=layout.ENCODER,
        text=layout.FEATURES.replace("{modality}", "text"),
        image=layout.FEATURES.replace("{modality}", "image"),
    log:
        layout.log("{dataset}/features"),
    wildcard_constraints:
        dataset=plan.pattern(*INGESTED),
    priority: 100
    conda:
        "../../envs/gpu.yaml"
    threads: 2
    resources:
        gpu=1,
        gpu_mb=gpu_memory(),
        mem=memory(8, 2),
        runtime=runtime(8),
    params:
        settings=plan.section("features"),
        cache=layout.CACHE,
        weights=ask(plan.weights_content),
        listed=catalogue_content,
        code=ask(partial(plan.code, "features")),
    message:
        "Encoding texts and pictures of {wildcards.dataset}"
    shell:
        step(
            "features",
            params="settings cache",
            input="catalogue images",
            output="encoder text image",
            resources="gpu_mb",
        )
