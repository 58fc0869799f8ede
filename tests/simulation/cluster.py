"""The cluster: pod objects, the processes in them, and an API server that may be away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from controller.decide.facts import PodFacts, PodPhase
from controller.decide.podspec import PodRequest
from tests.simulation.bot_process import BotProcess
from tests.simulation.times import POLICY

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass
class Pod:
    """A pod object in the API server."""

    facts: PodFacts
    process: BotProcess


class Cluster:
    """Pods by uid, and all processes that ever were. An object may be gone while its process goes on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.pods: dict[str, Pod] = {}
        self.processes: list[BotProcess] = []
        self.api_back_at = 0.0

    @property
    def api_up(self) -> bool:
        return self._world.now >= self.api_back_at

    def pods_of(self, bot_id: int) -> list[Pod]:
        return [pod for pod in self.pods.values() if pod.facts.bot_id == bot_id]

    def create_pod(self, request: PodRequest) -> PodFacts | None:
        """None: the name is taken (409)."""
        if any(pod.facts.name == request.name for pod in self.pods.values()):
            return None
        world = self._world
        uid = f"uid{len(self.processes) + 1}"
        delay_s = world.chance.choice([0.5, 1, 1, 2, 6, 20] if world.chaos else [0.5, 1, 2])
        process = BotProcess(world, request.bot_id, request.epoch, uid, world.now + delay_s)
        facts = PodFacts(bot_id=request.bot_id, epoch=request.epoch, name=request.name, uid=uid, phase=PodPhase.RUNNING)
        self.processes.append(process)
        self.pods[uid] = Pod(facts, process)
        self._publish(facts)
        world.note(f"pod {request.name} {uid}")
        return facts

    def delete_pod(self, uid: str) -> PodFacts | None:
        """SIGTERM now, SIGKILL after the grace period; None: no such object."""
        pod = self.pods.get(uid)
        if pod is None:
            return None
        if not pod.process.alive:
            self.drop(pod)
            return pod.facts
        pod.process.sigterm = True
        if pod.process.kill_at is None:
            pod.process.kill_at = self._world.now + POLICY.grace_s
        if not pod.facts.deleting:
            pod.facts = replace(pod.facts, deleting=True)
            self._publish(pod.facts)
        return pod.facts

    def report_end(self, uid: str, code: int) -> None:
        """The kubelet says how the process ended; an object that was to be deleted goes."""
        pod = self.pods.get(uid)
        if pod is None:
            return
        pod.facts = replace(pod.facts, phase=PodPhase.TERMINATED, exit_code=code)
        self._publish(pod.facts)
        if pod.facts.deleting:
            self.drop(pod)

    def drop(self, pod: Pod) -> None:
        """The object is gone."""
        self.pods.pop(pod.facts.uid, None)
        self._publish(pod.facts, gone=True)

    def _publish(self, facts: PodFacts, *, gone: bool = False) -> None:
        """Tell every watch, each after its own delay, in order."""
        for controller in self._world.controllers:
            controller.hear(facts, gone=gone)
