"""What people read about a bot: the status in its row, notifications of its tenant, Events on its pods."""

from __future__ import annotations

from dataclasses import dataclass

from controller.act.runtime import Runtime
from controller.decide.actions import Action, DeletePod, Notify, SetStatus
from controller.decide.pod_events import deletion_event, event_of
from controller.observe.bots import BotView
from controller.store import Store
from fleet.events import severity_of
from fleet.foreign import clean_text
from fleet.trading_service.bots import Notification

FAULT_LIMIT = 500
"""Characters of what is shown of the controller's own fault."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Writes what people read. What goes to the database raises DatabaseAway; Events never fail."""

    store: Store
    runtime: Runtime

    async def status(self, view: BotView, action: SetStatus) -> bool:
        """Show a status; False: the row is busy or has moved on."""
        return await self.store.set_status(
            view.bot_id,
            seen=view.row.status,
            status=action.status,
            message=action.message,
            error_count=action.error_count,
        )

    async def notification(self, view: BotView, action: Notify) -> bool:
        """Tell the bot's tenant; False: told before."""
        return await self.store.notify(
            Notification(
                bot_id=view.bot_id,
                kind=action.kind,
                severity=severity_of(action.kind),
                title=action.title,
                body=action.body,
                key=action.key,
            )
        )

    async def fault(self, bot_id: int, fault: Exception) -> None:
        """What repeating doesn't mend is shown in the row, beside the status that it has."""
        record = await self.store.load(bot_id)
        if record is not None:
            message = clean_text(f"the controller fails at this bot and will try again: {fault!r}", FAULT_LIMIT)
            await self.store.set_status(
                bot_id, seen=record.status, status=record.status, message=message, error_count=record.error_count
            )

    def deletion(self, view: BotView, action: DeletePod) -> None:
        """Say on a pod why it will be deleted: afterwards it may be gone, and who looks for it finds nothing."""
        wanted = None if view.record is None else view.record.wanted
        self.runtime.record_event(action.pod, deletion_event(action.pod, view.run, wanted=wanted))

    def done(self, view: BotView, action: Action) -> None:
        """Say on the pod of the action's run what happened to that."""
        event = event_of(action)
        if event is None:
            return
        epoch, told = event
        for pod in self.runtime.pods(view.bot_id):
            if pod.epoch == epoch:
                self.runtime.record_event(pod, told)
