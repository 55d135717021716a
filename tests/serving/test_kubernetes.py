"""The manifests fit Kubernetes' own schemas, as files and as every overlay renders them, and fit each other."""

import shutil
import subprocess

import kubernetes_validate
import pytest
from deployment_files import SERVING

KUBERNETES = SERVING / "kubernetes"
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
MANIFESTS = sorted(
    path for path in KUBERNETES.rglob("*.yaml") if path.name not in {"kustomization.yaml", "prometheus-adapter.yaml"}
)
VERSIONS = ("1.30", kubernetes_validate.latest_version())  # the oldest with `preStop: sleep` on, and the newest known


@pytest.fixture(scope="module")
def base(load):
    """The plain manifests, by kind."""
    return {document["kind"]: document for path in (KUBERNETES / "base").glob("*.yaml") for document in load(path)}


@pytest.fixture(params=OVERLAYS, scope="module")
def overlay(request, load):
    """What an overlay renders: its name, and the manifests by kind."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl, which has kustomize in it: https://kubernetes.io/docs/tasks/tools/")
    folder = KUBERNETES / "overlays" / request.param
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, load(done.stdout)


def of_kind(documents, kind):
    return next(document for document in documents if document["kind"] == kind)


def pods(deployment):
    return deployment["spec"]["template"]


def server(deployment):
    (container,) = pods(deployment)["spec"]["containers"]
    return container


def test_overlays():
    assert OVERLAYS == ["development", "embedded", "gpu", "production", "volume"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_a_manifest_fits_the_schema(path, version, load):
    for document in load(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_find_mistakes(base):
    wrong = {**base["Service"], "spec": {**base["Service"]["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="clusterIp"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_labels_match(base):
    labels = pods(base["Deployment"])["metadata"]["labels"]
    for selector in (
        base["Deployment"]["spec"]["selector"]["matchLabels"],
        base["Service"]["spec"]["selector"],
        base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        pods(base["Deployment"])["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    for document in base.values():
        if document["kind"] != "Kustomization":
            assert document["metadata"]["labels"].items() <= labels.items()


def test_the_parts_name_each_other(base, load):
    names = {port["name"] for port in server(base["Deployment"])["ports"]}
    assert {port["targetPort"] for port in base["Service"]["spec"]["ports"]} == names
    assert {port["port"] for rule in base["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]} == names
    assert base["Service"]["spec"]["clusterIP"] == "None"
    target = base["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", base["Deployment"]["metadata"]["name"])
    metric = base["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    (adapter,) = load(KUBERNETES / "monitoring" / "prometheus-adapter.yaml")
    assert metric in {rule["name"]["as"] for rule in adapter["rules"]["custom"]}
    assert pods(base["Deployment"])["spec"]["serviceAccountName"] == base["ServiceAccount"]["metadata"]["name"]


def test_the_flags_are_those_that_go_with_the_configuration(base, model_server_flags):
    assert server(base["Deployment"])["args"] == list(model_server_flags.flags)


def test_probes_know_the_models(base):
    container = server(base["Deployment"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"][0] == "model-ready"
        assert container[probe]["timeoutSeconds"] > 5  # the script's own limit
    grace = pods(base["Deployment"])["spec"]["terminationGracePeriodSeconds"]
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] < grace


def test_an_overlay_fits_the_schema(overlay):
    for document in overlay[1]:
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


def test_an_overlay_keeps_the_pod_standard_restricted(overlay):
    """What Kubernetes' standard `restricted` asks for, which the production namespace enforces."""
    deployment = of_kind(overlay[1], "Deployment")
    pod, container = pods(deployment)["spec"], server(deployment)
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_an_overlay_hangs_together(overlay):
    name, documents = overlay
    deployment = of_kind(documents, "Deployment")
    maps = {document["metadata"]["name"] for document in documents if document["kind"] == "ConfigMap"}
    volumes = {volume["name"]: volume for volume in pods(deployment)["spec"]["volumes"]}
    used = {source["configMap"]["name"] for source in volumes["config"]["projected"]["sources"]}
    assert used == maps and "tf-serving-models" in maps
    assert {mount["name"] for mount in server(deployment)["volumeMounts"]} <= volumes.keys()
    claims = {document["metadata"]["name"] for document in documents if document["kind"] == "PersistentVolumeClaim"}
    assert ("models" in volumes) == bool(claims) == (name in {"volume", "embedded"})
    assert ("HorizontalPodAutoscaler" in {document["kind"] for document in documents}) == (name != "development")


def test_the_embedded_server_knows_its_flags(overlay):
    name, documents = overlay
    if name != "embedded":
        return
    from tfllm.cli.serving import serve

    parsed = serve.make_context("serve", server(of_kind(documents, "Deployment"))["args"]).params
    assert parsed["model_config_file"] == "/config/models.config"
    assert parsed["host"] == "0.0.0.0"


def test_kserve(load):
    """Its schema is not to be had offline; what it hands to Kubernetes is a PodSpec, and fits that schema."""
    (service,) = load(SERVING / "kserve" / "inference_service.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = dict(service["spec"]["predictor"])
    own = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}
    assert own <= predictor.keys()
    pod = {name: value for name, value in predictor.items() if name not in own}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}
    kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    assert [container["name"] for container in pod["containers"]] == ["kserve-container"]
