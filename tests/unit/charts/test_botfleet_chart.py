"""What the chart makes of its values; whether the API server takes it: tests/integration/test_chart_install.py."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.podspec import PodRequest, labels
from fleet.plugins import PluginNames
from tests.unit.charts.conftest import CHART, Manifest, Render
from worker.settings import Settings, load_settings

EVALUATION: Manifest = {"database": {"evaluation": {"enabled": True}}, "sandbox": {"enabled": True}}
EXTERNAL: Manifest = {"database": {"existingSecret": "owner", "existingBotSecret": "bots"}}
EVERYTHING: Manifest = {**EVALUATION, "networkPolicy": {"enabled": True}}

SELECTOR_OF_BOTS = "app.kubernetes.io/name=botrunner,app.kubernetes.io/managed-by=botfleet"


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [entry for entry in manifests if entry["kind"] == kind and entry["metadata"]["name"] == name]
    assert len(found) == 1, [(entry["kind"], entry["metadata"]["name"]) for entry in manifests]
    return found[0]


def pod_specs(manifests: list[Manifest]) -> list[Manifest]:
    return [entry["spec"]["template"]["spec"] for entry in manifests if entry["kind"] in ("Deployment", "StatefulSet")]


def controller_env(manifests: list[Manifest]) -> dict[str, Any]:
    spec = one(manifests, "Deployment", "fleet-controller")["spec"]["template"]["spec"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in spec["containers"][0]["env"]}


def merged(base: Manifest, path: str, value: object) -> Manifest:
    result = copy.deepcopy(base)
    node = result
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return result


def test_kinds_with_external_database(render: Render) -> None:
    manifests = render(EXTERNAL)
    assert sorted((entry["kind"], entry["metadata"]["name"]) for entry in manifests) == [
        ("Deployment", "fleet-controller"),
        ("Deployment", "fleet-worker"),
        ("Role", "fleet-controller"),
        ("RoleBinding", "fleet-controller"),
        ("Secret", "fleet-notifications"),
        ("Service", "fleet-controller"),
        ("Service", "fleet-worker"),
        ("ServiceAccount", "fleet-controller"),
        ("ServiceAccount", "fleet-tools"),
        ("ServiceAccount", "fleet-worker"),
    ]


def test_external_database_secrets_are_used(render: Render) -> None:
    manifests = render(EXTERNAL)
    env = controller_env(manifests)
    assert env["BOTFLEET_DATABASE_URL"] == {"secretKeyRef": {"name": "owner", "key": "controller-url"}}
    assert env["BOTFLEET_BOT_DATABASE_SECRET"] == "bots"
    migrate = pod_specs(manifests)[0]["initContainers"][0]
    assert migrate["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "owner", "key": "owner-url"}


def test_without_any_database_the_error_names_the_value(helm_template: Any) -> None:
    done = helm_template({})
    assert done.returncode != 0
    assert "database.existingSecret is empty" in done.stderr


def test_restricted_pod_security_everywhere(render: Render) -> None:
    specs = pod_specs(render(EVERYTHING))
    assert len(specs) == 4
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_only_the_controller_gets_a_token(render: Render) -> None:
    for spec in pod_specs(render(EVERYTHING)):
        if spec["serviceAccountName"] != "fleet-controller":
            assert spec["automountServiceAccountToken"] is False


def test_role_is_pods_and_events_of_one_namespace(render: Render) -> None:
    manifests = render(EVERYTHING)
    assert not [entry for entry in manifests if entry["kind"].startswith("ClusterRole")]
    assert one(manifests, "Role", "fleet-controller")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
        {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]


def test_one_controller_at_a_time(render: Render) -> None:
    spec = one(render(EVERYTHING), "Deployment", "fleet-controller")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_passwords_agree_between_secrets(render: Render) -> None:
    manifests = render(EVALUATION)
    secret = one(manifests, "Secret", "fleet-database")["stringData"]
    bots = one(manifests, "Secret", "fleet-bot-database")["stringData"]
    assert bots == {"url": f"postgresql://botfleet_bot:{secret['bot-password']}@fleet-database:5432/botfleet"}
    assert secret["controller-url"].startswith(f"postgresql://botfleet_controller:{secret['controller-password']}@")
    assert secret["worker-url"].startswith(f"postgresql://botfleet_worker:{secret['worker-password']}@")
    passwords = {secret[f"{role}-password"] for role in ("owner", "controller", "bot", "worker")}
    assert len(passwords) == 4
    assert all(re.fullmatch("[A-Za-z0-9]{24}", password) for password in passwords)


def test_database_secret_survives_an_uninstall_like_its_data(render: Render) -> None:
    metadata = one(render(EVALUATION), "Secret", "fleet-database")["metadata"]
    assert metadata["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(EXTERNAL, {}, id="public exchanges"),
        pytest.param(EVALUATION, {"binance": "http://fleet-sandbox:8080"}, id="sandbox"),
        pytest.param(
            merged(EVALUATION, "bots.exchangeUrls", {"kraken": "http://x"}), {"kraken": "http://x"}, id="given"
        ),
    ],
)
def test_exchange_urls(render: Render, values: Manifest, expected: dict[str, str]) -> None:
    assert json.loads(controller_env(render(values))["BOTFLEET_EXCHANGE_URLS"]) == expected


def worker_env(manifests: list[Manifest]) -> dict[str, Any]:
    spec = one(manifests, "Deployment", "fleet-worker")["spec"]["template"]["spec"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in spec["containers"][0]["env"]}


def test_the_worker_takes_secrets_by_reference_alone(render: Render) -> None:
    values = merged(EXTERNAL, "notifications.existingSecret", "channels")
    manifests = render(values)
    env = worker_env(manifests)
    assert env["BOTFLEET_DATABASE_URL"] == {"secretKeyRef": {"name": "owner", "key": "worker-url"}}
    for variable, key in (
        ("BOTFLEET_TELEGRAM_TOKEN", "telegram-token"),
        ("BOTFLEET_SMTP_PASSWORD", "smtp-password"),
        ("BOTFLEET_WEBHOOK_SECRET", "webhook-secret"),
    ):
        assert env[variable] == {"secretKeyRef": {"name": "channels", "key": key, "optional": True}}
    assert not [entry for entry in manifests if entry["kind"] == "Secret"]


def test_a_made_webhook_secret_is_kept(render: Render) -> None:
    secret = one(render(EXTERNAL), "Secret", "fleet-notifications")
    assert re.fullmatch("[A-Za-z0-9]{40}", secret["stringData"]["webhook-secret"])
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_workers_settings_are_the_programs(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable that the chart sets is one that the worker reads, with a value that it takes."""
    values = merged(EXTERNAL, "notifications.smtp", {"host": "mail.example.com", "from": "bots@example.com"})
    values = merged(
        values,
        "notifications.operator",
        {"email": "ops@example.com", "telegramChatId": "-100", "webhookUrl": "https://x.example"},
    )
    values = merged(values, "notifications.telegram.apiUrl", "https://telegram.example")
    env = worker_env(render(values))
    assert {name.removeprefix("BOTFLEET_").lower() for name in env} <= set(Settings.model_fields)
    for name, value in env.items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "from-a-secret")
    settings = load_settings()
    assert settings.installed.missing == {}
    assert settings.operator.telegram_chat_id == "-100"


