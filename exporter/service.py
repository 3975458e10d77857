"""The composition root: puts the parts together, starts them, and ends them in order.

Start: what an earlier life left, the web server, then whatever finds calls. End: nothing new is taken, streams are
let go, a last checkpoint is written, spans and metrics are flushed within the deadline, the web server goes last.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from structlog.typing import FilteringBoundLogger

from exporter import __version__
from exporter.calls.dispositions import Analyses
from exporter.calls.observations import Observation
from exporter.calls.tracker import Tracker
from exporter.config import AUTO, Config, api_key, objectives, secrets_of, token_in
from exporter.config.rules import call_limits, unit_rules
from exporter.descriptors import divide, raise_limit
from exporter.errors import Interrupted
from exporter.fleet.connecting import check_url
from exporter.fleet.member import Member, Settings, member_of
from exporter.fleet.shards import Shard
from exporter.fleet.sharing import Sharing
from exporter.fleet.store import RedisStore
from exporter.logs import also_mask, set_up_logs
from exporter.memory import give_back_large_blocks
from exporter.outputs.otlp import metric_push, sampled_traces, trace_export
from exporter.outputs.prometheus.fleet_metrics import FleetMetrics
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.pages import Showing
from exporter.outputs.prometheus.scrapers import Scrapers
from exporter.outputs.recent import Recent
from exporter.outputs.recorder import Outputs
from exporter.overview import Overview
from exporter.protocol.dispositions import Disposition
from exporter.receivers.api_time import Start
from exporter.receivers.attempts import AttemptFilter
from exporter.receivers.backoff import Backoff
from exporter.receivers.capacity import Capacity
from exporter.receivers.client import AtomsApi
from exporter.receivers.deliveries import Deliveries
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import ENDED, ENDED_FOR_SOME, FoundCall, Poll, static_calls
from exporter.receivers.following import Earlier, Following, Limits
from exporter.receivers.gathering import Gathering
from exporter.receivers.history import History
from exporter.receivers.token import Token
from exporter.receivers.webhook import Webhooks
from exporter.reloading import Reloading
from exporter.state.keeping import Keeping
from exporter.state.kept import CALL_FORM, Fenced, SavedState
from exporter.state.place import default_path
from exporter.state.receipts import Receipts
from exporter.state.sqlite import SQLiteStore
from exporter.web import FollowAnswer, RunningWeb, WebConfigFile, WebPorts, build_app, serve
from exporter.web import Limits as WebLimits

_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_WEBHOOK = "webhook:"
"""Before a delivery's identity among the calls that are done: kept as long, and in one commit with its counts."""
_RESULT = "result:"
"""The same before the identity of a result of post-call analytics."""
_LOOP_PROBE_SECONDS = 0.1
_AT_ONCE = 50
"""Calls of an earlier life that are taken up between two turns of the loop."""
_LOOK_BACK_SECONDS = 3_600.0
"""After a restart: calls that began this long before the last commit, and that nobody has found, are counted."""
_WORK_OFF_SECONDS = 1.0
_WEB_CLOSE_SECONDS = 2.0
_CANCEL_AGAIN_SECONDS = 1.0
_PAGE_ATTEMPTS = 2
_ACCEPTABLE_SECONDS = 2.0
"""Above this the vendor calls a turn in need of work: what is slow where no objective says it."""


