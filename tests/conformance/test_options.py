"""Options of remote functions: what they do, and how wrong ones are refused."""

import pytest

import rsim


@rsim.remote
def add(a, b=1):
    """Adds."""
    return a + b


def test_with_and_without_parentheses(rt):
    @rsim.remote(num_cpus=2)
    def with_them():
        return 1

    assert rsim.get([with_them.remote(), rsim.remote(len).remote("ab"), add.remote(2)]) == [1, 2, 3]


def test_empty_parentheses(rt):
    with pytest.raises(TypeError, match="keyword"):
        rsim.remote()


def test_a_remote_function_is_known_by_its_name(rt):
    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."


def test_options_change_the_call_only(rt):
    two = add.options(num_returns=2, name="pair")
    with pytest.raises(TypeError, match="pair was declared with num_returns=2"):
        rsim.get(two.remote(1)[0])
    assert rsim.get(add.remote(1)) == 2


def test_options_of_the_decorator_stay_unless_overridden(init):
    init(num_cpus=1, resources={"licence": 1})

    @rsim.remote(num_returns=2, resources={"licence": 1})
    def pair():
        return 1, 2

    assert rsim.get(list(pair.options(num_cpus=0).remote())) == [1, 2]
    assert rsim.get(pair.options(num_returns=1).remote()) == (1, 2)


def test_a_call_that_forgets_remote(rt):
    with pytest.raises(TypeError, match=r"add\.remote\("):
        add(1)


def test_an_unknown_option_lists_the_valid_ones(rt):
    for use in (lambda: rsim.remote(num_cpu=1)(len), lambda: add.options(num_cpu=1)):
        with pytest.raises(ValueError, match=r"num_cpu\b.*num_cpus"):
            use()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_cpus", -1),
        ("num_cpus", "one"),
        ("num_cpus", 0.00001),
        ("num_cpus", float("nan")),
        ("num_gpus", -0.5),
        ("memory", -1),
        ("resources", {"CPU": 1}),
        ("resources", {"GPU": 1}),
        ("resources", {"licence": -1}),
        ("resources", ["licence"]),
        ("num_returns", -1),
        ("num_returns", 1.5),
        ("num_returns", "two"),
        ("max_retries", -2),
        ("max_retries", "many"),
        ("retry_exceptions", "KeyError"),
        ("retry_exceptions", [1]),
        ("retry_exceptions", [KeyError, "x"]),
        ("name", 1),
        ("scheduling_strategy", "FASTEST"),
        ("scheduling_strategy", 1),
        ("cost", -1),
        ("cost", "long"),
    ],
)
def test_bad_values_are_named(rt, name, value):
    for use in (lambda: rsim.remote(**{name: value})(len), lambda: add.options(**{name: value})):
        with pytest.raises((TypeError, ValueError), match=name):
            use()


def test_all_options_together(init):
    init(num_cpus=2, num_gpus=1, resources={"licence": 2})
    task = add.options(
        num_cpus=0.5,
        num_gpus=1,
        memory=1000,
        resources={"licence": 1.5},
        num_returns=1,
        max_retries=1,
        retry_exceptions=[KeyError],
        name="sum",
        scheduling_strategy="SPREAD",
        cost=0.5,
    )
    assert rsim.get([task.remote(number) for number in range(4)]) == [1, 2, 3, 4]


def test_decorating_what_is_no_function():
    with pytest.raises(TypeError):
        rsim.remote(5)


def test_methods_can_be_looked_at_but_not_called_by_position():
    with pytest.raises(TypeError):
        rsim.remote(len, 2)
