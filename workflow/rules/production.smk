"""The model for production: the run that recommends, trained on all interactions for as many epochs as its twin."""


rule whole_sequences:
    input:
        sequences=rules.split.output.sequences,
    output:
        output=layout.PRODUCTION_SEQUENCES,
    log:
        layout.log("{dataset}/production/whole-sequences"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4),
        runtime=runtime(0.5),
    params:
        code=ask(partial(plan.code, "whole-sequences")),
    message:
        "Taking all interactions of {wildcards.dataset} for training"
    shell:
        step("whole-sequences", input="sequences", output="output")


use rule cooccurrence as production_cooccurrence with:
    input:
        vocab=rules.split.output.vocab,
        sequences=rules.whole_sequences.output.output,
    output:
        matrix=layout.PRODUCTION_COOCCURRENCE,
    log:
        layout.log("{dataset}/production/cooccurrence"),
    params:
        settings=ask(partial(plan.production_section, section="graph")),
        dask=ask_untracked(partial(plan.section, "dask")),
        code=ask(partial(plan.code, "cooccurrence")),
    message:
        "Counting all co-occurrences of {wildcards.dataset}"


use rule cluster as production_cluster with:
    input:
        cooccurrence=rules.production_cooccurrence.output.matrix,
        vocab=rules.split.output.vocab,
        features=layout.FEATURES,
    output:
        interests=layout.PRODUCTION_INTERESTS,
    log:
        layout.log("{dataset}/production/cluster-{modality}"),
    params:
        settings=ask(partial(plan.production_section, section="interests")),
        code=ask(partial(plan.code, "cluster")),
    message:
        "Clustering the features ({wildcards.modality}) of {wildcards.dataset} for production"


use rule train as production_train with:
    input:
        unpack(ask_own(plan.production_training)),
    output:
        model=layout.PRODUCTION_MODEL,
        history=layout.PRODUCTION_HISTORY,
        config=layout.PRODUCTION_CONFIG,
    log:
        layout.log("{dataset}/production/{stage}"),
    threads: ask(plan.of_production(plan.devices))
    resources:
        nodes=ask(plan.of_production(plan.nodes)),
        tasks=over_nodes(ask(plan.of_production(plan.nodes))),
        mpi=over_nodes(ask(plan.of_production(plan.nodes)), ""),
        gpu=ask(plan.of_production(plan.gpus)),
        gpu_mb=gpu_memory(ask(plan.trainings), ask(plan.of_production(plan.devices))),
        mem=memory(8, 3, ask(plan.of_production(plan.devices))),
        runtime=runtime(12),
    params:
        run=ask(plan.of_production(plan.run)),
        seed=plan.config.seeds[0],
        state=layout.PRODUCTION_STATE,
        code=ask(plan.of_production(plan.code_of_training)),
        tensorboard=ask_untracked(plan.production_tensorboard),
    message:
        "Training the model for production of {wildcards.dataset}: {wildcards.stage}"


rule model_card:
    input:
        unpack(ask(plan.production_card)),
    output:
        output=layout.PRODUCTION_CARD,
    log:
        layout.log("{dataset}/production/card"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4),
        runtime=runtime(0.5),
    params:
        code=ask(partial(plan.code_of_runs, "model-card", [plan.recommended_run()])),
    message:
        "Writing the card of the model for production of {wildcards.dataset}"
    shell:
        step(
            "model-card",
            input="model twin metrics sequences features counts",
            output="output",
        )
