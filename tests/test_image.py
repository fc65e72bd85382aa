"""The image and its neighbours as they are written: linted, and held to what they promise."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from engine.settings import MAX_MB, FetchLimits, MediaLimits
from tests.images import ROOT, read_command, read_stages

BIN = Path(sys.executable).parent
BUILD_STAGES = {"base", "wheel", "cpu-packages", "gpu-packages", "examples"}
KEPT_FOR_A_REASON = {
    "host_spoofing": "the page makes its own links of the host with its port, which $host lacks",
    "proxy_buffering_off": "events of a job have to come as they happen",
}


def lint(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)


def read_services(*files: str) -> dict[str, dict[str, Any]]:
    """Services as compose sees them: defaults put in, later files over the first."""
    services: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, service in read_compose(file)["services"].items():
            services[name] = services.get(name, {}) | service
    return services


def read_compose(file: str = "compose.yaml") -> dict[str, Any]:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / file).read_text("utf-8"))
    parsed: dict[str, Any] = yaml.safe_load(text)
    return parsed


SERVICES = read_services("compose.yaml")


def test_dockerfile_linter_reports_nothing() -> None:
    done = lint("hadolint", "--strict-labels", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_dockerfile_linter_detects_a_fault(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /x && apt-get install curl\n")
    assert "DL3006" in lint("hadolint", bad).stdout


def test_image_copies_what_exists_and_the_build_is_handed_it() -> None:
    handed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [
        source
        for stage in read_stages().values()
        for words in stage.list_words("COPY")
        if "--from" not in words
        for source in words.split()[:-1]
    ]
    assert {"engine", "gallery_db", "webapp", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), f"the image copies {source}, which is not there"
        assert source.partition("/")[0] in handed, f"{source} is not handed to the build"


def test_every_extra_that_the_image_names_exists() -> None:
    groups = re.findall(r"whl\)\[([^]]+)]", (ROOT / "Dockerfile").read_text("utf-8"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = [set(group.split(",")) for group in groups]
    assert {"cpu", "app", "postgres"} in named and {"gpu", "app", "postgres"} in named
    assert set().union(*named) <= set(extras)


def test_both_images_are_the_same_but_for_their_packages() -> None:
    stages = read_stages()
    assert set(stages) == BUILD_STAGES | {"runtime", "cpu", "gpu"} and list(stages)[-1] == "cpu"
    for flavour in ("cpu", "gpu"):
        stage, packages = stages[flavour], stages[f"{flavour}-packages"]
        assert stage.base == "runtime" and stage.list_words("COPY") == [f"--from={packages.name} /opt/venv /opt/venv"]
        assert {name for name, _ in stage.steps} <= {"COPY", "ENV"}  # what `runtime` sets is in force
        assert f"-c constraints/{flavour}.txt" in packages.list_words("RUN")[0]


def test_image_runs_as_any_user_and_writes_only_to_volumes() -> None:
    stage = read_stages()["runtime"]
    names = [name for name, _ in stage.steps]
    assert stage.list_words("USER") == ["10001:10001"] and names.index("USER") > names.index("RUN")
    assert read_command("VOLUME") == ["/data", "/data/weights", "/uploads"]
    (setting,) = stage.list_words("ENV")
    for pair in ("HOME=/tmp", "WAYSPEAK_DATA=/data", "GRADIO_TEMP_DIR=/uploads"):
        assert pair in setting.split()
    assert read_command("ENTRYPOINT") == ["wayspeak"] and read_command("CMD") == ["serve"]
    assert "/healthz" in read_command("HEALTHCHECK")[-1]


@pytest.mark.parametrize("files", [("compose.yaml",), ("docker/gpu.yaml",)], ids=lambda files: files[-1])
def test_compose_files_are_of_the_specification(files: tuple[str, ...]) -> None:
    parsed = compose_spec.PyCompose.from_json(json.dumps(read_compose(*files)))
    parsed.validate()
    parsed.validate_networks()
    parsed.validate_volumes()


def test_the_specification_knows_no_key_that_is_misspelled() -> None:
    wrong = read_compose()
    wrong["services"]["web"]["memlimit"] = "4g"
    with pytest.raises(ValueError, match="memlimit"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_linter_of_compose_files_finds_nothing_but_images_without_a_digest() -> None:
    done = lint("compose-lint", "check", "--format", "json", "compose.yaml")
    found = json.loads(done.stdout)
    assert {finding["rule_id"] for finding in list_findings(found)} == {"CL-0019"}, done.stdout


def list_findings(result: Any) -> list[dict[str, Any]]:
    """All objects with a rule's name, however deep."""
    if isinstance(result, dict):
        here = [result] if "rule_id" in result else []
        return here + [finding for value in result.values() for finding in list_findings(value)]
    return [finding for value in result for finding in list_findings(value)] if isinstance(result, list) else []


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert int(service["user"].partition(":")[0]) > 0
    assert service["pids_limit"] > 0 and service["mem_limit"] and service["cpus"] > 0
    assert all("noexec" in place and "size=" in place for place in service["tmpfs"])
    assert not any("docker.sock" in volume or volume.startswith("/") for volume in service["volumes"])


