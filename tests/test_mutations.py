"""The table of faults belongs to the code: each can be put in, compiles, and names tests that exist."""

import ast
import re
import shlex

import pytest

from tests.mutations import MUTATIONS, ROOT, Mutation, changed_text


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.breaks)
def test_a_fault_can_be_put_in_and_its_tests_exist(mutation: Mutation) -> None:
    changed = changed_text(mutation)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse((ROOT / mutation.file).read_text(encoding="utf-8")))
    words = shlex.split(mutation.tests)
    files = [word for word in words if word.endswith(".py")]
    text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    asked = {name for word in words[len(files) + 1 :] for name in re.findall(r"[a-z_]+", word)} - {"and", "or", "not"}
    assert files and all(name in text for name in asked), asked


def test_no_fault_stands_there_twice() -> None:
    assert len({(mutation.file, mutation.old, mutation.new) for mutation in MUTATIONS}) == len(MUTATIONS)
    assert len({mutation.breaks for mutation in MUTATIONS}) == len(MUTATIONS)


def test_a_fault_without_its_place_is_named() -> None:
    gone = Mutation("drawaudio_model/guidance.py", "no such text", "", "nothing", "tests/test_guidance.py")
    with pytest.raises(ValueError, match=r"'no such text' stands in drawaudio_model/guidance\.py 0 times"):
        changed_text(gone)
