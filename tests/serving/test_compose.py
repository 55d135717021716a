"""compose.yaml fits the Compose specification, and names files, networks and images that are there."""

import compose_spec
import pytest
from deployment_files import SERVING


@pytest.fixture(scope="module")
def services(load):
    (document,) = load(SERVING / "compose.yaml")
    return document["services"]


def validate(compose):
    compose.validate()
    compose.validate_networks()
    compose.validate_volumes()


def test_it_fits_the_specification():
    compose = compose_spec.PyCompose.from_yaml((SERVING / "compose.yaml").read_text("utf-8"))
    validate(compose)
    assert compose.name == "tfllm"


def test_the_specification_finds_mistakes():
    text = (SERVING / "compose.yaml").read_text("utf-8")
    for wrong in (
        text.replace("image: envoyproxy", "imgae: envoyproxy"),
        text.replace("networks: [edge,", "networks: [x,"),
    ):
        with pytest.raises(ValueError):
            validate(compose_spec.PyCompose.from_yaml(wrong))


def test_what_is_mounted_is_there(services):
    made = {"./credentials"}  # by make_credentials.py
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith(".") and source not in made:
                assert (SERVING / source).exists(), source
    build = services["tf-serving"]["build"]
    assert (SERVING / build["context"] / build["dockerfile"]).is_file()


def test_only_envoy_is_open_to_the_network(services):
    public = {
        name: port
        for name, service in services.items()
        for port in service.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert public == {"envoy": "8443:8443"}
    assert "edge" not in services["tf-serving"]["networks"]


def test_images_are_pinned_and_services_harmless(services):
    for name, service in services.items():
        assert name == "tf-serving" or ":" in service["image"] and not service["image"].endswith(":latest")
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"


def test_grafana_and_prometheus_find_each_other(services, load):
    (datasources,) = load(SERVING / "grafana/provisioning/datasources/prometheus.yaml")
    assert datasources["datasources"][0]["url"] == "http://prometheus:9090"
    (providers,) = load(SERVING / "grafana/provisioning/dashboards/dashboards.yaml")
    targets = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert providers["providers"][0]["options"]["path"] in targets
    (prometheus,) = load(SERVING / "prometheus/prometheus.yml")
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    assert jobs["tf-serving"]["dns_sd_configs"][0]["names"] == ["tf-serving"]
    assert (SERVING / "prometheus" / prometheus["rule_files"][0]).is_file()
