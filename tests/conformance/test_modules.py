"""Functions and actors of modules that workers can import, as this one: their globals travel with
them, as with those of scripts.
"""

import pytest

import rsim

LIMIT = 1
NOTES: list[str] = []
MODEL = None


@rsim.remote(num_cpus=0)
class Actor:
    def __init__(self):
        global MODEL
        MODEL = "loaded"

    def limit(self):
        return LIMIT

    def note(self, word):
        NOTES.append(word)
        return list(NOTES)

    def model(self):
        return MODEL

    @staticmethod
    def fixed():
        return LIMIT

    @property
    def doubled(self):
        return 2 * LIMIT

    def twice(self):
        return self.doubled


@rsim.remote(num_cpus=0)
def limit():
    return LIMIT


def test_globals_are_the_programs(rt, monkeypatch):
    monkeypatch.setitem(globals(), "LIMIT", 7)
    actor = Actor.remote()
    assert rsim.get([limit.remote(), actor.limit.remote(), actor.fixed.remote()]) == [7, 7, 7]
    assert rsim.get(actor.twice.remote()) == 14


def test_each_actor_has_globals_of_its_own_for_all_its_methods(rt):
    first, second = Actor.remote(), Actor.remote()
    assert rsim.get([first.note.remote("a"), first.note.remote("b")]) == [["a"], ["a", "b"]]
    assert rsim.get(second.note.remote("c")) == ["c"]
    assert rsim.get(first.model.remote()) == "loaded"
    assert (NOTES, MODEL) == ([], None)


@pytest.mark.parametrize("derived", [False, True])
def test_a_class_that_is_found_under_its_name_is_imported(rt, derived):
    class Derived(Plain):
        pass

    actor = rsim.remote(Derived if derived else Plain).options(num_cpus=0).remote()
    assert rsim.get(actor.name.remote()) == __name__


class Plain:
    def name(self):
        return __name__
