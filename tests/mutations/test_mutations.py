"""Every mutation of the list can still be made; `make mutations` sees whether the tests notice them."""

import pytest
from mutate import ROOT, Mutation, mutated, mutations, words_of


@pytest.mark.parametrize("mutation", mutations(), ids=lambda mutation: mutation.name)
def test_a_mutation_can_be_made_and_its_tests_are_there(mutation):
    mutated(mutation, ROOT)
    words_of(mutation, ROOT)


def test_there_are_forty_of_the_whole_package():
    listed = mutations()
    assert len(listed) >= 40 and len({mutation.name for mutation in listed}) == len(listed)
    packages = {mutated(mutation, ROOT)[0].relative_to(ROOT / "src" / "refrain").parts[0] for mutation in listed}
    assert packages >= {"nn", "models", "optim", "sparsity", "training", "evaluation", "generation", "data", "config"}
    assert packages >= {"assembly", "storage", "runs", "cli"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nowhere in the package", "x", "found none"),
        ("import torch", "x", "must stand in the package once"),
        ('"""The training loop.', '"""The training loop.', "must change one line"),
    ],
)
def test_one_that_cannot_be_made_is_an_error(old, new, message):
    with pytest.raises(ValueError, match=message):
        mutated(Mutation("m", old, new, "test_loop.py"), ROOT)


def test_one_whose_tests_are_gone_is_an_error():
    with pytest.raises(ValueError, match="0 files are called test_gone"):
        words_of(Mutation("m", "a", "b", "test_gone.py -k x"), ROOT)
