"""Every orphan finds one living owner, whatever dies meanwhile and however late the news."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from rsim.core.choices import FirstChoice
from rsim.core.effects import Send
from rsim.core.events import MessageArrived, NodeDied, NodeJoined
from rsim.core.global_scheduler import GlobalScheduler
from rsim.core.ids import put_id, return_id
from rsim.core.messages import Adoption, Inheritance, OrphanReport
from rsim.core.records import TaskSpec
from rsim.core.resources import demand_of
from tests.core.desk import Desk, task_id
from tests.core.specs import task_spec

small = st.integers(0, 11)


def adoptions(said: Sequence[object]) -> list[tuple[str, Adoption]]:
    return [each for each in said if isinstance(each[1], Adoption)]  # type: ignore[index,misc]


def orphans(dead: str, *objects: bytes, copies: tuple[bytes, ...] = ()) -> OrphanReport:
    return OrphanReport(dead, objects, copies)


X0, X1, Y0 = return_id(task_id(1), 0), put_id(task_id(1), 0), return_id(task_id(2), 0)


def test_the_first_holder_in_join_order_adopts_all_objects_of_a_task() -> None:
    desk = Desk("d", "c", "b", "a")
    assert desk.die("d") == []
    assert not desk.machine.quiescent()
    assert desk.send("a", orphans("d", X0, Y0, copies=(X0,))) == []
    assert desk.send("b", orphans("d", X1, copies=(X1,))) == []
    said = adoptions(desk.send("c", orphans("d")))
    assert said == [
        ("b", Adoption((X1, X0), (("b",), ("a",)), (("b",), ("a",)), ())),
        ("a", Adoption((Y0,), (("a",),), ((),), ())),
    ]
    assert desk.machine.quiescent()


def spec(number: int, *deps: bytes, borrows: tuple[bytes, ...] = ()) -> TaskSpec:
    return task_spec(task_id(number), b"", number, 1, deps=deps, borrows=borrows)


def test_the_owner_gets_the_lineage_down_to_the_inputs() -> None:
    desk = Desk("d", "a", "b")
    inputs = (return_id(task_id(3), 0), put_id(task_id(4), 0))
    inner = return_id(task_id(5), 0)
    for each in (spec(1, Y0), spec(2, *inputs), spec(3, borrows=(Y0, inner)), spec(5), spec(9)):
        desk.lineage[each.task_id] = each
    desk.die("d")
    desk.send("a", orphans("d", X0))
    ((to_owner, adoption),) = adoptions(desk.send("b", orphans("d", X0)))
    assert to_owner == "a"
    assert adoption.specs == (
        spec(1, Y0),
        spec(2, *inputs),
        spec(3, borrows=(Y0, inner)),
        spec(5),
    )
    assert adoption.holders == (("a", "b"),)


def test_nobody_left_and_nothing_held() -> None:
    desk = Desk("a", "b", "c")
    desk.die("a")
    desk.send("b", orphans("a"))
    assert desk.die("b") == []
    assert desk.die("c") == []
    assert desk.machine.quiescent()


def test_a_holder_that_dies_meanwhile_is_neither_waited_for_nor_chosen() -> None:
    desk = Desk("d", "a", "b", "c")
    desk.die("d")
    desk.send("a", orphans("d", X0))
    desk.send("b", orphans("d", X0))
    said = adoptions(desk.die("a") + desk.send("c", orphans("d", X0)))
    assert [(who, each.holders) for who, each in said] == [("b", (("b", "c"),))]


def test_the_death_of_the_last_one_awaited_ends_the_round() -> None:
    desk = Desk("d", "a", "b")
    desk.die("d")
    desk.send("a", orphans("d", X0))
    (adoption,) = adoptions(desk.die("b"))
    assert adoption == ("a", Adoption((X0,), (("a",),), ((),), ()))
    assert not desk.machine.quiescent(), "a owes a report about b"


def test_reports_before_the_death_is_known_and_late_ones() -> None:
    desk = Desk("d", "a", "b")
    assert desk.send("b", orphans("d", X0)) == []
    assert desk.machine.quiescent()
    assert desk.die("d") == []
    (first,) = adoptions(desk.send("a", orphans("d")))
    assert first[0] == "b"
    late = adoptions(desk.send("a", orphans("d", X1, Y0, copies=(Y0,))))
    assert late == [
        ("b", Adoption((X1,), (("a",),), ((),), ())),
        ("a", Adoption((Y0,), (("a",),), (("a",),), ())),
    ]
    assert desk.send("z", orphans("d", X0)) == [], "unknown"


def test_an_adopter_that_dies_leaves_orphans_in_turn() -> None:
    desk = Desk("d", "a", "b", "c")
    desk.die("d")
    for name in "abc":
        said = desk.send(name, orphans("d", *((X0,) if name == "a" else ())))
    assert adoptions(said)[0][0] == "a"
    desk.die("a")
    assert desk.send("b", orphans("d", X0)) == [], "it does not know yet that a adopted it"
    assert desk.send("b", orphans("a")) == []
    (adoption,) = adoptions(desk.send("c", orphans("a", X0)))
    assert adoption == ("b", Adoption((X0,), (("b", "c"),), ((),), ()))


Inherited = tuple[str, Inheritance]
"""News from an heir."""


class Family:
    """Nodes with refs, each learning of deaths and adoptions in its own time."""

    def __init__(self, names: Sequence[str], refs: Sequence[tuple[int, int, int]]) -> None:
        self.machine = GlobalScheduler(None, FirstChoice())
        self.owner: dict[str, dict[bytes, str]] = {name: {} for name in names}
        """Whom each living node takes for the owner of each object it holds a ref to."""
        self.borrowers: dict[tuple[str, bytes], list[str]] = {}
        """Whom an owner knows as holders of its object."""
        self.news: dict[str, list[str | Adoption | Inherited]] = {name: [] for name in names}
        self.mail: dict[str, list[OrphanReport]] = {name: [] for name in names}
        self.known_dead: dict[str, list[str]] = {name: [] for name in names}
        for name in names:
            self.step(NodeJoined(name, demand_of(1)))
        for owner, holder, number in refs:
            object_id = return_id(task_id(number), owner)
            self.owner[names[holder % len(names)]][object_id] = names[owner]
            self.borrowers.setdefault((names[owner], object_id), []).extend(names)

    def step(self, event: object) -> None:
        effects = self.machine.handle(event, 0)  # type: ignore[arg-type]
        self.machine.check()
        for effect in effects:
            assert isinstance(effect, Send) and isinstance(effect.message, Adoption)
            assert effect.node in self.owner, "dead"
            self.news[effect.node].append(effect.message)

    def die(self, which: int) -> None:
        if len(self.owner) > 1:
            dead = list(self.owner)[which % len(self.owner)]
            for each in (self.owner, self.news, self.mail, self.known_dead):
                del each[dead]  # type: ignore[attr-defined]
            for news in self.news.values():
                news.append(dead)
            self.step(NodeDied(dead))

    def learn(self, which: int) -> None:
        """A node hears its next news, be it of a death or of an adoption."""
        name = list(self.owner)[which % len(self.owner)]
        if not self.news[name]:
            return
        news, owner = self.news[name].pop(0), self.owner[name]
        dead = self.known_dead[name]
        if isinstance(news, str):
            dead.append(news)
            self.mail[name].append(orphans(news, *(o for o in owner if owner[o] in dead)))
        elif isinstance(news, Adoption):
            for object_id, holders in zip(news.object_ids, news.holders, strict=True):
                owner[object_id] = name
                self.borrowers.setdefault((name, object_id), []).extend(holders)
                for holder in holders:
                    if holder in self.news and holder != name:
                        self.news[holder].append((name, Inheritance(object_id)))
        elif news[0] not in dead and owner.get(news[1].object_id) in dead:
            owner[news[1].object_id] = news[0]

    def post(self, which: int) -> None:
        """A node's next report arrives."""
        name = list(self.owner)[which % len(self.owner)]
        if self.mail[name]:
            self.step(MessageArrived(name, self.mail[name].pop(0)))

    def lend(self, which: int) -> None:
        """A ref goes from one node to another, whatever either knows about its owner."""
        names = list(self.owner)
        giver, taker = names[which % len(names)], names[which // 3 % len(names)]
        for object_id, owner in list(self.owner[giver].items())[:1]:
            if object_id in self.owner[taker]:
                continue
            self.owner[taker][object_id] = owner
            if owner in self.owner:
                self.borrowers.setdefault((owner, object_id), []).append(taker)
            elif owner in self.known_dead[taker]:
                self.mail[taker].append(orphans(owner, object_id))


@settings(max_examples=150, deadline=None)
@given(
    refs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)), max_size=8),
    steps=st.lists(
        st.tuples(st.sampled_from(("die", "learn", "learn", "post", "post", "lend")), small),
        max_size=40,
    ),
)
def test_all_holders_of_an_orphan_agree_on_a_living_owner(
    refs: list[tuple[int, int, int]], steps: list[tuple[str, int]]
) -> None:
    family = Family("abcd", refs)
    for name, which in steps:
        getattr(family, name)(which)
    while any(family.news.values()) or any(family.mail.values()):
        for which in range(len(family.owner)):
            family.learn(which)
            family.post(which)
    assert family.machine.quiescent()
    owners: dict[bytes, str] = {}
    for holder, refs_held in family.owner.items():
        for object_id, owner in refs_held.items():
            assert owner in family.owner, "the owner is dead"
            assert owners.setdefault(object_id, owner) == owner, "two owners"
            assert holder in family.borrowers[owner, object_id], "unknown to the owner"