def test_the_workers_egress_and_its_way_to_the_database(render: Render) -> None:
    policies = {e["metadata"]["name"]: e["spec"] for e in render(EVERYTHING) if e["kind"] == "NetworkPolicy"}
    ports = {rule["port"] for entry in policies["fleet-worker"]["egress"] for rule in entry["ports"]}
    assert ports == {53, 25, 465, 587, 443, 5432}
    worker = {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "worker", "app.kubernetes.io/instance": "fleet"}}
    }
    assert worker in policies["fleet-database"]["ingress"][0]["from"]


def test_without_the_worker_nothing_of_it_is_left(render: Render) -> None:
    manifests = render(merged(EVERYTHING, "worker.enabled", False))
    assert not [
        entry["metadata"]["name"]
        for entry in manifests
        if entry["metadata"]["name"].endswith(("worker", "notifications"))
    ]


def test_image_by_tag_and_by_digest(render: Render) -> None:
    tagged = merged(EXTERNAL, "images.botrunner.tag", "abc")
    assert controller_env(render(tagged))["BOTFLEET_BOT_IMAGE"] == "botfleet/botrunner:abc"
    digest = merged(tagged, "images.botrunner.digest", "sha256:" + "0" * 64)
    assert controller_env(render(digest))["BOTFLEET_BOT_IMAGE"] == "botfleet/botrunner@sha256:" + "0" * 64


def test_sandbox_candles_from_config_maps(render: Render) -> None:
    values = merged(merged(EVALUATION, "sandbox.candles.configMaps", ["a", "b"]), "sandbox.speed", 300)
    spec = one(render(values), "Deployment", "fleet-sandbox")["spec"]["template"]["spec"]
    sources = next(volume["projected"]["sources"] for volume in spec["volumes"] if volume["name"] == "parts")
    assert sources == [{"configMap": {"name": "a"}}, {"configMap": {"name": "b"}}]
    assert "--candles=/candles" in spec["containers"][0]["args"]
    assert "--speed=300" in spec["containers"][0]["args"]


