"""What a bot's pod looks like: names, labels and the manifest, from plain values.

Names are computed, never random, so that a create whose answer got lost can be looked up; the epoch in the name
makes a second pod of one run impossible. The manifest meets the Restricted Pod Security Standard. Pure: no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from fleet import labels as names
from fleet.ids import is_id

NAME_LIMIT = 63
"""A pod's name is also its hostname: one DNS label."""

CONTAINER = "bot"
USER_ID = 10001

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRequest:
    """What differs from run to run.

    Attributes:
        mode: `paper` or `live`.
        holding: the bot has an open position as the run starts. A pod's priority can't be changed later.

    Raises:
        ValueError: the bot or the epoch has a number that no label could bring back; the planner asks for no such pod.
    """

    bot_id: int
    epoch: int
    name: str
    user_id: int
    config_version: int
    mode: str
    holding: bool = False

    def __post_init__(self) -> None:
        if not (is_id(self.bot_id) and is_id(self.epoch)):
            raise ValueError(f"no pod can carry bot {self.bot_id}, epoch {self.epoch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """What all bots of an installation share.

    Attributes:
        image_pull_secrets, node_selector: as in a pod's spec.
        priority_class: of bots on paper. priority_class_live: of bots with real money; empty: as on paper.
            priority_class_holding: of bots with an open position; empty: as without one.
        database_secret: Secret whose key `url` is the bots' database URL.
        env: further plain variables.
        grace_s: from SIGTERM to SIGKILL.
        unreachable_s: how long a pod may stay bound to a node that is not ready or not reachable. Kubernetes'
            own 300 s would leave a dead node's pods in every listing for that much longer.
    """

    namespace: str
    image: str
    pull_policy: str
    command: Sequence[str]
    database_secret: str
    env: Mapping[str, str] = field(default_factory=dict)
    grace_s: int = 30
    unreachable_s: int = 30
    cpu_request: str = "6m"
    memory_request: str = "96Mi"
    memory_limit: str = "256Mi"
    image_pull_secrets: Sequence[str] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    priority_class: str = ""
    priority_class_live: str = ""
    priority_class_holding: str = ""


def pod_name(bot_id: int, name: str, epoch: int) -> str:
    """`bot-<id>-<slug>-e<epoch>`, at most 63 characters; the slug is what fits of the bot's name."""
    head, tail = f"bot-{bot_id}", f"-e{epoch}"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = slug[: max(0, NAME_LIMIT - len(head) - len(tail) - 1)].strip("-")
    return f"{head}-{slug}{tail}" if slug else f"{head}{tail}"


def labels(request: PodRequest) -> dict[str, str]:
    """How people and the watch find the pod."""
    return {
        names.NAME: names.BOTRUNNER,
        names.MANAGED_BY: names.BOTFLEET,
        names.INSTANCE: f"bot-{request.bot_id}",
        names.BOT_ID: str(request.bot_id),
        names.EPOCH: str(request.epoch),
        names.CONFIG_VERSION: str(request.config_version),
        names.TENANT: str(request.user_id),
        names.MODE: request.mode,
    }


def arguments(request: PodRequest) -> list[str]:
    """Command line arguments of the bot's process."""
    return ["--bot-id", str(request.bot_id), "--epoch", str(request.epoch)]


def build_pod(request: PodRequest, template: PodTemplate) -> Manifest:
    """The pod of one run."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": request.name,
            "namespace": template.namespace,
            "labels": labels(request),
            # Argo CD shows a running pod with restartPolicy Never as progressing for ever, unless told
            "annotations": {
                "argocd.argoproj.io/ignore-restart-policy": "true",
                names.SETTINGS_HASH: settings_hash(template),
            },
        },
        "spec": _spec(request, template),
    }


def settings_hash(template: PodTemplate) -> str:
    """Twelve characters that differ whenever two templates would make different pods of one run."""
    return hash_of([_spec(request, template) for request in _ANY_REQUESTS])


def hash_of(document: object) -> str:
    """Of anything that is JSON, whatever the order of its keys."""
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]


_ANY_REQUESTS = [
    PodRequest(bot_id=1, epoch=1, name="any", user_id=1, config_version=1, mode=mode, holding=holding)
    for mode in ("paper", "live")
    for holding in (False, True)
]


def _spec(request: PodRequest, template: PodTemplate) -> Manifest:
    spec: Manifest = {
        # the controller owns restarts: a new process is a new run with a new epoch
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": template.grace_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{condition}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": template.unreachable_s,
            }
            for condition in ("not-ready", "unreachable")
        ],
        "containers": [_container(request, template)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    if template.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in template.image_pull_secrets]
    if template.node_selector:
        spec["nodeSelector"] = dict(template.node_selector)
    priority_class = _priority_class(request, template)
    if priority_class:
        spec["priorityClassName"] = priority_class
    return spec


def _priority_class(request: PodRequest, template: PodTemplate) -> str:
    """An open position is placed first and preempted last, then real money; empty: the cluster's default."""
    usual = (template.priority_class_live if request.mode == "live" else "") or template.priority_class
    return (template.priority_class_holding if request.holding else "") or usual


def _container(request: PodRequest, template: PodTemplate) -> Manifest:
    return {
        "name": CONTAINER,
        "image": template.image,
        "imagePullPolicy": template.pull_policy,
        "command": list(template.command),
        "args": arguments(request),
        "env": _env(template),
        "resources": {
            "requests": {"cpu": template.cpu_request, "memory": template.memory_request},
            "limits": {"memory": template.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # the last lines of a bot that crashed become the run's error message
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def _env(template: PodTemplate) -> list[Manifest]:
    secret = {"secretKeyRef": {"name": template.database_secret, "key": "url"}}
    downward = {
        "BOTFLEET_POD_NAME": "metadata.name",
        "BOTFLEET_POD_UID": "metadata.uid",
        "BOTFLEET_NODE_NAME": "spec.nodeName",
    }
    return [
        {"name": "BOTFLEET_DATABASE_URL", "valueFrom": secret},
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in downward.items()),
        *({"name": name, "value": value} for name, value in sorted(template.env.items())),
    ]


def bot_environment(
    *,
    exchange_urls: Mapping[str, str],
    log_format: str,
    log_level: str,
    t_stop_s: float,
    t_exit_s: float,
    heartbeat_interval_s: float,
    strategy_errors_in_a_row: int,
    strategy_errors_in_window: int,
    strategy_error_window_bars: int,
    exchange_away_s: float,
    grace_s: float,
    egress: str,
) -> dict[str, str]:
    """The variables that every bot gets from the controller's own settings."""
    return {
        "BOTFLEET_EXCHANGE_URLS": json.dumps(dict(exchange_urls), sort_keys=True),
        "BOTFLEET_LOG_FORMAT": log_format,
        "BOTFLEET_LOG_LEVEL": log_level,
        "BOTFLEET_T_STOP_S": f"{t_stop_s:g}",
        "BOTFLEET_T_EXIT_S": f"{t_exit_s:g}",
        "BOTFLEET_HEARTBEAT_INTERVAL_S": f"{heartbeat_interval_s:g}",
        "BOTFLEET_STRATEGY_ERRORS_IN_A_ROW": str(strategy_errors_in_a_row),
        "BOTFLEET_STRATEGY_ERRORS_IN_WINDOW": str(strategy_errors_in_window),
        "BOTFLEET_STRATEGY_ERROR_WINDOW_BARS": str(strategy_error_window_bars),
        "BOTFLEET_EXCHANGE_AWAY_S": f"{exchange_away_s:g}",
        "BOTFLEET_GRACE_S": f"{grace_s:g}",
        "BOTFLEET_EGRESS": egress,
    }
