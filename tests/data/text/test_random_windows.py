"""Windows of drawn lengths: every token once, lengths as published, the learning rate's share."""

import itertools

import numpy as np
import pytest
import torch

from refrain.data import TokenFile, Windows, random_lengths


def lengths(seed=1, steps=70, cap=90):
    return random_lengths(steps, cap, torch.Generator().manual_seed(seed))


@pytest.fixture
def source(write):
    path = write("ids.bin", np.arange(1003, dtype=np.uint16).tobytes())
    return TokenFile(path, np.uint16)


def test_lengths_are_around_the_steps_or_half_of_them():
    drawn = np.array(list(itertools.islice(lengths(), 4000)))
    assert drawn.min() >= 5 and drawn.max() <= 90
    # halves are drawn with probability 0.05: of 4,000 about 200, standard deviation 14; 52 is between the two
    assert 130 < (drawn < 52).sum() < 270
    # truncation to whole numbers takes half a step away
    assert drawn[drawn > 52].mean() == pytest.approx(69.5, abs=0.5)
    assert drawn[drawn > 52].std() == pytest.approx(5, abs=0.4)


def test_lengths_are_capped_below_and_above():
    assert min(itertools.islice(lengths(steps=8, cap=30), 500)) == 5
    assert max(itertools.islice(lengths(cap=71), 500)) == 71


def test_the_same_seed_draws_the_same():
    assert list(itertools.islice(lengths(3), 50)) == list(itertools.islice(lengths(3), 50))
    assert list(itertools.islice(lengths(3), 50)) != list(itertools.islice(lengths(4), 50))


def test_every_predicted_token_stands_in_one_window(source):
    windows = Windows(source, batch_size=3, window_steps=20, tail="keep", lengths=lengths(steps=20, cap=40))
    inputs = torch.cat([windows[index][0] for index in range(len(windows))])
    targets = torch.cat([windows[index][1] for index in range(len(windows))])
    # 1,003 tokens are three columns of 334, of which 333 are predicted
    assert inputs.shape == targets.shape == (333, 3) and windows.predicted == 999
    assert torch.equal(inputs, torch.arange(333)[:, None] + torch.tensor([0, 334, 668]))
    assert torch.equal(targets, inputs + 1)
    steps = [len(windows[index][0]) for index in range(len(windows))]
    assert len(set(steps)) > 3
    assert [windows.share(index) for index in range(len(windows))] == [count / 20 for count in steps]


def test_windows_of_one_length_scale_nothing(source):
    windows = Windows(source, batch_size=3, window_steps=20, tail="keep")
    assert {windows.share(index) for index in range(len(windows))} == {1.0}
