"""The words by which Ray's errors are known, and states of tasks: programs and tests look for them.

Decides which of them go before rsim's own words, which say more, and what is called RUNNING. Never
changes anything but what is said. Owns what it has put on rsim's errors and states, while it is
there.
"""

from __future__ import annotations

from rsim import exceptions
from rsim.api import state
from rsim.core import facts
from rsim.exceptions import RsimError

_DEAD = "The actor is dead because"
_WORDS: tuple[tuple[type[RsimError], str, str], ...] = (
    (
        exceptions.ActorDiedError,
        "its constructor raised",
        "The actor died because of an error raised in its creation task",
    ),
    (
        exceptions.ActorDiedError,
        "an argument of its constructor is an error",
        "The actor died because of an error raised in its creation task",
    ),
    (exceptions.ActorDiedError, "killed by rsim.kill()", f"{_DEAD} it was killed by `ray.kill`"),
    (
        exceptions.ActorDiedError,
        "all its handles are gone",
        f"{_DEAD} all references to the actor were removed",
    ),
    (exceptions.ActorDiedError, "its worker died", f"{_DEAD} its worker process has died"),
    (
        exceptions.ActorDiedError,
        "exit_actor()",
        f"{_DEAD} its worker process has died. Worker exit type: INTENDED_USER_EXIT",
    ),
    (
        exceptions.ActorDiedError,
        "its placement group was removed",
        "The actor died because its placement group was removed",
    ),
    (exceptions.ActorDiedError, "its node", "The actor died because its node has died"),
    (exceptions.ActorUnavailableError, "", "The actor is temporarily unavailable"),
    (
        exceptions.WorkerCrashedError,
        "",
        "The worker died unexpectedly while executing this task",
    ),
    (exceptions.UnserializableCauseError, "", "The task's exception isn't serializable"),
    (exceptions.GetTimeoutError, "", "Get timed out: some object(s) not ready"),
    (exceptions.PendingCallsLimitExceeded, "", "More tasks are queued on the actor than may be"),
    (
        exceptions.ForeignRefError,
        "",
        # `get` of a list speaks of objects, the other calls of one.
        "Ray objects whose owner is unknown cannot be used, and this is a Ray object whose owner "
        "is unknown",
    ),
)
"""Of which errors, with what in rsim's message, and what goes before it."""


def learn() -> None:
    """Say it in Ray's words from now on."""
    RsimError.__str__ = _in_rays_words  # type: ignore[method-assign, assignment]
    state.task_states = {facts.GETS: facts.RUNS, facts.WAITS: facts.RUNS}


def forget() -> None:
    """Say it in rsim's words only."""
    if "__str__" in vars(RsimError):
        del RsimError.__str__
    state.task_states = {}


def _in_rays_words(error: RsimError) -> str:
    text = said = super(RsimError, error).__str__()
    if isinstance(error, exceptions.RsimActorError):
        said = text.replace("rsim.kill()", "ray.kill()")
    task_id = getattr(error, "task_id", "")
    if isinstance(error, exceptions.TaskCancelledError) and task_id:
        return f"Task {task_id} was cancelled: {said}"
    for kind, hint, words in _WORDS:
        if isinstance(error, kind) and hint in text:
            return f"{words}: {said}" if said else words
    return said
