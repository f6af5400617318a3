"""`pytest --rsim-as-ray[=sim|local]`: run an unchanged test suite for Ray on rsim.

Decides when Ray's names begin to be served, which is before any conftest is imported, that the
fixtures of Ray's own tests are there, and that nothing that a test leaves running outlives it, or
the fixture that started it. Does nothing without its option. Owns which fixture has started the
session that runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import rsim

_ISOLATION, _FIXTURES = "rsim-as-ray-isolation", "rsim-as-ray-fixtures"
"""What is registered while Ray's names are served."""

_kept: tuple[rsim.Session, str] | None = None
"""The session that a fixture for several tests has started, and that fixture."""

_kept_clusters: list[str] = []
"""The clusters that fixtures for several tests have made."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option with an optional value, in three: argparse would take a path for the value."""
    group = parser.getgroup("rsim")
    for suffix, backend, text in (
        ("", "", "serve `import ray` by rsim; it runs where RSIM_ADDRESS says, else in processes"),
        ("=sim", "sim", "serve `import ray` by rsim, in its simulator"),
        ("=local", "local", "serve `import ray` by rsim, in processes of this machine"),
    ):
        group.addoption(
            f"--rsim-as-ray{suffix}",
            action="store_const",
            const=backend,
            dest="rsim_as_ray",
            help=text,
        )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Serve Ray's names before a conftest imports them."""
    backend = early_config.known_args_namespace.rsim_as_ray
    if backend is None:
        return
    from rsim.as_ray import fixtures, install

    install(backend or None)
    early_config.pluginmanager.register(_Isolation(), _ISOLATION)
    early_config.pluginmanager.register(fixtures, _FIXTURES)
    for arg in args:
        path = Path(arg.partition("::")[0])
        if path.exists():
            _find_tests_in(path if path.is_dir() else path.parent)


def _find_tests_in(folder: Path) -> None:
    """Let `ray.tests.x` be a file of the suite, as in Ray's repository."""
    places: list[str] = importlib.import_module("ray.tests").__path__  # type: ignore[assignment]
    place = str(folder.absolute())
    if place not in places:
        places.append(place)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Serve them no longer."""
    if config.pluginmanager.unregister(name=_ISOLATION) is not None:
        config.pluginmanager.unregister(name=_FIXTURES)
        from rsim.as_ray import uninstall

        _shut_down()
        uninstall()


def _shut_down() -> None:
    """End what runs, and forget the clusters that nobody has ended."""
    import rsim
    from rsim.as_ray import cluster

    rsim.shutdown()
    cluster.forget_all()


def _running() -> rsim.Session | None:
    import rsim

    return rsim.init(ignore_reinit_error=True) if rsim.is_initialized() else None


class _Isolation:
    """Ends what tests leave running."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        global _kept, _kept_clusters
        before = _running()
        result = yield
        if fixturedef.scope != "function":
            from rsim.as_ray import cluster

            _kept_clusters = cluster.addresses()
        after = _running()
        if after is not None and after is not before and fixturedef.scope != "function":
            _kept = after, fixturedef.argname
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        global _kept
        if _kept is not None and _kept[1] == fixturedef.argname:
            if _running() is _kept[0]:
                _shut_down()
            _kept = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, None, None]:
        try:
            yield
        finally:
            from rsim.as_ray import cluster

            running = _running()
            if running is not None and (_kept is None or running is not _kept[0]):
                _shut_down()
            cluster.forget_all(but=_kept_clusters)
