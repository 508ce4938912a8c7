"""The tables of attacks: whole sentences, and tests that are there."""

import ast
from functools import cache

import pytest
from attacks import FOLDER, Attack, attacks


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of a file's tests; it need not be imported."""
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_what_held_has_a_test(attack: Attack) -> None:
    """Each attack names at least one test, which is in the file that it names."""
    named = [test.partition("::") for test in attack.tests]

    assert named
    assert [f"{file}::{test}" for file, _, test in named if test not in names_in(file)] == []


def test_no_attack_stands_twice() -> None:
    """Each has something of its own that was tried, and says what held."""
    found = attacks()

    assert len({attack.name for attack in found}) == len(found)
    assert [attack.name for attack in found if not (attack.tried and attack.channel and attack.held)] == []
