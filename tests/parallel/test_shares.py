"""What a rank computes: its columns, its masks, its part of the loss."""

from types import SimpleNamespace

import pytest
import torch

from refrain import recipe
from refrain.data import Windows
from refrain.data.tagged.buckets import NO_TAG, PADDING
from refrain.data.text.token_file import TokenFile, write_tokens
from refrain.errors import CheckpointError, UserError
from refrain.models import LanguageModel
from refrain.nn import LSTM, Dropout, Embedding, LockedDropout, RecurrentStack, SoftmaxHead, WeightDropout
from refrain.nn.columns import Columns, computing
from refrain.nn.dropout import DropoutOfColumns
from refrain.parallel import ALONE, Ranks
from refrain.parallel.ranks import columns_of
from refrain.runs.together import check_gpus, check_same_checkpoint
from refrain.training.share import share_of

T, B = 6, 7


class OneOf(Ranks):
    """A rank that knows which columns are its own, and talks to nobody."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def columns(self, total):
        return columns_of(self.rank, self.size, total)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_column_belongs_to_one_rank(size):
    parts = [columns_of(rank, size, B) for rank in range(size)]
    assert [column for part in parts for column in range(part.first, part.first + part.number)] == list(range(B))
    assert max(part.number for part in parts) - min(part.number for part in parts) <= 1
    assert {part.total for part in parts} == {B}


def test_a_batch_of_fewer_columns_than_ranks_is_computed_by_each():
    assert columns_of(0, 3, 2) is None
    inputs, targets = torch.zeros(T, 2, dtype=torch.int64), torch.zeros(T, 2, dtype=torch.int64)
    share = share_of(inputs, targets, OneOf(1, 3), "sum-over-time")
    assert share.columns is None and share.copies == 3 and share.weight == pytest.approx(1 / 3)
    assert share.inputs.shape == (T, 2)


@pytest.mark.parametrize("scale", ["sum-over-time", "mean-over-tokens"])
def test_the_shares_of_a_window_make_up_the_window(scale):
    inputs, targets = torch.randint(9, (2, T, B))
    whole = share_of(inputs, targets, ALONE, scale)
    assert whole.columns is None and whole.weight == 1 and whole.copies == 1
    shares = [share_of(inputs, targets, OneOf(rank, 3), scale) for rank in range(3)]
    assert torch.equal(torch.cat([share.inputs for share in shares], dim=1), inputs)
    assert torch.equal(torch.cat([share.targets for share in shares], dim=1), targets)
    assert {share.divisor for share in shares} == {whole.divisor} == {B if scale == "sum-over-time" else T * B}
    assert sum(share.weight for share in shares) == pytest.approx(1)


def test_words_of_sentences_stay_with_their_sentences():
    lengths = [3, 1, 4, 2]
    inputs = torch.full((4, 4, 2), 0)
    inputs[..., 0] = PADDING
    for column, length in enumerate(lengths):
        inputs[:length, column, 0] = 10 * column + torch.arange(length)
    targets = inputs[..., 0][inputs[..., 0] != PADDING] + 100
    targets[-1] = NO_TAG
    shares = [share_of(inputs, targets, OneOf(rank, 2), "mean-over-tokens") for rank in range(2)]
    assert [share.targets.tolist() for share in shares] == [[100, 110, 101, 102], [120, 130, 121, 131, 122, NO_TAG]]
    assert {share.divisor for share in shares} == {len(targets) - 1}


@pytest.mark.parametrize("make", [Dropout, DropoutOfColumns, LockedDropout])
def test_ranks_see_the_masks_that_one_process_sees(make):
    layer = make(0.5)
    inputs = torch.rand(T, B, 5) + 1
    torch.manual_seed(3)
    whole, after = layer(inputs), torch.get_rng_state()
    for first, count in ((0, 3), (3, 4)):
        columns = Columns(first, count, B)
        torch.manual_seed(3)
        with computing(columns, torch.zeros(T, B)):
            part = layer(columns.of(inputs))
        assert torch.equal(part, columns.of(whole))
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("make", [Dropout, DropoutOfColumns])
@pytest.mark.parametrize("count", [1, 2])
def test_masks_of_inputs_without_columns_are_refused(make, count):
    with computing(Columns(0, count, B), torch.zeros(T, B)), pytest.raises(ValueError, match="before time and batch"):
        make(0.5)(torch.ones(T * count, 5))


def test_weights_are_dropped_at_the_steps_where_some_column_of_any_rank_starts_again():
    torch.manual_seed(1)
    layer = LSTM(4, 5, recurrent_transform=WeightDropout(0.5))
    model = LanguageModel(Embedding(9, 4), RecurrentStack([layer]), SoftmaxHead(5, 9), reset_before=0).double()
    inputs = torch.randint(1, 9, (T, B))
    inputs[2, 1] = inputs[4, 6] = 0
    torch.manual_seed(3)
    whole, _ = model.hidden(inputs, model.initial_state(B))
    for first, count in ((0, 3), (3, 4)):
        columns = Columns(first, count, B)
        torch.manual_seed(3)
        with computing(columns, inputs):
            part, _ = model.hidden(columns.of(inputs), model.initial_state(count))
        torch.testing.assert_close(part.raw, columns.of(whole.raw))


def test_windows_of_some_streams_are_those_of_all(tmp_path):
    write_tokens(tmp_path / "ids", [torch.arange(103, dtype=torch.int32).numpy()])
    windows = Windows(TokenFile(tmp_path / "ids", "int32"), batch_size=5, window_steps=4, tail="keep")
    some = windows.columns(2, 3)
    assert len(some) == len(windows) and some.predicted == windows.predicted * 3 // 5
    for index in range(len(windows)):
        for part, whole in zip(some[index], windows[index], strict=True):
            assert torch.equal(part, whole[:, 2:])


def test_ranks_that_share_a_gpu_are_refused(monkeypatch):
    number = 3
    for name, value in (("is_available", True), ("device_count", 2)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    current = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[-1])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}"))

    class Several(Ranks):
        size = number

        def gathered(self, value):
            host, _ = value
            return [[host, f"GPU-{rank % 2}"] for rank in range(number)]

    current.append(0)
    with pytest.raises(UserError, match=r"has fewer GPUs than the 3 ranks on it.*; start 2 there .--processes 2.*=cpu"):
        check_gpus(Several(), recipe("zaremba-small"))
    # each machine has its own, whatever the number of all
    monkeypatch.setattr(Several, "gathered", lambda self, value: [["a", "x"], ["a", "y"], ["b", "x"]])
    check_gpus(Several(), recipe("zaremba-small"))
    # on processors, ranks need no GPU
    monkeypatch.setattr(Several, "gathered", lambda self, value: [value] * number)
    check_gpus(Several(), recipe("zaremba-small", "training.device=cpu"))
    with pytest.raises(UserError, match=r"3 ranks on .*; start 1 there"):
        check_gpus(Several(), recipe("zaremba-small"))


def test_ranks_resume_the_same_checkpoint(tmp_path):
    class Two(Ranks):
        size = 2

        def gathered(self, value):
            return [value, "step-000000007"]

    check_same_checkpoint(Two(), SimpleNamespace(folder=tmp_path / "step-000000007"))
    with pytest.raises(CheckpointError, match="rank 1 finds step-000000007 as the newest"):
        check_same_checkpoint(Two(), SimpleNamespace(folder=tmp_path / "step-000000009"))
