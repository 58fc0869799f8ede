"""What the chart makes of its values; whether the API server takes it: tests/integration/test_chart_install.py."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.decide.podspec import PodRequest, PodTemplate, labels
from controller.settings import Settings as ControllerSettings
from fleet.plugins import PluginNames
from fleet.shutdown import bound_of
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
        ("PriorityClass", "botfleet-trading-fleet-bot"),
        ("PriorityClass", "botfleet-trading-fleet-bot-holding"),
        ("PriorityClass", "botfleet-trading-fleet-bot-live"),
        ("PriorityClass", "botfleet-trading-fleet-system"),
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
        secret = "postgresql://from-a-secret" if name == "BOTFLEET_DATABASE_URL" else "from-a-secret"
        monkeypatch.setenv(name, value if isinstance(value, str) else secret)
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
        pytest.param("priorityClasses.values.system", 2_000_000_000, id="the cluster's own priority"),
        pytest.param("priorityClasses.existing.bot", "Not A Name", id="no name of a class"),
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


CLASSES = ("system", "bot-holding", "bot-live", "bot")
SYSTEM_CRITICAL = 2_000_000_000


def priorities(env: Manifest) -> list[str]:
    return [env[f"BOTFLEET_BOT_PRIORITY_CLASS{which}"] for which in ("_HOLDING", "_LIVE", "")]


def test_priorities_fall_from_the_system_to_bots_on_paper(render: Render) -> None:
    manifests = render(EVERYTHING)
    found = {e["metadata"]["name"]: e for e in manifests if e["kind"] == "PriorityClass"}
    ordered = [found[f"botfleet-trading-fleet-{name}"] for name in CLASSES]
    values = [entry["value"] for entry in ordered]
    assert len(found) == 4
    assert SYSTEM_CRITICAL > values[0] > values[1] > values[2] > values[3] > 0
    assert [entry["globalDefault"] for entry in ordered] == [False] * 4
    # a bot on paper waits for room: it never takes it from a pod of somebody else, which has priority 0 as a rule
    assert [entry["preemptionPolicy"] for entry in ordered] == ["PreemptLowerPriority"] * 3 + ["Never"]
    assert {spec["priorityClassName"] for spec in pod_specs(manifests)} == {"botfleet-trading-fleet-system"}
    assert priorities(controller_env(manifests)) == [f"botfleet-trading-fleet-{name}" for name in CLASSES[1:]]


def test_existing_priority_classes_are_used_and_none_is_made(render: Render) -> None:
    names = {"system": "high", "botHolding": "mid", "botLive": "low.1", "bot": ""}
    manifests = render({**EVERYTHING, "priorityClasses": {"create": False, "existing": names}})
    assert not [entry for entry in manifests if entry["kind"] == "PriorityClass"]
    assert {spec["priorityClassName"] for spec in pod_specs(manifests)} == {"high"}
    assert priorities(controller_env(manifests)) == ["mid", "low.1", ""]


def test_without_rights_on_the_cluster_there_is_no_priority(render: Render) -> None:
    manifests = render(merged(EVERYTHING, "priorityClasses.create", False))
    assert not [spec for spec in pod_specs(manifests) if "priorityClassName" in spec]
    assert priorities(controller_env(manifests)) == ["", "", ""]
    cluster_wide = {"PriorityClass", "ClusterRole", "ClusterRoleBinding", "Namespace", "CustomResourceDefinition"}
    assert not cluster_wide & {entry["kind"] for entry in manifests}


def test_priorities_in_another_order_are_refused(helm_template: Any) -> None:
    done = helm_template(merged(EVALUATION, "priorityClasses.values", {"bot": 50_000}))
    assert done.returncode != 0
    assert "botLive (10000) to bot (50000)" in done.stderr


def test_names_of_classes_differ_between_releases_and_namespaces(helm: str) -> None:
    """They are cluster-scoped: two installations must not fight for one."""
    names: list[str] = []
    for release, namespace in (
        ("fleet", "trading"),
        ("fleet", "other"),
        ("second", "trading"),
        ("botfleet", "botfleet"),
    ):
        command = [helm, "template", release, CHART, "-n", namespace, "--set", "database.evaluation.enabled=true"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = [entry for entry in yaml.safe_load_all(done.stdout) if entry and entry["kind"] == "PriorityClass"]
        names += [entry["metadata"]["name"] for entry in found]
    assert len(set(names)) == 16
    assert names[-4:] == ["botfleet-system", "botfleet-bot-holding", "botfleet-bot-live", "botfleet-bot"]


def test_an_upgrade_needs_no_room_beside_the_old_pods(render: Render) -> None:
    manifests = render(EVERYTHING)
    strategies = {e["metadata"]["name"]: e["spec"].get("strategy") for e in manifests if e["kind"] == "Deployment"}
    assert strategies == {
        "fleet-controller": {"type": "Recreate"},
        "fleet-sandbox": {"type": "Recreate"},
        "fleet-worker": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    }


def millis(quantity: str) -> int:
    return int(quantity.removesuffix("m")) if quantity.endswith("m") else int(quantity) * 1000


def test_a_hundred_bots_fit_on_a_node_of_two_cores(render: Render) -> None:
    """Beside what kubeadm's own pods ask for: API server 250m, controller manager 200m, etcd, scheduler and two DNS 100m each."""
    manifests = render(EVERYTHING)
    system = 850
    for spec in pod_specs(manifests):
        asked = [[c["resources"]["requests"] for c in spec.get(kind, [])] for kind in ("initContainers", "containers")]
        init, own = ([millis(requests["cpu"]) for requests in each] for each in asked)
        assert max(init, default=0) <= sum(own), "an init container must not make a pod larger"
        system += sum(own)
    bots = (2000 - system) // millis(controller_env(manifests)["BOTFLEET_BOT_CPU_REQUEST"])
    assert bots >= 100


