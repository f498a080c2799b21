# Brings a shop's tables and pictures from an S3 store, and keeps results there. In the folder of the project, with
# pip install 'decorec[s3]' and the keys in SNAKEMAKE_STORAGE_S3_ACCESS_KEY and SNAKEMAKE_STORAGE_S3_SECRET_KEY:
#
#     snakemake --snakefile store.smk --cores 4 fetch
#     snakemake --cores 8 results/tables/main.csv --configfile shop.yaml
#     snakemake --snakefile store.smk --cores 4 keep


configfile: "store.yaml"


storage s3:
    provider="s3",
    endpoint_url=config["endpoint"],


def in_store(folder, names):
    return [storage.s3(f"{folder}/{name}") for name in names]


# What has changed in the store since is fetched again.
rule fetch:
    input:
        tables=in_store(config["shop"], config["tables"]),
        pictures=in_store(config["shop"], ["pictures"]),
    output:
        tables=expand("shop/{table}", table=config["tables"]),
        pictures=directory("shop/pictures"),
    shell:
        "cp {input.tables:q} shop && rm -rf {output.pictures} && cp -r {input.pictures:q} {output.pictures}"


# Copies of single results. Their local files stay: steps read those.
rule keep:
    input:
        in_store(config["kept"], config["results"]),


rule keep_one:
    input:
        "{file}",
    output:
        storage.s3(f"{config['kept']}/{{file}}"),
    wildcard_constraints:
        file="results/.+",
    shell:
        "cp {input:q} {output:q}"
