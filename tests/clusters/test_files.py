"""The cluster files, held against Ray's schema and the fields of KubeRay's API; the Slurm script, on a real Ray."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_study
import yaml

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "clusters"
LAUNCHED = sorted(CLUSTERS.glob("*/cluster.yaml"))

CLUSTER_FIELDS = {
    "": {
        *("headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling", "autoscalerOptions"),
        *("headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions", "authOptions"),
    },
    "authOptions": {"mode"},
    "autoscalerOptions": {
        *("resources", "image", "imagePullPolicy", "env", "envFrom", "volumeMounts", "securityContext"),
        *("idleTimeoutSeconds", "upscalingMode", "version"),
    },
    "headGroupSpec": {"serviceType", "headService", "enableIngress", "rayStartParams", "template"},
    "workerGroupSpecs": {
        *("groupName", "replicas", "minReplicas", "maxReplicas", "numOfHosts", "rayStartParams", "template"),
        *("scaleStrategy", "suspend", "idleTimeoutSeconds"),
    },
}
"""What a RayCluster of ray.io/v1 (KubeRay 1.5) may say, by the place under its spec."""
JOB_FIELDS = {
    *("entrypoint", "runtimeEnvYAML", "jobId", "metadata", "clusterSelector", "rayClusterSpec", "submissionMode"),
    *("submitterPodTemplate", "submitterConfig", "managedBy", "deletionStrategy", "suspend", "activeDeadlineSeconds"),
    *("backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "entrypointNumCpus"),
    *("entrypointNumGpus", "entrypointResources"),
}
POD_FIELDS = {"serviceAccountName", "containers", "volumes", "tolerations"}
CONTAINER_FIELDS = {"name", "image", "env", "resources", "volumeMounts"}
"""Of the many that a pod and a container may have in Kubernetes, those that these files use."""


def kubernetes(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CLUSTERS / "kuberay" / name).read_text())
    return document


def ray_version() -> str:
    found = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.parent.name)
def test_ray_up_takes_the_file(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(path.read_text())
    validate_config(prepare_config(config))
    nodes = config["available_node_types"]
    head, worker = nodes.pop(config["head_node_type"]), nodes["worker"]
    assert head["resources"] == {"CPU": 0}, "no unit on the head"
    assert 1 <= worker["min_workers"] <= worker["max_workers"] <= config["max_workers"]
    assert not {"spot", "preemptible"} & set(re.findall(r"\w+", str(head)))
    assert {"spot", "preemptible"} & set(re.findall(r"\w+", str(worker)))


@pytest.mark.parametrize("path", LAUNCHED, ids=lambda path: path.parent.name)
def test_every_node_gets_the_harness_and_wants_the_token(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    mounts = config["file_mounts"]
    assert mounts["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    sources = [source for source in mounts.values() if not source.startswith("~")]
    assert all((ROOT / source).exists() for source in sources)
    assert {"pyproject.toml", "constraints.txt", "harness", "tasks"} <= set(sources)
    starts = [c for key in ("head", "worker") for c in config[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


def test_kuberay_knows_every_field() -> None:
    cluster, job = kubernetes("raycluster.yaml"), kubernetes("rayjob.yaml")
    for document, kind in ((cluster, "RayCluster"), (job, "RayJob")):
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
        assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", kind)
    assert set(job["spec"]) <= JOB_FIELDS
    for place, known in CLUSTER_FIELDS.items():
        found = cluster["spec"][place] if place else cluster["spec"]
        for one in found if isinstance(found, list) else [found]:
            assert set(one) <= known, place
    for pod in _pods(cluster["spec"]):
        assert set(pod) <= POD_FIELDS
        for container in pod["containers"]:
            assert set(container) <= CONTAINER_FIELDS
            assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def _pods(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_both_kuberay_files_describe_one_cluster_of_one_image_with_this_ray() -> None:
    spec = kubernetes("raycluster.yaml")["spec"]
    assert kubernetes("rayjob.yaml")["spec"]["rayClusterSpec"] == spec
    assert spec["rayVersion"] == ray_version()
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert len({container["image"] for pod in _pods(spec) for container in pod["containers"]}) == 1
    image = (CLUSTERS / "kuberay" / "Dockerfile").read_text()
    assert f"FROM rayproject/ray:{ray_version()}-py311-gpu\n" in image
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE) for name in line.split()[1:]]
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("root", ["runs", "./runs", "~/runs"])
def test_slurm_refuses_a_root_that_nodes_do_not_share(root: str, tmp_path: Path) -> None:
    script = [str(CLUSTERS / "slurm" / "study.sh"), "digits", root]
    refused = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == f"the root is {root}; nodes share an absolute path, s3:// or gs://\n"


@pytest.mark.ray
@pytest.mark.slow
def test_slurm_runs_a_study_on_ray(tmp_path: Path) -> None:
    study = tiny_study.write_study(tmp_path, tiny_study.PLAIN, seeds=1)
    commands = tmp_path / "bin"
    commands.mkdir()
    _command(commands / "scontrol", "echo 127.0.0.1")
    _command(commands / "srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1"}
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | slurm | {"PATH": path, "HOME": str(tmp_path)}
    script = [CLUSTERS / "slurm" / "study.sh", study, tmp_path / "runs", "--where", "kind=original"]
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(tiny_study.committed(tmp_path / "runs")) == 1
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0, "nobody else reads the token"


def _command(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_mlflow_wants_its_database_named() -> None:
    refused = subprocess.run([CLUSTERS / "mlflow" / "serve.sh"], capture_output=True, text=True, env={"PATH": "/bin"})
    assert refused.returncode == 2
    assert "MLFLOW_DATABASE" in refused.stderr
    assert "it is postgresql://USER:PASSWORD@HOST/DATABASE" in refused.stderr


def test_the_table_names_every_kind_of_cluster() -> None:
    text = (CLUSTERS / "README.md").read_text()
    for folder in (path for path in CLUSTERS.iterdir() if path.is_dir()):
        assert f"]({folder.name}/" in text, folder.name
