"""Names and manifests: one golden pod, then only differences."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.decide.podspec import (
    NAME_LIMIT,
    PodRequest,
    PodTemplate,
    build_pod,
    pod_name,
    settings_hash,
)
from controller.observe.pods import read_pod
from fleet.ids import LARGEST_ID, is_id
from fleet.labels import BOT_ID, EPOCH

REQUEST = PodRequest(bot_id=7, epoch=3, name="bot-7-rsi-e3", user_id=2, config_version=5, mode="paper")
TEMPLATE = PodTemplate(
    namespace="bots",
    image="registry/botrunner:1",
    pull_policy="IfNotPresent",
    command=["python", "-m", "botrunner"],
    database_secret="botfleet-bots",
    env={"BOTFLEET_T_STOP_S": "15"},
)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def test_the_whole_pod() -> None:
    assert build_pod(REQUEST, TEMPLATE) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "bot-7-rsi-e3",
            "namespace": "bots",
            "labels": {
                "app.kubernetes.io/name": "botrunner",
                "app.kubernetes.io/managed-by": "botfleet",
                "app.kubernetes.io/instance": "bot-7",
                "botfleet.dev/bot-id": "7",
                "botfleet.dev/epoch": "3",
                "botfleet.dev/config-version": "5",
                "botfleet.dev/tenant": "2",
                "botfleet.dev/mode": "paper",
            },
            "annotations": {
                "argocd.argoproj.io/ignore-restart-policy": "true",
                "botfleet.dev/settings-hash": settings_hash(TEMPLATE),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 30,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [
                {
                    "key": "node.kubernetes.io/not-ready",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 30,
                },
                {
                    "key": "node.kubernetes.io/unreachable",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 30,
                },
            ],
            "containers": [
                {
                    "name": "bot",
                    "image": "registry/botrunner:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-m", "botrunner"],
                    "args": ["--bot-id", "7", "--epoch", "3"],
                    "env": [
                        {
                            "name": "BOTFLEET_DATABASE_URL",
                            "valueFrom": {"secretKeyRef": {"name": "botfleet-bots", "key": "url"}},
                        },
                        {
                            "name": "BOTFLEET_POD_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                        },
                        {
                            "name": "BOTFLEET_POD_UID",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
                        },
                        {
                            "name": "BOTFLEET_NODE_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}},
                        },
                        {"name": "BOTFLEET_T_STOP_S", "value": "15"},
                    ],
                    "resources": {
                        "requests": {"cpu": "6m", "memory": "96Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
        },
    }


@pytest.mark.parametrize(
    ("change", "key", "expected"),
    [
        ({"priority_class": "bots"}, "priorityClassName", "bots"),
        ({"node_selector": {"pool": "bots"}}, "nodeSelector", {"pool": "bots"}),
        ({"image_pull_secrets": ["pull"]}, "imagePullSecrets", [{"name": "pull"}]),
    ],
)
def test_options_appear_only_when_set(change: dict[str, object], key: str, expected: object) -> None:
    assert key not in build_pod(REQUEST, TEMPLATE)["spec"]
    assert build_pod(REQUEST, replace(TEMPLATE, **change))["spec"][key] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RSI+ATR BTC Paper", "bot-7-rsi-atr-btc-paper-e3"),
        ("比特币", "bot-7-e3"),
        ("--x--", "bot-7-x-e3"),
        ("a" * 100, "bot-7-" + "a" * 54 + "-e3"),
    ],
)
def test_names(name: str, expected: str) -> None:
    assert pod_name(7, name, 3) == expected


@given(
    st.lists(
        st.tuples(st.integers(1, 2**63 - 1), st.text(max_size=80), st.integers(1, 2**63 - 1)),
        max_size=10,
        unique_by=lambda each: (each[0], each[2]),
    )
)
def test_names_are_valid_and_unique_per_run(runs: list[tuple[int, str, int]]) -> None:
    names = [pod_name(*run) for run in runs]
    assert len(set(names)) == len(runs)
    for name in names:
        assert len(name) <= NAME_LIMIT
        assert LABEL.fullmatch(name)


ids = st.integers(1, LARGEST_ID) | st.sampled_from((1, LARGEST_ID))
no_ids = st.integers(max_value=0) | st.integers(min_value=LARGEST_ID + 1)


@given(ids, ids)
def test_every_pod_is_recognised(bot_id: int, epoch: int) -> None:
    request = replace(REQUEST, bot_id=bot_id, epoch=epoch, name=pod_name(bot_id, "x" * 200, epoch))
    body = build_pod(request, TEMPLATE)
    body["metadata"]["uid"] = "u"
    pod = read_pod(body)
    assert pod is not None
    assert (pod.bot_id, pod.epoch) == (bot_id, epoch)
    assert len(pod.name) <= NAME_LIMIT


@given(no_ids, ids)
def test_a_pod_that_nobody_would_recognise_cannot_be_asked_for(wrong: int, right: int) -> None:
    for bot_id, epoch in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match="no pod can carry"):
            replace(REQUEST, bot_id=bot_id, epoch=epoch)


@given(st.text(max_size=30) | st.integers().map(str) | st.none() | st.integers(), st.text() | st.integers().map(str))
def test_labels_that_anybody_wrote_are_read_or_not(bot_label: object, epoch_label: object) -> None:
    labels = {BOT_ID: bot_label, EPOCH: epoch_label}
    pod = read_pod({"metadata": {"uid": "u", "labels": labels}})
    assert pod is None or (is_id(pod.bot_id) and (pod.epoch == 0 or is_id(pod.epoch)))


def test_the_hash_tells_any_setting_that_reaches_a_pod() -> None:
    """Of every field, those of the future too: it changes the hash exactly when it changes the pod's spec."""
    for each in fields(PodTemplate):
        value = getattr(TEMPLATE, each.name)
        other: object = {"x": "y"} if isinstance(value, dict) else ["x"] if isinstance(value, list | tuple) else "x"
        changed = replace(TEMPLATE, **{each.name: value + 1 if isinstance(value, int) else other})
        requests = [replace(REQUEST, mode=mode, holding=held) for mode in ("paper", "live") for held in (False, True)]
        same_pod = all(build_pod(it, changed)["spec"] == build_pod(it, TEMPLATE)["spec"] for it in requests)
        assert (settings_hash(changed) == settings_hash(TEMPLATE)) == same_pod, each.name
    assert settings_hash(replace(TEMPLATE, image="registry/botrunner:2")) != settings_hash(TEMPLATE)
    assert settings_hash(replace(TEMPLATE, namespace="other")) == settings_hash(TEMPLATE)


@pytest.mark.parametrize(
    ("mode", "holding", "classes", "expected"),
    [
        ("paper", False, ("paper", "live", "holding"), "paper"),
        ("live", False, ("paper", "live", "holding"), "live"),
        ("paper", True, ("paper", "live", "holding"), "holding"),
        ("live", True, ("paper", "live", "holding"), "holding"),
        ("live", False, ("paper", "", "holding"), "paper"),
        ("live", True, ("paper", "live", ""), "live"),
        ("paper", True, ("paper", "live", ""), "paper"),
        ("paper", True, ("", "", ""), None),
    ],
)
def test_who_is_placed_first_and_preempted_last(
    mode: str, holding: bool, classes: tuple[str, str, str], expected: str | None
) -> None:
    paper, live, held = classes
    template = replace(TEMPLATE, priority_class=paper, priority_class_live=live, priority_class_holding=held)
    body = build_pod(replace(REQUEST, mode=mode, holding=holding), template)
    assert body["spec"].get("priorityClassName") == expected
