"""ray.util.annotations: marks of what is public, or will be dropped."""

import warnings
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("as_ray")


def test_marks_without_parentheses_leave_things_as_they_are() -> None:
    from ray.util.annotations import Deprecated, DeveloperAPI, PublicAPI

    def double(x: int) -> int:
        """Twice as much."""
        return 2 * x

    class Plain:
        pass

    for mark in (PublicAPI, DeveloperAPI, Deprecated, PublicAPI(stability="alpha")):
        assert mark(double) is double and mark(Plain) is Plain
    assert double(2) == 4
    doc = double.__doc__ or ""
    assert doc.startswith("Twice as much.") and "PublicAPI (alpha)" in doc and "DEPRECATED" in doc


@pytest.mark.parametrize("warning", [True, False])
def test_what_is_deprecated_warns_if_it_shall(warning: bool) -> None:
    from ray.util.annotations import Deprecated, RayDeprecationWarning

    @Deprecated(message="use another class", warning=warning)
    class Old:
        """An old class."""

        def __init__(self, x: int) -> None:
            self.x = x

        @Deprecated(message="use another method", warning=warning)
        def method(self) -> int:
            return self.x

    @Deprecated(message="use another function", warning=warning)
    def function(x: int) -> int:
        return x

    def told(call: Any) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert call() is not None
        assert all(each.category is RayDeprecationWarning for each in caught)
        return [str(each.message).splitlines()[-1] for each in caught]

    with pytest.warns(RayDeprecationWarning) if warning else warnings.catch_warnings():
        old = Old(1)
    assert told(lambda: Old(2)) == ["use another class"] * warning
    assert told(old.method) == ["use another method"] * warning
    assert told(lambda: function(3)) == ["use another function"] * warning
    assert "An old class." in (Old.__doc__ or "") and "use another class" in (Old.__doc__ or "")


def test_bad_marks_are_refused() -> None:
    from ray.util.annotations import Deprecated, PublicAPI

    with pytest.raises(ValueError, match="Unknown kwargs: why"):
        Deprecated(why="not")
    with pytest.raises(AssertionError, match="stability"):
        PublicAPI(stability="solid")
