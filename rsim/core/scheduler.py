"""The local scheduler: which ready task runs next, on which worker of this node.

Decides dispatch: takes resources and a worker for a task in the same step, sends tiny tasks ahead
to busy workers (pipelining) and recalls them when a worker falls idle, gives a blocked worker's CPU
away and takes it back. Must never start a task whose inputs are missing, nor over-commit resources
(but for a worker that unblocks: it gets its CPU back at once). Owns the ready queues
(``ready.py``), the workers and the node's resource pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from rsim.core.choices import Choices
from rsim.core.config import NodeConfig
from rsim.core.depths import Depths
from rsim.core.devices import Grant
from rsim.core.effects import RecallTasks, SetTimer, StartWorker, StopWorker
from rsim.core.events import TaskDone
from rsim.core.facts import SPENT, UNMADE
from rsim.core.machine import Step
from rsim.core.ready import ReadyQueues
from rsim.core.records import ActorOptions, Demand
from rsim.core.resources import Pool, less
from rsim.core.rows import Queue, Rows
from rsim.core.work import (
    ACTOR,
    BUSY,
    DOOMED,
    IDLE,
    READY,
    SENT,
    STARTING,
    Task,
    Worker,
)


class LocalScheduler:
    """Ready queues, workers and resources of one node.

    ``start(worker, tasks)`` carries out assignments: it must send the tasks, or get their inputs
    into memory first.
    """

    def __init__(
        self,
        step: Step,
        pool: Pool,
        config: NodeConfig,
        choices: Choices,
        start: Callable[[Worker, Sequence[Task]], None],
    ) -> None:
        self.pool = pool
        self.workers: dict[int, Worker] = {}
        self._idle: list[Worker] = []
        self.ready = ReadyQueues(
            lambda queues: Rows(queues, pool, self.workers, self._idle, config)
        )
        self.due = False
        """Tasks have been queued that could perhaps be dispatched; the step must not end so."""
        self.starts_failed = 0
        self.grants: dict[int, Grant] = {}
        """The devices of workers that have some."""
        self._step = step
        self._config = config
        self._choices = choices
        self._start = start
        self._starting = 0
        self._last_client = 0
        self._depths = Depths(config)
        self._recall_timer = 0

    # -- what is to run ----------------------------------------------------------------------------

    def prestart(self) -> None:
        """Start the workers that are to be there from the beginning."""
        for _ in range(self._config.prestart_workers):
            self._start_worker()

    def enqueue(self, task: Task) -> None:
        """The task's inputs exist: run it when resources allow."""
        task.state = READY
        self.enqueue_all((task,))

    def enqueue_all(self, tasks: Sequence[Task]) -> None:
        """``enqueue`` for ready tasks of the same parent and options."""
        queue = self.ready.append(tasks)
        if not queue.stalled or len(queue.tasks) == len(tasks):
            self.due = True
        elif self._starting:
            self._start_workers(queue)

    # -- dispatch ----------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Start all that can be started now."""
        self.due = False
        pipelines, most = self._config.pipeline_depth > 1, self._config.max_starting
        for queue in self.ready.worth_a_look:
            tasks, queue.stalled = queue.tasks, True
            while tasks:
                if not (self._idle or pipelines) and self._starting >= min(len(tasks), most):
                    break  # whether it fits would make no difference
                if not self.pool.fits_now(queue.demand):
                    if pipelines:
                        self._send_ahead(queue)
                    break
                if not self._idle:
                    self._start_workers(queue)
                    break
                task = tasks.popleft()
                self.ready.count -= 1
                grant = self.pool.take(queue.demand)
                worker = self._pick_idle()
                worker.state = BUSY
                worker.demand = queue.demand
                if grant:
                    self.grants[worker.client] = grant
                worker.since_ns = self._step.now_ns
                self._assign(worker, task)
            else:
                queue.stalled = False

    def _pick_idle(self) -> Worker:
        """The most recently used idle worker (its caches are warm), unless the choices say
        otherwise.
        """
        idle = self._idle
        if len(idle) > 1:
            which = self._choices.pick("worker", [worker.client for worker in reversed(idle)])
            return idle.pop(len(idle) - 1 - which)
        return idle.pop()

    def _assign(self, worker: Worker, task: Task) -> None:
        task.state = SENT
        task.executor = worker.client
        worker.tasks.append(task)
        self._start(worker, (task,))

    def _send_ahead(self, queue: Queue) -> None:
        for worker in self.workers.values():
            if worker.demand == queue.demand and worker.state == BUSY:
                self._refill(worker, queue)
                if not queue.tasks:
                    queue.stalled = False
                    return

    def _refill(self, worker: Worker, queue: Queue) -> None:
        """Send tiny tasks ahead to a busy worker."""
        first = worker.tasks[0].spec
        template = first.template
        if worker.blocked or worker.recalled or first.deps or template.creation is not None:
            return  # the first would be overtaken if its inputs were still on their way
        if template.options.max_calls:
            return  # the worker may end with it
        tasks, ahead, client = queue.tasks, worker.tasks, worker.client
        sent: list[Task] = []
        depth = self._depths.of.get(template.function_id, 1)
        while tasks:
            task = tasks[0]
            spec = task.spec
            if spec.template is not template:
                template = spec.template
                if template.creation is not None or template.options.max_calls:
                    break
                depth = self._depths.of.get(template.function_id, 1)
            if len(ahead) >= depth or spec.deps:
                break
            task.state = SENT
            task.executor = client
            ahead.append(tasks.popleft())
            sent.append(task)
        if sent:
            self.ready.count -= len(sent)
            self._start(worker, sent)

    # -- the life of an assignment -----------------------------------------------------------------

    def finished(
        self, client: int, task_id: bytes, creates_actor: bool, took_ns: int = 0
    ) -> Task | None:
        """A worker finished a task: free its place, unless it has just become an actor's. None
        when the worker does not have the task. ``took_ns``: as the worker measured it; 0: it did
        not.
        """
        worker = self.workers.get(client)
        if worker is None:
            return None
        if worker.state == ACTOR:
            return worker.calls.pop(task_id, None)
        if not worker.tasks or worker.tasks[0].spec.task_id != task_id:
            return None
        task = worker.tasks.popleft()
        if worker.state == DOOMED:
            return task
        template, now_ns = task.spec.template, self._step.now_ns
        depth = self._depths.learn(template.function_id, took_ns or now_ns - worker.since_ns)
        worker.stint += 1
        if worker.blocked:
            self._take_back(worker)
        if worker.tasks:
            worker.since_ns = now_ns
            if len(self.ready.queues) == 1 and len(worker.tasks) * 2 <= depth:
                self._refill(worker, self.ready.queues[0])
        elif creates_actor and template.creation is not None:
            self._settle_actor(worker, template.creation)
        elif template.creation is not None:
            self._retire(worker, UNMADE)
        elif template.options.max_calls and self._used_up(worker, task):
            self._retire(worker, SPENT)
        else:
            self._vacate(worker)
        return task

    def finished_all(self, ends: Sequence[TaskDone]) -> list[Task | None]:
        """``finished`` for tasks of one worker that have ended well, in order."""
        ended: list[Task | None] = []
        if len(ends) > 1:
            worker = self.workers.get(ends[0].client)
            if worker is not None and worker.state == ACTOR:
                return [worker.calls.pop(end.task_id, None) for end in ends]
            if worker is not None and worker.state == BUSY and not worker.blocked:
                ended += self._advance(worker, ends)
        for end in ends[len(ended) :]:
            took_ns = end.ended_ns - end.started_ns
            ended.append(self.finished(end.client, end.task_id, True, took_ns))
        return ended

    def _advance(self, worker: Worker, ends: Sequence[TaskDone]) -> list[Task]:
        """A worker that was sent tasks ahead has ended some, and goes on with the next: the first
        ones of ``ends``, as far as that is all there is to do.
        """
        ahead, depths, now_ns = worker.tasks, self._depths, self._step.now_ns
        ended: list[Task] = []
        template, since_ns, depth = None, worker.since_ns, 0
        for end in ends:
            spec = ahead[0].spec
            if spec.task_id != end.task_id or len(ahead) < 2:
                break
            ended.append(ahead.popleft())
            if spec.template is not template:
                template = spec.template
                function_id = template.function_id
                depth = depths.of.get(function_id, 0)
            took_ns = end.ended_ns - end.started_ns or now_ns - since_ns
            since_ns = now_ns
            if took_ns >= depths.tiniest_ns or depth != depths.deepest:
                depth = depths.learn(function_id, took_ns)
        worker.since_ns = since_ns
        worker.stint += len(ended)
        if ended and len(self.ready.queues) == 1 and len(ahead) * 2 <= depth:
            self._refill(worker, self.ready.queues[0])
        return ended

    def _used_up(self, worker: Worker, task: Task) -> bool:
        """Whether the worker has run as many tasks of this one's function as it may."""
        function_id = task.spec.function_id
        runs = worker.spent[function_id] = worker.spent.get(function_id, 0) + 1
        return runs >= task.spec.options.max_calls

    def _retire(self, worker: Worker, why: str) -> None:
        """End an idle worker, and use what it held."""
        self._free(worker)
        worker.state = DOOMED
        self.stop_worker(worker.client, kill=False, why=why)
        self.dispatch()

    def _settle_actor(self, worker: Worker, creation: ActorOptions) -> None:
        """The worker is an actor's from now on, and holds no more than the actor asked for."""
        worker.state = ACTOR
        worker.creation = creation
        self.pool.give(less(worker.demand, creation.held))  # never devices: they are held
        worker.demand = creation.held
        self.dispatch()

    def _take_back(self, worker: Worker) -> None:
        """The worker's task is over, whatever it still waited for."""
        worker.blocked = 0
        self._reclaim(worker)

    def _reclaim(self, worker: Worker) -> None:
        """A worker goes on that was blocked."""
        lent, worker.lends = worker.lends, ()
        self.pool.take_forced(lent)

    def _vacate(self, worker: Worker) -> None:
        """The worker has nothing left to do: free its resources, and use them."""
        worker.stint += 1
        if worker.blocked:
            self._take_back(worker)
        self._free(worker)
        worker.recalled = False
        worker.state = IDLE
        self._idle.append(worker)
        if self.ready.count:
            self.dispatch()
        elif self._config.pipeline_depth > 1:
            self._watch_pipelines()

    def _free(self, worker: Worker) -> None:
        self.pool.give(worker.demand, self.grants.pop(worker.client, ()) if self.grants else ())
        worker.demand = ()

    def doom(self, worker: Worker) -> None:
        """Kill a worker; the caller sees to what it has taken from the pool."""
        self.grants.pop(worker.client, None)
        worker.demand = worker.lends = ()
        if worker.state == BUSY:
            worker.state = DOOMED
        self.stop_worker(worker.client, kill=True)

    def returned(self, client: int, task_ids: tuple[bytes, ...]) -> list[Task]:
        """A worker gave tasks back that it had not begun: queue them again. Which they were."""
        worker = self.workers.get(client)
        if worker is None:
            return []
        worker.recalled = False
        if worker.state == ACTOR:
            calls = worker.calls
            return [calls.pop(task_id) for task_id in task_ids if task_id in calls]
        back = [task for task in worker.tasks if task.spec.task_id in task_ids]
        worker.tasks = deque(task for task in worker.tasks if task not in back)
        self.ready.put_back([task for task in back if not task.cancelled])
        if not worker.tasks and worker.state == BUSY:
            self._vacate(worker)
        else:
            self.dispatch()
        return back

    def block(self, client: int) -> int:
        """A worker's task waits for something: its CPU can serve others, unless it is an actor's.
        Its stint, for ``unblock``.
        """
        worker = self.workers.get(client)
        if worker is None or worker.state not in (BUSY, ACTOR):
            return -1
        worker.blocked += 1
        if worker.blocked == 1:
            worker.lends = worker.lendable
            if worker.lends:
                self.pool.give(worker.lends)
                self.dispatch()
        return worker.stint

    def unblock(self, client: int, stint: int) -> None:
        """What the worker's task waited for is there: it goes on at once."""
        worker = self.workers.get(client)
        if worker is None or worker.stint != stint:
            return
        worker.blocked -= 1
        if worker.blocked == 0:
            self._reclaim(worker)

    def abandon(self, task: Task) -> None:
        """An assigned task that was never sent will not be: free its place."""
        worker = self.workers[int(task.executor)]
        if worker.calls.pop(task.spec.task_id, None) is not None:
            return
        worker.tasks.remove(task)
        if not worker.tasks and worker.state == BUSY:
            self._vacate(worker)

    # -- recall ------------------------------------------------------------------------------------

    def _watch_pipelines(self) -> None:
        """There is an idle worker and nothing queued: see whether tasks are stuck behind a long
        one.
        """
        if self._recall_timer:
            return
        if any(len(worker.tasks) > 1 for worker in self.workers.values()):
            self._recall_timer = self._step.next_op()
            at_ns = self._step.now_ns + self._config.tiny_task_ns
            self._step.out.append(SetTimer(self._recall_timer, at_ns))

    def timer_fired(self, op: int) -> bool:
        """Whether the timer was ours; then recall from workers that are slow."""
        if not op or op != self._recall_timer:
            return False
        self._recall_timer = 0
        if not self._idle or self.ready.count:
            return True
        for worker in self.workers.values():
            slow = self._step.now_ns - worker.since_ns >= self._config.tiny_task_ns
            if slow and len(worker.tasks) > 1 and not worker.recalled:
                self.recall(worker)
        self._watch_pipelines()
        return True

    def recall(self, worker: Worker) -> None:
        """Ask for what the worker has not begun."""
        worker.recalled = True
        self._step.out.append(RecallTasks(worker.client))

    # -- workers -----------------------------------------------------------------------------------

    def _start_workers(self, queue: Queue) -> None:
        """Start as many workers as the queue's tasks could use with the resources that are free."""
        wanted = min(len(queue.tasks), self._config.max_starting)
        while self._starting < wanted:
            more = tuple((name, units * (self._starting + 1)) for name, units in queue.demand)
            if not self.pool.fits_now(more):
                return
            self._start_worker()

    def _start_worker(self) -> None:
        self._last_client += 1
        self._starting += 1
        self.workers[self._last_client] = Worker(self._last_client)
        self._step.out.append(StartWorker(self._last_client))

    def worker_started(self, client: int, pid: int = 0) -> None:
        """A worker is up."""
        worker = self.workers.get(client)
        if worker is None or worker.state != STARTING:
            return
        self._starting -= 1
        self.starts_failed = 0
        worker.pid, worker.started_ns = pid, self._step.now_ns
        worker.state = IDLE
        self._idle.insert(0, worker)
        self.dispatch()

    def worker_exited(self, client: int) -> list[Task]:
        """A worker is gone: free all it had; the tasks at it, the running one first."""
        worker = self.workers.pop(client, None)
        if worker is None:
            return []
        if worker.state == STARTING:
            self._starting -= 1
            self.starts_failed += 1
        elif worker.state == IDLE:
            self._idle.remove(worker)
        else:
            if worker.blocked:
                self._reclaim(worker)
            self._free(worker)
        return [*worker.tasks, *worker.calls.values()]

    def replace_workers(self) -> None:
        """Keep the number of prestarted workers up after a death, and use what became free."""
        if self.starts_failed < self._config.max_starts_failed:
            while len(self.workers) < self._config.prestart_workers:
                self._start_worker()
        self.dispatch()

    def stop_worker(self, client: int, kill: bool, why: str = "") -> None:
        """End a worker."""
        worker = self.workers.get(client)
        if worker is not None:
            worker.stopped, worker.why = True, worker.why or why
        self._step.out.append(StopWorker(client, kill))

    # -- checks ------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether a worker is starting, or runs a task that is not blocked."""
        return self._starting > 0 or any(worker.runs for worker in self.workers.values())

    @property
    def seems_active(self) -> bool:
        """The same, if no event loop waits for something else than the node."""
        return self._starting > 0 or any(each.seems_to_run for each in self.workers.values())

    def check(self, set_apart: Iterable[Demand] = ()) -> None:
        """Derive the free resources and the number of queued tasks again, and compare.
        ``set_apart``: what is taken for no worker.
        """
        self.pool.check()
        self.ready.check()
        used: dict[str, int] = {}
        for worker in self.workers.values():
            if worker.state == ACTOR:
                assert not worker.tasks, f"worker {worker.client}"
            elif worker.state != DOOMED:
                assert not worker.calls
                assert bool(worker.tasks) == (worker.state == BUSY), f"worker {worker.client}"
            for name, units in worker.demand:
                used[name] = used.get(name, 0) + units
            for name, units in worker.lends:
                used[name] -= units
        for demand in set_apart:
            for name, units in demand:
                used[name] = used.get(name, 0) + units
        free = dict(self.pool.available())
        for name, units in self.pool.total:
            assert units - used.get(name, 0) == free.get(name, 0), (
                f"{name}: {used} used, {free} free"
            )
