"""Packages that a runtime environment asks for: those that are installed need nothing.

Decides whether a requirement is met by what the driver can import, which is what workers can, too.
Must never install anything. Owns no state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata

_REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[[\w\s,.-]*\])?\s*([^;@]*)")


def are_installed(given: object) -> bool:
    """Whether all are there that `pip` or `uv` of a runtime environment names: a list of
    requirements, or a dict with such a list as `packages`.
    """
    wanted = given.get("packages") if isinstance(given, Mapping) else given
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        return False
    return all(isinstance(each, str) and _is_installed(each) for each in wanted)


def _is_installed(requirement: str) -> bool:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        return False
    try:
        version = metadata.version(match[1])
    except metadata.PackageNotFoundError:
        return False
    return not match[2] or _meets(version, match[2].strip())


def _meets(version: str, specifier: str) -> bool:
    if specifier == f"=={version}":
        return True
    try:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet
    except ImportError:
        return False
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False