def test_only_memory_is_limited(render: Render) -> None:
    """A CPU limit would stop a bot that starts, or decides, for the rest of a period."""
    for spec in pod_specs(render(EVERYTHING)):
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert set(container["resources"]["limits"]) == {"memory"}
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}


def test_the_bots_of_the_chart_are_those_of_the_settings(render: Render) -> None:
    env = controller_env(render(EVERYTHING))
    template = {field.name: field.default for field in dataclasses.fields(PodTemplate)}
    for name in ("cpu_request", "memory_request", "memory_limit"):
        setting = ControllerSettings.model_fields[f"bot_{name}"].default
        assert (env[f"BOTFLEET_BOT_{name.upper()}"], template[name]) == (setting, setting)


def test_the_programs_bounds_fit_into_their_grace_periods(render: Render) -> None:
    from cli.db_commands import SERVE_GRACE_S
    from controller.runner import BOUND_S as CONTROLLER_S
    from sandbox_exchange.main import _BOUND_S as SANDBOX_S
    from worker.runner import BOUND_S as WORKER_S

    grace = {
        e["metadata"]["name"].removeprefix("fleet-"): e["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        for e in render(EVERYTHING)
        if e["kind"] in ("Deployment", "StatefulSet")
    }
    bounds = {
        "controller": CONTROLLER_S,
        "worker": WORKER_S,
        "sandbox": SANDBOX_S,
        "database": bound_of(SERVE_GRACE_S),
    }
    assert {name for name in grace if bounds[name] < grace[name]} == set(bounds)


@pytest.mark.parametrize(("replicas", "budgets"), [(1, []), (3, ["fleet-worker"])])
def test_only_what_there_is_more_than_one_of_has_a_disruption_budget(
    render: Render, replicas: int, budgets: list[str]
) -> None:
    manifests = render(merged(EVERYTHING, "worker.replicas", replicas))
    found = [entry for entry in manifests if entry["kind"] == "PodDisruptionBudget"]
    assert [entry["metadata"]["name"] for entry in found] == budgets
    assert [entry["spec"]["maxUnavailable"] for entry in found] == [1] * len(budgets)


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