class Service:
    """One running exporter. ``run`` returns when it was stopped and everything is flushed.

    :param env: the environment, for ``OTEL_*``.
    :param reread: reads the configuration again; None where it came from nowhere.
    :param api_env: what the API's clients are told of the environment (proxies, trust), unless it is the same.
    :param on_started: told when the web server answers.
    :param watch: shown every fact, for a live display.
    :param member: the seat in a fleet that this replica has; it is held, and given back, by whoever took it.
    :raises ConfigError: from the constructor or ``run``, for what cannot work: a missing token, a port in use, a
        foreign state file, an OTLP protocol nobody speaks.
    """

    def __init__(
        self,
        config: Config,
        env: Mapping[str, str],
        log: FilteringBoundLogger,
        *,
        reread: Callable[[], Config] | None = None,
        api_env: Mapping[str, str] | None = None,
        on_started: Callable[[RunningWeb], None] = lambda _: None,
        watch: Callable[[Sequence[Observation]], None] | None = None,
        member: Member | None = None,
        clock: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        give_back_large_blocks()
        self._config = config
        self._log = log
        self._on_started = on_started
        self._clock = clock
        self._rng = rng or random.Random()
        self._started = Start(clock(), time.monotonic())
        self._stopping = asyncio.Event()
        self._goes_on = False  # where an earlier life left off: nobody else may name a call before
        self._tasks: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()
        self._member = member
        self._polling: asyncio.Task[None] | None = None
        self._fenced: Fenced | None = None
        self._leaves = False
        self._shard = Shard(config.fleet.shard, config.fleet.shards)
        self._places = divide(raise_limit(), config.api.max_streams)
        self._token = Token(api_key(config), self._token_in_file)
        self.metrics = Metrics(
            version=__version__,
            latency_buckets=config.metrics.latency_buckets,
            max_series_per_metric=config.metrics.max_series_per_metric,
            created_timestamps=config.metrics.created_timestamps,
            without=config.metrics.disable,
            version_label=config.metrics.version_label,
        )
        self.metrics.store.begin(clock)
        self._store = self._open_store(env)
        self._saved = self._store.load() if isinstance(self._store, SQLiteStore) else SavedState()
        if member is not None:
            self._saved = member.saved
        instance_id = self._saved.instance_id or str(uuid4())
        self._traces = trace_export(
            env,
            self.metrics,
            max_queue_spans=config.traces.max_queue_spans,
            max_retry_age_seconds=config.traces.max_retry_age,
            instance_id=instance_id,
        )
        units = unit_rules(config)
        recent = Recent(slow_seconds=_slow_seconds(config), wall=clock)
        self.tracker = Tracker(
            Outputs(self.metrics, self._traces.show if self._traces is not None else None, watch, recent),
            units=units,
            limits=call_limits(config),
            capture_content=config.traces.capture_content,
            analyses=Analyses(
                config.metrics.disposition_values, counted=lambda result: self._finished(f"{_RESULT}{result:016x}")
            ),
        )
        self._scrapers = Scrapers()
        self._ended_calls: Poll | None = None
        self._keeping = self._make_keeping(instance_id)
        self._showing = Showing(self.metrics, self._scrapers, self._keeping, clock=clock)
        pushed = self.metrics.collect_all() if self._saved.series else None
        self._push = metric_push(env, self._showing, self.metrics, instance_id=instance_id, goes_on_from=pushed)
        self.metrics.store.moment.sampled = sampled_traces(env)
        self._api = AtomsApi(
            config.api.base_url,
            self._token,
            telemetry=self.metrics,
            log=log,
            env=env if api_env is None else api_env,
            user_agent=f"atoms-exporter/{__version__}",
            connect_timeout=config.api.connect_timeout,
            read_timeout=config.api.request_timeout,
            idle_timeout=config.api.idle_timeout,
            connect_concurrency=config.api.connect_concurrency,
            judged_by_list=config.discovery.poll.enabled and member is None,
        )
        self._attempts = AttemptFilter()
        self._gathering = Gathering(lambda: self.metrics.live_events, self._api.shares.late)
        self._directory = Directory(self._api, log=log)
        history = History(self._api, rng=self._rng, concurrency=config.history.concurrency)
        self.following = Following(
            self._api,
            self.tracker,
            history,
            self._directory,
            spawn=self._spawn,
            log=log,
            rng=self._rng,
            clock=clock,
            monotonic=time.monotonic,
            limits=Limits(
                max_streams=self._places.streams,
                idle_timeout=config.api.idle_timeout,
                call_idle_limit=config.api.call_idle_timeout,
                reconcile=config.history.enabled,
                reconcile_delay=config.history.delay,
                reconcile_attempts=config.history.attempts,
                reconcile_patience=config.history.patience,
                most_reconciling=config.history.max_pending,
                analytics_delay=config.history.analytics_delay,
                leave_tests=not config.discovery.test_calls,
                tell_versions=config.metrics.version_label,
            ),
            durable=self._store is not None,
            on_finished=self._finished,
            on_forgotten=member.store.release if member is not None else lambda _: None,
            before_results=self._before_results if member is not None else None,
            ours=self._shard.has,
        )
        self._finding = self._make_finding()
        self.overview = Overview(
            self.following,
            recent,
            self.metrics,
            version=__version__,
            log_of=partial(history.had, attempts=_PAGE_ATTEMPTS),
            ready=self._ready,
            units=units,
            clock=clock,
            state_says=self._where_state_is(),
            traces_on=self._traces is not None,
            shares=self._api.shares,
            max_streams=self._places.streams,
        )
        self._deliveries = self._make_deliveries()
        self._reloading = Reloading(config, reread, self._applicable(), log=log) if reread is not None else None

    def _token_in_file(self) -> str | None:
        """The bearer token as its file has it now; None when the token came from no file."""
        if self._config.api.api_key_file is None:
            return None
        token = token_in(self._config.api.api_key_file)
        also_mask([token])
        return token

    def _applicable(self) -> dict[str, Callable[[Config], None]]:
        """What a running process can take into use, by key. Anything else waits for a restart."""
        table: dict[str, Callable[[Config], None]] = {
            "api.api_key": self._use_token,
            "api.api_key_file": self._use_config,
            "discovery.calls": self._follow_named,
            "log.level": _use_log,
            "log.format": _use_log,
            "shutdown_timeout": self._use_config,
            "metrics.disposition_values": lambda config: self.tracker.analyses.allow(config.metrics.disposition_values),
        }
        if (webhooks := self._webhooks) is not None:
            table |= {
                "discovery.webhook.secret": lambda config: webhooks.use(config.discovery.webhook.secrets),
                "discovery.webhook.secret_file": self._use_config,
            }
        return table

    def _use_config(self, config: Config) -> None:
        self._config = config

    def _use_token(self, config: Config) -> None:
        self._token.value = api_key(config)

    def _follow_named(self, config: Config) -> None:
        for found in static_calls(config.discovery.calls, self.metrics):
            self._finding.follow(found)

    def _open_store(self, env: Mapping[str, str]) -> SQLiteStore | RedisStore | None:
        """What the configuration names, or the account's own file where there is a place for it; says which."""
        if self._member is not None:
            self._log.info("what is counted is kept", redis=self._member.where)
            return self._member.store
        path: Path | str | None = self._config.state.path
        if path is None:
            self._log.info("nothing is kept", reason="state.path is empty")
            return None
        if path == AUTO:
            shard = f"\nshard {self._shard}" if self._shard.of > 1 else ""  # each of them has its own
            path = default_path(env, f"{self._config.api.base_url}\n{api_key(self._config)}{shard}")
        if isinstance(path, str):
            hint = "after a restart counters begin at 0, and calls are counted from then on"
            self._log.warning("nothing is kept", reason=path, hint=hint)
            return None
        store = SQLiteStore(path)
        self._log.info("what is counted is kept", path=str(store.path))
        return store

    def _make_keeping(self, instance_id: str) -> Keeping | None:
        store, state = self._store, self._config.state
        if store is None:
            return None
        if isinstance(store, SQLiteStore) and store.set_aside is not None:
            self._log.error(
                "the state file was damaged; a new one was begun",
                set_aside=str(store.set_aside),
                hint="counters begin at 0, calls in flight may be counted a second time",
            )
        for call_id in self._saved.finished:
            if call_id.startswith(_RESULT):
                self.tracker.analyses.restore([int(call_id.removeprefix(_RESULT), 16)])
            elif not call_id.startswith(_WEBHOOK):
                self.tracker.forget(call_id)
        keeping = Keeping(
            store,
            self.tracker,
            self.metrics.store,
            self._scrapers,
            instance_id=instance_id,
            interval_seconds=state.checkpoint_interval,
            retention_seconds=state.retention,
            max_stale_seconds=state.max_stale,
            clock=self._clock,
            log=self._log,
            counts=self.metrics,
            counts_since=lambda: self._ended_calls.reports_since if self._ended_calls is not None else None,
            on_fenced=self.fenced,
        )
        keeping.restore(self._saved)
        self.metrics.state = lambda: (not keeping.failing, keeping.age_seconds)
        self._log.info("state restored", calls=len(self._saved.calls), finished=len(self._saved.finished))
        return keeping

    def _where_state_is(self) -> str | None:
        if self._member is not None:
            return self._member.where
        return str(self._store.path) if isinstance(self._store, SQLiteStore) else None

    def _make_finding(self) -> Following | Sharing:
        """Whoever is told which calls there are: who follows them, or the whole fleet."""
        if self._member is None:
            return self.following
        counts = FleetMetrics(self.metrics.store)
        counts.refused(self._member.store.refused)
        return self._member.attach(
            self.following,
            counts=counts,
            bound_hit=self.metrics.bound_hit,
            room=lambda: self._places.streams - len(self.following),
            ended=self.tracker.forget,
        )

    # -- what its membership of a fleet tells

    def fenced(self, why: Fenced) -> None:
        """Others have taken over: nothing that is counted here will be kept, or shown."""
        if self._fenced is None and not self._leaves:  # else its name has been given to the next already
            self._fenced = why
            self._log.error(
                "this replica was taken for dead", reason=str(why), hint="it ends, and begins from what was kept"
            )
            self.stop()

    def lost_data(self, store_knows: bool) -> None:
        """The store gets everything again, and calls are looked for again."""
        assert self._keeping is not None, "a fleet keeps what it counts"
        if not store_knows:
            self._keeping.lost_data()
        if self._stopping.is_set():
            return  # the last commit is still to come
        if not store_knows:
            self._spawn(_quietly(self._keeping.keep()))
        if self._polling is not None:
            self.polls(True)

    def polls(self, does: bool) -> None:
        """One replica asks the API for its lists, and for what belongs to the account and to no call."""
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None
            self.metrics.capacity(None, None)
        self._api.judge_by_list(does and self._config.discovery.poll.enabled)
        if does and not self._stopping.is_set():
            self._polling = self._spawn(self._poll_for_all())

    async def _poll_for_all(self) -> None:
        assert self._member is not None, "who follows alone polls without being told"
        since, committed_at = await self._member.counted_since()
        self._saved = replace(self._saved, counts_since=since, committed_at=committed_at)
        async with asyncio.TaskGroup() as group:
            self._start_polls(group.create_task)

    async def _let_go_of_state(self) -> None:
        if self._store is not None and self._keeping is not None:
            await self._keeping.end()
            self._store.close()

    def _make_deliveries(self) -> Deliveries | None:
        secrets = self._config.discovery.webhook.secrets
        retention = self._config.state.retention
        self._webhooks = (
            Webhooks(
                secrets,
                telemetry=self.metrics,
                oldest_seconds=retention,
                ours=self._shard.has,
                clock=self._clock,
            )
            if secrets
            else None
        )
        if self._webhooks is None:
            return None
        for kept in self._saved.finished:
            if kept.startswith(_WEBHOOK):
                self._webhooks.remember(bytes.fromhex(kept.removeprefix(_WEBHOOK)))
        return Deliveries(
            self._webhooks,
            self._finding,
            self._directory,
            self.metrics,
            tracker=self.tracker,
            log=self._log,
            counted=lambda identity: self._finished(_WEBHOOK + identity.hex()),
            before_results=partial(self._before_results, patient=True) if self._member is not None else None,
            receipts=Receipts(self._keeping) if self._keeping is not None else None,
        )

    async def _before_results(self, call_id: str, given: Sequence[Disposition], *, patient: bool = False) -> bool:
        """Results of analytics come by webhook to any replica, and with the log to the call's own: who counts them?
        ``False`` while that cannot be known; :param patient: it is waited for, however long."""
        assert self._member is not None, "there is nobody else to ask"
        names = {f"{_RESULT}{each:016x}": each for each in self.tracker.analyses.uncounted(call_id, given)}
        others = await self._member.said_by_others(names, patient=patient)
        if others is None:
            return False
        self.tracker.analyses.restore(names[name] for name in others)
        return True

    # -- life

    def stop(self) -> None:
        """Begin to end. Safe in a signal handler."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the configuration again. Safe in a signal handler; before everything runs it was only just read."""
        if self._reloading is not None and self._goes_on and not self._stopping.is_set():
            self._spawn(_quietly(self._reloading.again()))

    async def run(self) -> None:
        """Serve until stopped, then drain."""
        loop = asyncio.get_running_loop()
        self._showing.attach(loop)
        access = WebConfigFile(self._config.web.config_file, webhook_open=self._deliveries is not None)
        settings = self._config.web
        app = build_app(
            self._ports(),
            access,
            allow_unauthenticated_api=settings.allow_unauthenticated_api,
            enable_lifecycle=settings.enable_lifecycle,
        )
        web = await serve(
            app, self._config.web.listen_address, access, WebLimits(self._places.clients), self.metrics.bound_hit
        )
        web_watch = asyncio.ensure_future(web.watch())
        deadline = loop.time() + float("inf")
        try:
            async with self._group:
                await self._start()
                self._on_started(web)
                await self._stopping.wait()
                deadline = loop.time() + self._config.shutdown_timeout
                self._log.info("draining", calls=len(self.following), timeout_seconds=self._config.shutdown_timeout)
                if self._deliveries is not None:
                    await self._deliveries.drain(0.0 if self._fenced is not None else _WORK_OFF_SECONDS)
                self.following.drain()
                await self._end_tasks()
        finally:
            left = min(deadline - loop.time(), self._config.shutdown_timeout)
            await self._flush(max(0.0, left - min(_WEB_CLOSE_SECONDS, left / 4)))
            await self._be_seen(deadline - loop.time() - _WEB_CLOSE_SECONDS)
            web_watch.cancel()
            await web.close(_WEB_CLOSE_SECONDS)
            await self._let_go_of_state()
            await self._api.aclose()
        if self._fenced is not None:
            raise Fenced(
                f"this replica was taken for dead: {self._fenced}; started again it goes on from what was kept"
            )

    async def _end_tasks(self) -> None:
        """Whoever does not listen is told again: a library may have taken it for a connection that broke."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_CANCEL_AGAIN_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say_places(self) -> None:
        """How many streams there may be; at warning when the system allows fewer than the configuration."""
        wanted, places = self._config.api.max_streams, self._places
        if places.streams < wanted:
            self._log.warning(
                "fewer streams than configured: the limit of open files leaves no more",
                max_streams=places.streams,
                configured=wanted,
                clients=places.clients,
                hint="raise the limit (ulimit -n, LimitNOFILE=) or lower api.max_streams",
            )

    def _say_shard(self) -> None:
        """Which part of the account's calls this is; at warning when an earlier life had others."""
        if self._shard.of > 1:
            self._log.info("one shard of several", shard=self._shard.number, shards=self._shard.of)
        gone = sum(not self._shard.has(saved.call_id) for saved in self._saved.calls)
        if gone:
            self._log.warning(
                "calls in the state belong to other shards now",
                calls=gone,
                hint="what was counted of them is counted again there: begin new state when fleet.shards changes",
            )

    async def _start(self) -> None:
        self._say_places()
        self._say_shard()
        self.following.past_is_known = self._saved.existed and self._saved.readable
        for number, saved in enumerate(self._saved.calls, 1):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if not self._shard.has(saved.call_id):
                self._finished(saved.call_id)
                continue
            found = FoundCall(saved.call_id, saved.agent.agent_id, saved.channel, source="state")
            if saved.form == CALL_FORM:
                self.following.follow(found, earlier=Earlier(saved.agent, saved.counted, saved.waiting))
            else:  # its events cannot be told from those to come
                self.following.follow(found, under_way=True)
        self._goes_on = True
        self._follow_named(self._config)
        if self._config.discovery.poll.enabled:
            self._spawn(self._names_beforehand())  # beside the list, not before it: a call must not wait for names
        if self._member is None:
            self._start_polls(self._spawn)
        else:
            self.following.past_is_known = True  # whoever finds a call says what is known of its past
            self._member.start(self, self._spawn)
        self._spawn(self.following.watch())
        self._spawn(self.following.look_again())
        self._spawn(self._probe_loop())
        if self._reloading is not None:
            self._spawn(self._reloading.watch_secret_files())
        self._spawn(self._gathering.run())
        if self._config.metrics.series_ttl > 0:
            self._spawn(self._sweep())
        if self._deliveries is not None:
            self._spawn(self._deliveries.run())
        if self._keeping is not None:
            self._spawn(self._keeping.run())

    def _start_polls(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        poll = self._config.discovery.poll
        if poll.enabled:
            spawn(self._poll(poll.statuses).run())
            if poll.ended:
                self._ended_calls = self._ended_calls or self._poll_ended()
                spawn(self._ended_calls.run())
        if self._config.capacity.enabled and self._shard.speaks_for_account:
            spawn(self._capacity().run())

    async def _names_beforehand(self) -> None:
        await self._directory.prefetch()

    def _capacity(self) -> Capacity:
        interval = self._config.capacity.interval
        backoff = Backoff(self._rng, first_seconds=interval, ceiling_seconds=10 * interval)
        return Capacity(
            self._api,
            self.metrics.capacity,
            backoff=backoff,
            log=self._log,
            interval=interval,
            attempts=self._attempts,
        )

    def _poll_ended(self) -> Poll:
        """Calls that are over: those of this life, and those that an earlier one would have counted."""
        since, committed_at = self._saved.counts_since, self._saved.committed_at
        if since is not None and committed_at is not None:
            since = max(since, committed_at - _LOOK_BACK_SECONDS)
        return self._poll(ENDED, ended=True, earlier=since)

    def _poll(self, statuses: Sequence[str], *, ended: bool = False, earlier: float | None = None) -> Poll:
        poll = self._config.discovery.poll
        return Poll(
            self._api,
            self._finding.listed,
            again=self._finding.listed_again,
            backoff=Backoff(self._rng),
            log=self._log.bind(statuses=",".join(statuses)),
            interval=poll.interval,
            limit=poll.limit,
            statuses=statuses,
            agent_ids=poll.agent_ids,
            call_types=poll.call_types,
            optional=ENDED_FOR_SOME if ended else (),
            attempts=self._attempts,
            start=self._started,
            ended=ended,
            earlier=earlier,
        )

    async def _flush(self, seconds: float) -> None:
        """Whatever can still be saved within the deadline; says what could not."""
        if self._keeping is not None and self._fenced is None:
            await self._keeping.keep(seconds)
        deadline = time.monotonic() + seconds
        spans_left = 0
        if self._traces is not None:
            spans_left = await asyncio.to_thread(self._traces.close, seconds)
        if self._push is not None:  # after the spans: it carries what became of them
            await asyncio.to_thread(self._push.close, max(1.0, deadline - time.monotonic()))
        if spans_left:
            self._log.warning("spans were not delivered", spans=spans_left)
        self._log.info("stopped", calls_in_flight=len(self.tracker), spans_left=spans_left)

    async def _be_seen(self, seconds: float) -> None:
        """Leave the fleet, and stay until everybody who scrapes has seen what was counted: nobody knows whether this
        name ever comes back."""
        if self._member is None or self._keeping is None or self._fenced is not None or self._keeping.failing:
            return
        self._leaves = True
        if await self._member.leave() and (left := await self._showing.seen_by_all(max(0.0, seconds))):
            self._log.warning(
                "left before the last of what was counted was scraped",
                scrapers=left,
                hint="it is shown when a replica of this name is back; a longer shutdown_timeout waits for two scrapes",
            )

    def _finished(self, call_id: str) -> None:
        if self._keeping is not None:
            self._keeping.finished(call_id)

    # -- what the web server asks

    def _ports(self) -> WebPorts:
        return WebPorts(
            version=__version__,
            render=self._showing.page,
            ready=self._ready,
            calls=self.overview.calls,
            front=self.overview.front,
            call=self.overview.call,
            follow=self._follow,
            reload=self._reloading.again if self._reloading is not None else None,
            webhook=self._deliveries.take if self._deliveries is not None else None,
            webhook_path=self._config.discovery.webhook.path,
            webhook_turned_away=lambda answer: self.metrics.webhook("other", answer.value),
            bound_hit=self.metrics.bound_hit,
            asked=self._gathering.hurry,
        )

    def _ready(self) -> tuple[bool, str]:
        if self._stopping.is_set():
            return False, "draining"
        if not self.metrics.api_has_answered:
            why = self.metrics.api_problem
            return False, f"the Atoms API cannot be used: {why}" if why else "the Atoms API has not answered yet"
        return True, "ready"

    async def _follow(self, call_id: str) -> FollowAnswer:
        if not _CALL_ID.fullmatch(call_id):
            return FollowAnswer.MALFORMED
        if self._stopping.is_set() or not self._goes_on:
            return FollowAnswer.UNAVAILABLE
        if not self._shard.has(call_id):
            return FollowAnswer.ELSEWHERE
        found = FoundCall(call_id, source="api")
        if isinstance(self._finding, Following):
            accepted = self._finding.follow(found)
        else:
            try:
                accepted = await self._finding.named(found)
            except Interrupted:
                return FollowAnswer.UNAVAILABLE
        self.metrics.discovery_request("api", "ok")
        return FollowAnswer.ACCEPTED if accepted else FollowAnswer.ALREADY

    # -- housekeeping

    async def _probe_loop(self) -> None:
        """How late the loop wakes up: what every stream waits."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LOOP_PROBE_SECONDS
            await asyncio.sleep(_LOOP_PROBE_SECONDS)
            self.metrics.loop_lagged(max(0.0, loop.time() - due))
            self.metrics.store.moment.horizon = self._clock()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._config.metrics.series_ttl)
            self.metrics.sweep()


@asynccontextmanager
async def prepared(
    config: Config, env: Mapping[str, str], log: FilteringBoundLogger, **how: Any
) -> AsyncIterator[Service]:
    """A service to be run, after it has joined the fleet that the configuration names, if any; it leaves at the end.

    :param how: as for the service.
    """
    settings = fleet_settings(config)
    if settings is None:
        yield Service(config, env, log, **how)
        return
    async with member_of(settings, log) as member:
        # In a thread: it takes a second on a busy machine, and the lease must be renewed meanwhile.
        yield await asyncio.to_thread(Service, config, env, log, member=member, **how)


def fleet_settings(config: Config, url: str | None = None) -> Settings | None:
    """The fleet over Redis that the configuration names, or the one at ``url``. Raises ConfigError for one that cannot
    be reached."""
    fleet = config.fleet
    if url is None and fleet.redis_url is not None:
        url = fleet.redis_url.get_secret_value()
    if url is None:
        return None
    settings = Settings(
        url,
        fleet.replica_name,
        fleet.namespace,
        fleet.lease,
        __version__,
        fleet.redis_password.get_secret_value() if fleet.redis_password is not None else None,
    )
    check_url(settings.url)
    return settings


async def _quietly(work: Awaitable[object]) -> None:
    """For a task: whoever started it is told in the log."""
    await work


def _use_log(config: Config) -> None:
    set_up_logs(config.log.level, config.log.format, secrets=secrets_of(config))


def _slow_seconds(config: Config) -> float:
    """What counts as a slow turn: the tightest promise about turns."""
    thresholds = [each.threshold_seconds for each in objectives(config) if each.metric == "turn_latency"]
    return min((seconds for seconds in thresholds if seconds is not None), default=_ACCEPTABLE_SECONDS)
