"""The example for an S3 store, against a server on loopback that speaks S3; and the store as a place of all results."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.workplace import REPOSITORY, TINY, Workplace

pytestmark = pytest.mark.workflow
EXAMPLE = REPOSITORY / "docs/examples/store"
KEYS = {f"SNAKEMAKE_STORAGE_S3_{name}_KEY": "none" for name in ("ACCESS", "SECRET")}


@pytest.fixture
def store() -> Iterator[Any]:
    """A client of an S3 server of its own; its address is ``meta.endpoint_url``."""
    missing = [
        name
        for name in ("boto3", "moto", "flask", "flask_cors", "snakemake_storage_plugin_s3")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        pytest.skip(f"the extra s3, or the S3 server of the tests, is not installed: {', '.join(missing)}")
    import boto3

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            while server.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id="none",
                aws_secret_access_key="none",
            )
        finally:
            server.kill()


def test_a_shop_comes_from_a_store_and_results_go_there(store: Any, tmp_path: Path) -> None:
    kept = "results/shop/interactions.parquet"
    config = TINY | {"datasets": {"shop": {"source": "table", "path": "shop"}}, "filter": {"kcore": 3}}
    workplace = Workplace(tmp_path / "project", config)
    (workplace.folder / "store.smk").write_text((EXAMPLE / "store.smk").read_text())
    settings = yaml.safe_load((EXAMPLE / "store.yaml").read_text())
    settings |= {"endpoint": store.meta.endpoint_url, "results": [kept]}
    (workplace.folder / "store.yaml").write_text(yaml.safe_dump(settings))
    rows = [f"u{user},i{(user + place) % 7},{1_600_000_000 + place}" for user in range(9) for place in range(5)]
    files = {
        "interactions.csv": "user,item,timestamp\n" + "\n".join(rows) + "\n",
        "items.csv": "item,title,image\n"
        + "\n".join(f"i{item},thing {item},pictures/{item}.jpg" for item in range(7))
        + "\n",
        **{f"pictures/{item}.jpg": f"picture {item}" for item in range(7)},
    }
    store.create_bucket(Bucket="bucket")
    for name, text in files.items():
        store.put_object(Bucket="bucket", Key=f"shop/{name}", Body=text.encode())
    calls = (["--snakefile", "store.smk", "--", "fetch"], ["--", kept], ["--snakefile", "store.smk", "--", "keep"])
    for call in calls:
        result = called(workplace, *call)
        assert result.returncode == 0, result.stdout + result.stderr
    assert {name: (workplace.folder / "shop" / name).read_text() for name in files} == files
    body = store.get_object(Bucket="bucket", Key=f"kept/{kept}")["Body"].read()
    assert body == (workplace.folder / kept).read_bytes()


def test_a_store_as_the_place_of_all_files_is_refused(tmp_path: Path) -> None:
    if importlib.util.find_spec("snakemake_storage_plugin_s3") is None:
        pytest.skip("the extra s3 is not installed: snakemake_storage_plugin_s3")
    workplace = Workplace(tmp_path / "project", TINY)
    place = ("--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket")
    result = called(workplace, *place, "--dry-run", "--", "results/tables/main.csv")
    assert result.returncode == 1
    assert "default-storage-provider: expected none, found s3" in result.stdout + result.stderr


def test_the_pod_of_the_example_works_in_the_folder_of_the_image() -> None:
    pod = yaml.safe_load((REPOSITORY / "docs/examples/kubernetes/job.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert f"WORKDIR {mount['mountPath']}\n" in (REPOSITORY / "envs/Containerfile").read_text()
    assert mount["name"] == volume["name"] and container["command"][0] == "snakemake"


def called(workplace: Workplace, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", "none", *arguments]
    environment = {**os.environ, **KEYS, "PYTHONPATH": ""}
    return subprocess.run(command, cwd=workplace.folder, env=environment, capture_output=True, text=True)
