"""`ray.init(logging_config=...)`: what programs log, as lines of text or of JSON that say where.

Decides the fields of a line and their order: Ray's. Must never touch logging unless it was asked
to, nor ask the cluster for anything while nothing runs. Owns the handler of the root logger.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

import rsim
from rsim.runtime import current

_ENCODINGS = ("TEXT", "JSON")
_VARIABLE = "_RSIM_RAY_LOGGING"
"""Tells worker processes what the driver has asked for."""

_OWN = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))
"""What a record has that nobody has given to it."""

_STANDARD = ("asctime", "levelname", "message", "filename", "lineno", "process")
_TEXT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"


class LoggingConfig:
    """How to log: `encoding` "TEXT" or "JSON", the least level, and attributes of log records to
    add. Raises ValueError for those that Ray does not know.
    """

    def __init__(
        self,
        encoding: str = "TEXT",
        log_level: str | int = "INFO",
        additional_log_standard_attrs: Any = (),
    ) -> None:
        if encoding not in _ENCODINGS:
            raise ValueError(
                f"Invalid encoding type: {encoding}; valid are {', '.join(_ENCODINGS)}"
            )
        for name in additional_log_standard_attrs:
            if name not in _OWN:
                raise ValueError(f"Unknown python logging standard attribute: {name}")
        self.encoding = encoding
        self.log_level = log_level
        self.additional_log_standard_attrs = list(additional_log_standard_attrs)


class _Handler(logging.Handler):
    """Writes to what is sys.stderr at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(_note_place)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


_handler: _Handler | None = None


def configure(config: LoggingConfig | None) -> None:
    """Let the root logger, here and in worker processes to come, do as it says; None: nothing is
    said of processes to come.
    """
    if config is None:
        os.environ.pop(_VARIABLE, None)
        return
    values = config.encoding, config.log_level, config.additional_log_standard_attrs
    os.environ[_VARIABLE] = json.dumps(values)
    _set_up(*values)


def configure_worker() -> None:
    """The same in a worker process, as its driver has said."""
    told = os.environ.get(_VARIABLE)
    if told:
        _set_up(*json.loads(told))


def forget() -> None:
    """Leave logging alone again."""
    global _handler
    os.environ.pop(_VARIABLE, None)
    if _handler is not None:
        logging.getLogger().removeHandler(_handler)
        _handler = None


def _set_up(encoding: str, level: str | int, more: list[str]) -> None:
    global _handler
    root = logging.getLogger()
    if _handler is not None:
        root.removeHandler(_handler)
    _handler = _Handler()
    _handler.setFormatter(_Json(more) if encoding == "JSON" else _Text(more))
    root.addHandler(_handler)
    root.setLevel(level)


def _note_place(record: logging.LogRecord) -> bool:
    """Note in a record what code is running now. The handler's lock is not held: it may be that the
    cluster has to be asked.
    """
    if current.client is None:
        return True
    context = rsim.get_runtime_context()
    found = {
        "job_id": context.get_job_id(),
        "worker_id": context.get_worker_id(),
        "node_id": context.get_node_id(),
        "actor_id": context.get_actor_id(),
        "task_id": context.get_task_id(),
        "task_name": context.get_task_name(),
        "task_func_name": context.get_task_function_name(),
    }
    vars(record).update({name: value for name, value in found.items() if value is not None})
    return True


class _Text(logging.Formatter):
    """A line of text, its fields behind it."""

    def __init__(self, more: list[str]) -> None:
        super().__init__(_TEXT)
        self._more = more

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record, self._more)
        return " ".join((super().format(record), *(f"{key}={fields[key]}" for key in fields)))


class _Json(logging.Formatter):
    """A JSON object in one line."""

    def __init__(self, more: list[str]) -> None:
        super().__init__()
        self._more = more

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        told = {name: getattr(record, name) for name in _STANDARD}
        if record.exc_info:
            told["exc_text"] = record.exc_text = self.formatException(record.exc_info)
        return json.dumps({**told, **_fields(record, self._more)}, default=str)


def _fields(record: logging.LogRecord, more: list[str]) -> dict[str, Any]:
    """The attributes that were asked for, what the program has given, and where it ran."""
    given = {name: value for name, value in vars(record).items() if name not in _OWN}
    asked = {name: getattr(record, name, None) for name in more}
    at_ns = {"timestamp_ns": int(record.created * 1_000_000_000)}
    return {**asked, **given, **at_ns}
