"""The timeline: which task ran when and where."""

import json

import pytest

import rsim
from rsim.util import state


@rsim.remote
def work(_previous=None):
    return rsim.get_runtime_context().get_worker_id()


@rsim.remote
def fail():
    raise ValueError("no")


def test_a_task_is_a_span_of_its_worker(rt):
    ref = work.remote()
    worker = rsim.get(ref)
    (span,) = rsim.timeline()
    assert span["cat"] == "task::work" and span["name"] == "work" and span["ph"] == "X"
    assert span["pid"] == rsim.nodes()[0]["NodeID"] and span["tid"] == f"worker:{worker}"
    assert span["args"] == {
        "name": "work",
        "task_id": ref.task_id(),
        "attempt_number": 0,
        "state": "FINISHED",
    }
    task = state.get_task(ref)
    assert task.start_time_ms == int(span["ts"] // 1000)
    assert span["dur"] >= 0


def test_one_after_the_other(rt):
    first = work.remote()
    rsim.get(work.remote(first))
    earlier, later = rsim.timeline()
    assert earlier["args"]["task_id"] == first.task_id()
    assert earlier["ts"] + earlier["dur"] <= later["ts"]


def test_spans_of_one_worker_do_not_overlap(init):
    init(num_cpus=2)
    rsim.get([work.remote() for _ in range(200)])
    spans = rsim.timeline()
    assert len(spans) == 200
    ends = {}
    for span in spans:
        assert span["ts"] >= ends.get(span["tid"], 0)
        ends[span["tid"]] = span["ts"] + span["dur"]


def test_failures_and_actors_are_shown(rt):
    @rsim.remote
    class Actor:
        def call(self):
            return 1

    with pytest.raises(ValueError):
        rsim.get(fail.remote())
    rsim.get(Actor.remote().call.remote())
    told = [(span["name"], span["args"]["state"], span["cname"]) for span in rsim.timeline()]
    assert told == [
        ("fail", "FAILED", "terrible"),
        ("Actor.__init__", "FINISHED", "generic_work"),
        ("Actor.call", "FINISHED", "generic_work"),
    ]


def test_it_can_be_written_to_a_file(rt, tmp_path):
    rsim.get(work.remote())
    assert rsim.timeline(tmp_path / "trace.json") is None
    assert json.loads((tmp_path / "trace.json").read_text()) == rsim.timeline()
    with pytest.raises(TypeError, match="filename must be a path"):
        rsim.timeline(5)


def test_a_task_can_ask_for_it(rt):
    @rsim.remote
    def look():
        return len(rsim.timeline())

    rsim.get(work.remote())
    assert rsim.get(look.remote()) == 1