def test_page_has_no_way_out_and_nothing_but_the_gateway_is_published() -> None:
    compose = read_compose()
    assert {name: bool((net or {}).get("internal")) for name, net in compose["networks"].items()} == {
        "published": False,
        "inside": True,
        "outward": False,
    }
    assert SERVICES["web"]["networks"] == ["inside"] and SERVICES["worker"]["networks"] == ["outward"]
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["gateway"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["gateway"]["ports"])


def test_page_and_worker_are_two_services_on_one_data_volume() -> None:
    web, worker = SERVICES["web"], SERVICES["worker"]
    assert web["command"] == ["serve", "--workers", "0"] and worker["command"] == ["work"]
    assert "data:/data" in web["volumes"] and "data:/data" in worker["volumes"]
    for service in (web, worker):
        assert "weights:/data/weights:ro" in service["volumes"]
    declared = set(read_compose()["volumes"])
    used = {volume.partition(":")[0] for service in SERVICES.values() for volume in service["volumes"]}
    assert {name for name in used if not name.startswith(".")} == declared


def test_worker_has_the_memory_that_its_decoders_and_downloads_may_take() -> None:
    wanted = MediaLimits().max_memory_bytes + FetchLimits().memory_bytes + 3 * 2**30  # the engine's own
    assert int(SERVICES["worker"]["mem_limit"].rstrip("g")) * 2**30 >= wanted


def test_user_comes_from_gateway_header_and_port_is_published_on_loopback() -> None:
    result = SERVICES["web"]["environment"]
    assert result["WAYSPEAK_LOCAL_ONLY"] == "1" and result["FORWARDED_ALLOW_IPS"] == "*"
    assert "WAYSPEAK_LOCAL_ONLY" not in (ROOT / "Dockerfile").read_text("utf-8").replace("-e WAYSPEAK_LOCAL_ONLY=1", "")
    text = (ROOT / "docker" / "nginx.conf").read_text("utf-8")
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text  # what the visitor wrote there is dropped


def test_gpu_is_the_workers() -> None:
    services = read_services("compose.yaml", "docker/gpu.yaml")
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and services["worker"]["build"]["target"] == "gpu"
    assert services["web"]["build"]["target"] == "cpu" and services["worker"]["command"] == ["work"]


def test_linter_of_nginx_finds_only_what_is_meant() -> None:
    done = lint("gixy-next", "-f", "json", "docker/nginx.conf")
    found = {finding["plugin"] for finding in json.loads(done.stdout)}
    assert found == set(KEPT_FOR_A_REASON), done.stdout


def test_gateway_lets_long_jobs_and_large_files_through_and_slows_those_who_guess() -> None:
    text = (ROOT / "docker" / "nginx.conf").read_text("utf-8")
    limit_bytes = int(*re.findall(r"client_max_body_size (\d+)m;", text)) * 2**20
    assert limit_bytes >= MAX_MB * 2**20
    assert int(*re.findall(r"proxy_read_timeout (\d+)s;", text)) >= 600
    assert "proxy_buffering off;" in text and "proxy_request_buffering off;" in text and "hash $route" in text
    for zone, path in (("login", "/login"), ("upload", "/gradio_api/upload"), ("upload", "/api/v1/jobs")):
        places = re.findall(r"location (=|~) (\S+) \{([^}]*)\}", text)
        (body,) = [body for how, what, body in places if (path == what if how == "=" else re.search(what, path))]
        assert f"limit_req zone={zone} " in body and "proxy_pass" in body
        assert f"limit_req_zone $sender zone={zone}:" in text
    (log,) = re.findall(r"log_format plain '([^']+)'", text)
    assert "$request " not in log and "$args" not in log and "$request_uri" not in log  # queries carry tokens
