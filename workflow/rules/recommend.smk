"""From a trained run to recommendations for all customers."""


rule recommend:
    input:
        unpack(ask_own(plan.recommended)),
    output:
        output=layout.RECOMMENDATIONS,
    log:
        layout.log("{dataset}/recommend-{ending}"),
    wildcard_constraints:
        ending="parquet|csv",
    conda:
        "../../envs/gpu.yaml"
    threads: 2
    resources:
        gpu=1,
        gpu_mb=gpu_memory(ask(plan.trainings)),
        mem=memory(8, 3),
        runtime=runtime(4),
    params:
        run=ask(plan.recommended_folder),
        settings=plan.section("recommend"),
        ids=ask(plan.ids_content),
        code=ask(partial(plan.code_of_runs, "recommend", [plan.recommended_run()])),
    message:
        "Recommendations to all customers of {wildcards.dataset}"
    shell:
        step(
            "recommend",
            params="run settings",
            input="histories sequences vocab catalogue",
            output="output",
            resources="gpu_mb",
        )
