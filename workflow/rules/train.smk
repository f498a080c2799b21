"""Training, tuning and evaluation of a run.

One thread a job: seeds and runs are what is parallel, and a result does not depend on the number of cores. A training
may have several processes (train.devices), of one thread each, also on several nodes (train.nodes). Then the step itself
starts what runs on each node: `mpi`, empty or not, tells the plugin of SLURM to leave that to it, and not to start the
step by srun on one of them. Memory and threads are those of a node, GPUs those of all.
"""


rule train:
    input:
        unpack(ask_own(plan.training)),
    output:
        model=layout.MODEL,
        history=layout.HISTORY,
        config=layout.MODEL_CONFIG,
    log:
        layout.log(layout.training_job()),
    priority: ask(plan.priority)
    conda:
        "../../envs/gpu.yaml"
    threads: ask(plan.devices)
    resources:
        nodes=ask(plan.nodes),
        tasks=over_nodes(ask(plan.nodes)),
        mpi=over_nodes(ask(plan.nodes), ""),
        gpu=ask(plan.gpus),
        gpu_mb=gpu_memory(ask(plan.trainings), ask(plan.devices)),
        mem=memory(8, 3, ask(plan.devices)),
        runtime=runtime(12),
    params:
        run=ask(plan.run),
        seed="{seed}",
        state=layout.training_state(),
        code=ask(plan.code_of_training),
        tensorboard=ask_untracked(plan.tensorboard),
    message:
        "Training {wildcards.run} on {wildcards.dataset}: {wildcards.stage}, seed {wildcards.seed}"
    shell:
        step(
            "train",
            wildcards="stage",
            params="run seed code state tensorboard",
            input="vocab sequences features interests cooccurrence start start_config epochs_of",
            output="model history config",
            resources="gpu_mb",
        )


rule evaluate:
    input:
        unpack(ask(plan.evaluated)),
        vocab=rules.split.output.vocab,
        sequences=rules.split.output.sequences,
    output:
        ranks=layout.RANKS,
        validation=layout.VALIDATION,
        lists=layout.LISTS,
        metrics=layout.METRICS,
    log:
        layout.log(layout.training_job("evaluate")),
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(1),
    params:
        code=ask(partial(plan.code_of_run, "evaluate")),
    message:
        "Ranking all items for every user: {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        step(
            "evaluate",
            input="vocab sequences model config",
            output="ranks validation lists metrics",
            resources="gpu_mb",
        )


rule modality_modes:
    input:
        unpack(ask(plan.evaluated)),
        vocab=rules.split.output.vocab,
        sequences=rules.split.output.sequences,
    output:
        modes=layout.MODES,
    log:
        layout.log(layout.training_job("modality-modes")),
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(1),
    params:
        code=ask(partial(plan.code_of_run, "modality-modes")),
    message:
        "Ranking by single modalities and by all: {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        step(
            "modality-modes",
            input="vocab sequences model config",
            output="modes",
            resources="gpu_mb",
        )


rule new_items:
    input:
        unpack(ask(plan.held_out)),
    output:
        ranks=layout.NEW_ITEMS,
    log:
        layout.log(layout.training_job("new-items")),
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(12),
    params:
        run=ask(plan.chosen_run),
        share=plan.config.tables.held_out,
        cache=layout.NEW_ITEMS_STATE,
        code=ask(partial(plan.code_of_run, "new-items")),
    message:
        "Training {wildcards.run} on {wildcards.dataset} without some items, seed {wildcards.seed}"
    shell:
        step(
            "new-items",
            wildcards="seed",
            params="run share code cache",
            input="vocab sequences features",
            output="ranks",
            resources="gpu_mb",
        )


rule gradient_probe:
    input:
        unpack(ask(plan.probed)),
    output:
        gradients=layout.GRADIENTS,
    log:
        layout.log(layout.training_job("gradient-probe")),
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(12),
    params:
        run=ask(partial(plan.run, stage="fit")),
        every=plan.config.tables.probe_every,
        state=layout.training_state("gradient-probe"),
        code=ask(partial(plan.code_of_run, "gradient-probe")),
    message:
        "Measuring gradients of {wildcards.run} on {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        step(
            "gradient-probe",
            wildcards="seed",
            params="run every code state",
            input="vocab sequences features interests cooccurrence",
            output="gradients",
            resources="gpu_mb",
        )


rule neighbour_recall:
    input:
        vocab=rules.split.output.vocab,
        sequences=rules.split.output.sequences,
        cooccurrence=layout.COOCCURRENCE.replace("{variant}", ""),
        features=ask(plan.compared_features),
    output:
        recall=layout.RECALL,
    log:
        layout.log("{dataset}/neighbour-recall"),
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem=memory(4, 16),
        runtime=runtime(1),
    params:
        predictions=plan.config.tables.predictions,
        code=ask(partial(plan.code, "neighbour-recall")),
    message:
        "Finding next items by the graph and by features alone on {wildcards.dataset}"
    shell:
        step(
            "neighbour-recall",
            params="predictions",
            input="vocab sequences cooccurrence features",
            output="recall",
        )


rule tune:
    input:
        unpack(ask(plan.tuning)),
    output:
        trials=layout.TRIALS,
    log:
        layout.log("{dataset}/tuning/{run}"),
    conda:
        "../../envs/gpu.yaml"
    threads: 1
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(48),
    params:
        run=ask(plan.whole_run),
        settings=plan.section("tuning"),
        cache=layout.STUDY,
        default_space=ask(plan.space),
        space=ask(plan.own_space),
        code=ask(partial(plan.code_of_run, "tune")),
    message:
        "Tuning {wildcards.run} on {wildcards.dataset}"
    shell:
        step(
            "tune",
            params="run settings space code cache",
            input="vocab sequences features interests cooccurrence",
            output="trials",
            resources="gpu_mb",
        )