def test_network_policies_deny_by_default(render: Render) -> None:
    policies = {
        entry["metadata"]["name"]: entry["spec"] for entry in render(EVERYTHING) if entry["kind"] == "NetworkPolicy"
    }
    assert set(policies) == {
        f"fleet-{part}" for part in ("default-deny", "controller", "worker", "bots", "database", "sandbox")
    }
    deny = policies["fleet-default-deny"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    assert "ingress" not in policies["fleet-bots"]
    reached = [rule["to"] for rule in policies["fleet-bots"]["egress"]]
    assert not [peer for to in reached for peer in to if "ipBlock" in peer], "with the sandbox, bots need no outside"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("controler", {}, id="unknown at the top"),
        pytest.param("database.evaluation.enable", True, id="unknown deep inside"),
        pytest.param("sandbox.speed", "fast", id="wrong type"),
        pytest.param("images.pullPolicy", "Sometimes", id="not one of the words"),
        pytest.param("database.evaluation.nodePort", 80, id="no node port"),
        pytest.param("images.controller.digest", "abc", id="no digest"),
        pytest.param("notifications.smtp.tls", "maybe", id="no kind of TLS"),
        pytest.param("worker.replicas", 0, id="no replica"),
    ],
)
def test_schema_refuses(helm_template: Any, path: str, value: object) -> None:
    done = helm_template(merged(EVALUATION, path, value))
    assert done.returncode != 0
    assert path.rpartition(".")[2] in done.stderr


def test_schema_knows_every_default() -> None:
    """A key of values.yaml that the schema lacks could not be set by anyone."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: Manifest, node: Manifest, path: str) -> None:
        assert node.get("additionalProperties") is not None, path
        for key, value in values.items():
            if "properties" in node:
                assert key in node["properties"], f"{path}.{key}"
                if isinstance(value, dict) and "properties" in node["properties"][key]:
                    compare(value, node["properties"][key], f"{path}.{key}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_the_controller_is_told_what_the_bots_packages_add(render: Render) -> None:
    names = {"strategies": ["ChannelBreakout"], "entryMixins": ["Gap"], "exitMixins": ["Lock"], "brokers": ["acme"]}
    told = controller_env(render(merged(EVALUATION, "bots.plugins", names)))["BOTFLEET_PLUGINS"]
    assert PluginNames.model_validate_json(told) == PluginNames(
        strategies=("ChannelBreakout",), entry_mixins=("Gap",), exit_mixins=("Lock",), brokers=("acme",)
    )
    assert PluginNames.model_validate_json(controller_env(render(EVALUATION))["BOTFLEET_PLUGINS"]) == PluginNames()


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (EVALUATION, "PersistentVolumeClaim data-fleet-database-0 and Secret fleet-database"),
        (EXTERNAL, "your database and its Secrets aren't touched"),
    ],
)
def test_the_notes_say_what_an_upgrade_and_an_uninstall_leave(
    helm: Path, tmp_path: Path, render: Render, values: Manifest, kept: str
) -> None:
    # without a cluster Helm shows no notes: another template of the same chart includes them
    chart = shutil.copytree(CHART, tmp_path / "botfleet")
    include = 'notes: {{ include (print $.Template.BasePath "/NOTES.txt") . | quote }}'
    (chart / "templates" / "notes.yaml").write_text(include)
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [helm, "template", "fleet", chart, "-s", "templates/notes.yaml", "-n", "trading", "--values", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    notes = yaml.safe_load(done.stdout)["notes"]
    assert "until they are restarted" in notes
    assert "botfleet bots restart NAME" in notes
    assert f"delete pod -l {SELECTOR_OF_BOTS}" in notes
    assert kept in notes
    # what the notes name is what the chart makes
    for kind, name in re.findall(r"(PersistentVolumeClaim|Secret) (fleet\S+|data-fleet\S+?)[ .]", kept + "."):
        if kind == "Secret":
            assert one(render(values), "Secret", name)["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
        else:
            claim, _, owner = name.removesuffix("-0").partition("-")
            spec = one(render(values), "StatefulSet", owner)["spec"]
            assert [each["metadata"]["name"] for each in spec["volumeClaimTemplates"]] == [claim]


def test_the_selector_of_the_notes_finds_every_pod_of_a_bot() -> None:
    request = PodRequest(bot_id=7, epoch=5, name="bot-7-x-e5", user_id=1, config_version=1, mode="paper")
    wanted = dict(part.split("=") for part in SELECTOR_OF_BOTS.split(","))
    assert wanted.items() <= labels(request).items()
