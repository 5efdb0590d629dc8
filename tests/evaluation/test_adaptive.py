"""Surprisal by a model that adapts: it is dynamic evaluation, word by word."""

import math

import pytest
import torch
from memory_text import MemoryText

from refrain import runs
from refrain.data import Windows
from refrain.evaluation import (
    Dynamics,
    evaluate_dynamically,
    gather_statistics,
    surprisal_rows,
)
from refrain.evaluation.adaptive import adapting, adaptive_rows

STRONG = Dynamics(learning_rate=1e-2, decay=1e-2)
SENTENCES = ["ant bee cat ant bee cat", "ant ant ant", "bee cat ant bee", "ant"]


def windows(ids):
    return Windows(MemoryText(ids), batch_size=1, window_steps=5, tail="keep")


@pytest.fixture(scope="module")
def lm(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def statistics(lm):
    return gather_statistics(lm.model, windows(lm.vocabulary.encode("ant bee cat zebra\n" * 20)))


def bits(rows):
    return [row.surprisal_bits for row in rows]


def adapted(lm, statistics, sentences, **options):
    with adapting(lm.model, statistics, STRONG) as stepper:
        return list(adaptive_rows(stepper, lm.vocabulary, sentences, **options))


def test_it_is_dynamic_evaluation(lm, statistics):
    line = "ant bee cat ant bee ant zebra cat ant bee cat cat bee"
    ids = [lm.vocabulary.line_end, *lm.vocabulary.encode(line)]
    figure = evaluate_dynamically(lm.model, windows(ids), statistics, STRONG)
    rows = adapted(lm, statistics, [line])
    assert sum(bits(rows)) * math.log(2) == pytest.approx(figure.nats, rel=1e-5)
    # two sentences of a document are one text with a line end between them
    ids = [lm.vocabulary.line_end, *lm.vocabulary.encode(f"{line}\nbee")]
    both = evaluate_dynamically(lm.model, windows(ids), statistics, STRONG).nats
    without = lm.vocabulary.encode(f"{line}\n")
    end = evaluate_dynamically(lm.model, windows([ids[0], *without]), statistics, STRONG).nats - figure.nats
    rows = adapted(lm, statistics, [line, "bee"], context="document", carry=True)
    assert sum(bits(rows)) * math.log(2) == pytest.approx(both - end, rel=1e-4)


def test_weights_are_carried_or_reset(lm, statistics):
    before = [parameter.clone() for parameter in lm.model.parameters()]
    reset = adapted(lm, statistics, SENTENCES)
    alone = [row for each in SENTENCES for row in bits(adapted(lm, statistics, [each]))]
    assert bits(reset) == pytest.approx(alone, abs=1e-6)
    assert [row.sentence for row in reset] == [1] * 6 + [2] * 3 + [3] * 4 + [4]
    carried = adapted(lm, statistics, SENTENCES, carry=True)
    static = bits(surprisal_rows(lm.model, lm.vocabulary, SENTENCES))
    # the first window is scored before the first update
    assert bits(carried)[:4] == pytest.approx(static[:4], abs=1e-5)
    assert bits(carried)[6:] != pytest.approx(bits(reset)[6:], abs=1e-4)
    # ant has become more likely where it has been read often
    assert bits(carried)[-1] < static[-1]
    after = [parameter.clone() for parameter in lm.model.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_state_is_carried_through_a_document_though_the_weights_are_not(lm, statistics):
    with adapting(lm.model, statistics, Dynamics(learning_rate=0.0, decay=0.0)) as stepper:
        found = list(adaptive_rows(stepper, lm.vocabulary, SENTENCES, context="document"))
    assert bits(found) == pytest.approx(
        bits(surprisal_rows(lm.model, lm.vocabulary, SENTENCES, context="document")), abs=1e-4
    )


def test_one_sequence_is_read(lm, statistics):
    with adapting(lm.model, statistics, STRONG) as stepper, pytest.raises(ValueError, match="one sequence"):
        stepper.initial_state(2)
