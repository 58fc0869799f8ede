"""Settings from the environment (`BOTFLEET_*`), validated together: an error names the variable.

The three times that decide over double trading belong together: a bot stops sending T_stop after its last
acknowledged heartbeat; its last order may be on the wire for the order time-out more; clocks drift; and only after
T_dead may the controller fence. Hence T_stop + order time-out + drift < T_dead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from controller.decide.facts import Policy
from controller.decide.podspec import PodTemplate, bot_environment, hash_of, settings_hash
from fleet.plugins import PluginNames
from fleet.settings import PREFIX, DatabaseUrl, read_settings

RECONNECT_S = 10.0
"""A bot's statement time-out and its connect time-out, rounded up."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """Everything that can be set; see the field descriptions."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    database_url: DatabaseUrl = Field(description="libpq URL of the controller's role.")
    runtime: Literal["kubernetes", "process"] = Field("kubernetes", description="Bots are pods, or local processes.")
    log_format: Literal["json", "console"] = Field("json", description="console: for people.")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    http_host: str = Field("0.0.0.0", description="Where health and metrics are served.")  # noqa: S104
    http_port: int = Field(8080, ge=0, le=65_535, description="0 picks a free port.")
    controller_name: str = Field("", description="Holder of the shard lease; default: the host's name.")

    poll_interval_s: Seconds = Field(60, description="Between two full reads of what rows want.")
    watch_interval_s: Seconds = Field(2, description="Between two looks for overdue heartbeats.")
    relist_interval_s: Seconds = Field(45, description="Between two full lists of pods.")
    workers: int = Field(16, ge=1, le=256, description="Bots handled at the same time.")
    database_connections: int = Field(8, ge=2, le=100, description="Size of the connection pool.")

    t_stop_s: Seconds = Field(15, description="Bots send no order so long after their last heartbeat.")
    t_dead_s: Seconds = Field(35, description="Silence after which a run may be fenced.")
    t_exit_s: Seconds = Field(600, description="Bots end themselves so long without the database.")
    heartbeat_interval_s: Seconds = Field(5, description="Between two heartbeats of a bot.")
    order_timeout_s: Seconds = Field(5, description="Longest time an order may be on its way.")
    clock_drift_s: float = Field(2, ge=0, le=60, description="Largest drift of clocks during T_dead.")
    contact_gap_s: Seconds = Field(
        10, description="A gap in the database's answers after which silence of bots isn't believed at once."
    )
    shard_ttl_s: Seconds = Field(15, description="A controller silent for so long loses its shard.")

    claim_deadline_s: Seconds = Field(120, description="From when a pod has a node to the claim of its run.")
    start_deadline_s: Seconds = Field(
        600, description="From the claim to live, waiting for the exchange not counted; many times a slow start."
    )
    hung_after_s: Seconds = Field(30, description="Without progress of a live bot's main loop.")
    starts_at_once: int = Field(
        0,
        ge=0,
        le=1000,
        description="Starts at a time to begin with; it adapts to how long starts take. "
        "0: two per core of this machine (process), four per node in sight (kubernetes).",
    )
    start_target_s: Seconds = Field(15, description="More starts at a time than make one take longer aren't tried.")
    grace_s: int = Field(30, ge=1, le=3600, description="From SIGTERM to SIGKILL.")
    backoff_first_s: Seconds = Field(5, description="Wait after a second failure in a row; it doubles from there.")
    backoff_max_s: Seconds = Field(300, description="Longest such wait.")
    healthy_s: Seconds = Field(600, description="A run that lived so long resets the backoff.")
    give_up_failures: int = Field(6, ge=2, le=20, description="Failures in the window that disable a bot.")
    give_up_window_s: Seconds = Field(1800, description="The window of give_up_failures.")

    exchange_urls: dict[str, str] = Field(
        default_factory=dict, description="JSON: exchange id to the base URL that bots use instead."
    )
    plugins: PluginNames = Field(
        default_factory=PluginNames,
        description="JSON: names that packages in the bots' image add: strategies, entry_mixins, exit_mixins, brokers.",
    )
    strategy_errors_in_a_row: int = Field(10, ge=1, le=10_000, description="Failed decisions in a row that end a run.")
    strategy_errors_in_window: int = Field(30, ge=1, le=10_000, description="Failed decisions in the window that do.")
    strategy_error_window_bars: int = Field(100, ge=2, le=10_000, description="Bars of that window.")
    exchange_away_s: Seconds = Field(60, description="Outage of an exchange after which a bot's owner is told.")
    egress: Literal["fleet", "node"] = Field(
        "fleet", description="Whose address exchanges see: one for all bots, or each node's own."
    )
    bot_database_url: DatabaseUrl = Field("", description="process: libpq URL of the bots; default: the controller's.")
    state_dir: Path = Field(Path(".botfleet/state"), description="process: logs and records of processes.")

    namespace: str = Field("default", description="Of the bots' pods.")
    bot_image: str = Field("", description="Image of the bots' pods; required for kubernetes.")
    bot_image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="As in a pod's container."
    )
    bot_image_pull_secrets: list[str] = Field(default_factory=list, description="JSON list of names of Secrets.")
    bot_command: list[str] = Field(default=["python", "-m", "botrunner"], description="JSON list: what runs.")
    bot_database_secret: str = Field("", description="Secret whose key url is the bots' database; required there.")
    bot_cpu_request: str = Field("6m", description="CPU that a bot's pod asks for; it has no limit.")
    bot_memory_request: str = Field("96Mi", description="Memory that a bot's pod asks for.")
    bot_memory_limit: str = Field("256Mi", description="Memory beyond which a bot's process is killed.")
    bot_node_selector: dict[str, str] = Field(default_factory=dict, description="JSON object: labels of nodes.")
    bot_priority_class: str = Field("", description="PriorityClass of bots on paper; empty: the cluster's default.")
    bot_priority_class_live: str = Field("", description="Of bots with real money; empty: as on paper.")
    bot_priority_class_holding: str = Field(
        "", description="Of bots that have an open position when their pod is made; empty: as without one."
    )
    bot_unreachable_s: int = Field(30, ge=0, le=3600, description="Toleration of an unreachable node.")
    kube_qps: float = Field(300, gt=0, description="Writes to the Kubernetes API a second, on average.")
    kube_burst: int = Field(300, ge=1, description="Writes at once.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        latest = self.t_stop_s + self.order_timeout_s + self.clock_drift_s
        if latest >= self.t_dead_s:
            raise ValueError(
                f"BOTFLEET_T_DEAD_S is {self.t_dead_s:g}; it must be more than BOTFLEET_T_STOP_S + "
                f"BOTFLEET_ORDER_TIMEOUT_S + BOTFLEET_CLOCK_DRIFT_S = {latest:g}, or a fenced bot's last order "
                "could meet its successor's"
            )
        believed = self.contact_gap_s + self.heartbeat_interval_s + RECONNECT_S
        if believed >= self.t_dead_s or self.contact_gap_s <= 2 * self.watch_interval_s:
            raise ValueError(
                f"BOTFLEET_CONTACT_GAP_S is {self.contact_gap_s:g}; it must be more than twice "
                f"BOTFLEET_WATCH_INTERVAL_S ({self.watch_interval_s:g}), and with BOTFLEET_HEARTBEAT_INTERVAL_S and "
                f"{RECONNECT_S:g} s for a bot's reconnect less than BOTFLEET_T_DEAD_S ({self.t_dead_s:g}), or a short "
                "outage of the database looks like the bots' death"
            )
        if self.strategy_errors_in_window >= self.strategy_error_window_bars:
            raise ValueError(
                f"BOTFLEET_STRATEGY_ERRORS_IN_WINDOW is {self.strategy_errors_in_window}; it must be less than "
                f"BOTFLEET_STRATEGY_ERROR_WINDOW_BARS ({self.strategy_error_window_bars})"
            )
        if 2 * self.heartbeat_interval_s > self.t_stop_s:
            raise ValueError(
                f"BOTFLEET_HEARTBEAT_INTERVAL_S is {self.heartbeat_interval_s:g}; it must be at most half of "
                f"BOTFLEET_T_STOP_S ({self.t_stop_s:g}), or one lost heartbeat stops a bot"
            )
        if self.backoff_first_s > self.backoff_max_s:
            raise ValueError("BOTFLEET_BACKOFF_FIRST_S must not be more than BOTFLEET_BACKOFF_MAX_S")
        if self.runtime == "kubernetes":
            for variable, value in (
                ("BOTFLEET_BOT_IMAGE", self.bot_image),
                ("BOTFLEET_BOT_DATABASE_SECRET", self.bot_database_secret),
            ):
                if not value:
                    raise ValueError(f"{variable} is missing; the kubernetes runtime needs it")
        return self

    @property
    def policy(self) -> Policy:
        """The planner's times and counts."""
        return Policy(
            t_stop_s=self.t_stop_s,
            t_dead_s=self.t_dead_s,
            heartbeat_interval_s=self.heartbeat_interval_s,
            contact_gap_s=self.contact_gap_s,
            claim_deadline_s=self.claim_deadline_s,
            start_deadline_s=self.start_deadline_s,
            hung_after_s=self.hung_after_s,
            grace_s=self.grace_s,
            backoff_first_s=self.backoff_first_s,
            backoff_max_s=self.backoff_max_s,
            healthy_s=self.healthy_s,
            give_up_failures=self.give_up_failures,
            give_up_window_s=self.give_up_window_s,
        )

    @property
    def bot_environment(self) -> dict[str, str]:
        """Variables that every bot gets."""
        return bot_environment(
            exchange_urls=self.exchange_urls,
            log_format=self.log_format,
            log_level=self.log_level,
            t_stop_s=self.t_stop_s,
            t_exit_s=self.t_exit_s,
            heartbeat_interval_s=self.heartbeat_interval_s,
            strategy_errors_in_a_row=self.strategy_errors_in_a_row,
            strategy_errors_in_window=self.strategy_errors_in_window,
            strategy_error_window_bars=self.strategy_error_window_bars,
            exchange_away_s=self.exchange_away_s,
            grace_s=self.grace_s,
            egress=self.egress,
        )

    @property
    def pod_template(self) -> PodTemplate:
        """What all pods share."""
        return PodTemplate(
            namespace=self.namespace,
            image=self.bot_image,
            pull_policy=self.bot_image_pull_policy,
            command=self.bot_command,
            database_secret=self.bot_database_secret,
            env=self.bot_environment,
            grace_s=self.grace_s,
            unreachable_s=self.bot_unreachable_s,
            cpu_request=self.bot_cpu_request,
            memory_request=self.bot_memory_request,
            memory_limit=self.bot_memory_limit,
            image_pull_secrets=self.bot_image_pull_secrets,
            node_selector=self.bot_node_selector,
            priority_class=self.bot_priority_class,
            priority_class_live=self.bot_priority_class_live,
            priority_class_holding=self.bot_priority_class_holding,
        )

    @property
    def settings_hash(self) -> str:
        """What tells a run of these settings from one of others; no secret is in it, not even hashed."""
        if self.runtime == "kubernetes":
            return settings_hash(self.pod_template)
        return hash_of([list(self.bot_command), self.bot_environment, self.grace_s])


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsInvalid: one line for each variable that is wrong.
    """
    return read_settings(Settings)
