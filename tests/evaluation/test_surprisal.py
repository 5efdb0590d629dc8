"""The surprisal of each written word, and the entropies before it, against one step at a time."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from arpa import ARPA

from refrain import runs
from refrain.data import Preparation
from refrain.errors import UserError
from refrain.evaluation import SurprisalRow, score_lines, surprisal, surprisal_rows
from refrain.evaluation.interpolation import MixedStepper
from refrain.evaluation.ngram.words import read_word_model
from refrain.models import Stepper
from refrain.serve.turns import taking_turns

CLOSE = {"abs": 1e-4}
SENTENCES = ["ant bee zebra", "cat", "", "dog ant  ant bee cat ", "bee"]


@pytest.fixture(scope="module")
def lm(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture(scope="module")
def letters(byte_run):
    return runs.load(byte_run)


def steps(lm, ids, read):
    """For each id the bits after all before it, and the entropy in bits before it and after the last."""
    state = lm.initial_state()
    for index in read:
        logs, state = lm.step(torch.tensor([index]), state)
    bits, entropies = [], [entropy(logs)]
    for index in ids:
        bits.append(-float(logs[0, index]) / math.log(2))
        logs, state = lm.step(torch.tensor([index]), state)
        entropies.append(entropy(logs))
    return bits, entropies


def entropy(logs):
    return sum(-math.exp(p) * p for p in logs[0].tolist()) / math.log(2)


def assert_rows(rows, words, bits, entropies, number=1):
    assert [(row.sentence, row.word_number, row.word) for row in rows] == [
        (number, place, word) for place, word in enumerate(words, 1)
    ]
    assert [row.surprisal_bits for row in rows] == pytest.approx(bits, **CLOSE)
    assert [row.entropy_bits for row in rows] == pytest.approx(entropies[:-1], **CLOSE)
    reductions = [before - after for before, after in pairwise(entropies)]
    assert [row.reduction_bits for row in rows] == pytest.approx(reductions, **CLOSE)


@pytest.mark.parametrize("wrapper", ["none", "mixture", "turns"])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_sentence_has_the_same_bits_beside_few_and_many(lm, weights, wrapper, tmp_path):
    model = copy.deepcopy(lm.model)
    with torch.no_grad():
        for parameter in model.parameters():
            # large enough for rounded inputs to be seen
            parameter.mul_(8)
    stepper = Stepper(model, weights=weights)
    if wrapper == "mixture":
        file = tmp_path / "model.arpa"
        file.write_text(ARPA)
        stepper = MixedStepper(stepper, read_word_model(file, lm.vocabulary), lm.vocabulary, 0.3)
    elif wrapper == "turns":
        stepper = taking_turns(stepper, lambda: None)
    bits = []
    for count in (0, 1, 4, 20, 63):
        rows = surprisal_rows(stepper, lm.vocabulary, ["ant bee cat dog", *["dog cat bee"] * count])
        bits.append([row.surprisal_bits for row in list(rows)[:4]])
    for others in bits[1:]:
        assert others == pytest.approx(bits[0], abs=1e-5)


def test_each_sentence_alone_and_after_a_text(lm, monkeypatch):
    end = lm.vocabulary.line_end
    for after in ("", "cat dog"):
        rows = lm.surprisal(SENTENCES, after=after)
        for number, sentence in enumerate(SENTENCES, 1):
            own = [row for row in rows if row.sentence == number]
            read = [end, *lm.vocabulary.encode(after)]
            assert_rows(own, sentence.split(), *steps(lm, lm.vocabulary.encode(sentence), read), number)
        # whatever shares a batch
        monkeypatch.setattr(surprisal, "BATCH_SCORES", 2 * len(lm.vocabulary))
        monkeypatch.setattr(surprisal, "CHUNK_SENTENCES", 3)
        again = lm.surprisal(SENTENCES, after=after)
        assert [row[:3] for row in again] == [row[:3] for row in rows]
        assert [row.surprisal_bits for row in again] == pytest.approx([row.surprisal_bits for row in rows], **CLOSE)
        monkeypatch.undo()


def test_the_state_is_carried_over_a_document(lm):
    end = lm.vocabulary.line_end
    rows = lm.surprisal(["ant bee", "cat", "", "dog"], context="document", after="bee")
    ids = lm.vocabulary.encode("ant bee\ncat\ndog")
    bits, entropies = steps(lm, ids, [end, *lm.vocabulary.encode("bee")])
    assert [row.word for row in rows] == ["ant", "bee", "cat", "dog"]
    words = [place for place, index in enumerate(ids) if index != end]
    assert [row.surprisal_bits for row in rows] == pytest.approx([bits[place] for place in words], **CLOSE)
    assert [row.entropy_bits for row in rows] == pytest.approx([entropies[place] for place in words], **CLOSE)
    # a line end that is spelled out is not read twice
    spelled = lm.surprisal(["ant bee <eos>", "cat <eos>", "dog"], context="document", after="bee")
    assert [row.surprisal_bits for row in spelled] == pytest.approx(bits, **CLOSE)


def test_unknown_words_and_frequencies(lm, tiny_corpus):
    rows = lm.surprisal("ant zebra <unk>")
    counts = (tiny_corpus / "train.txt").read_text().split()
    assert [(row.unknown, row.frequency) for row in rows] == [(False, counts.count("ant")), (True, None), (False, 0)]


def test_words_are_spelled_as_they_are_written(lm):
    model = copy.deepcopy(lm.model)
    with torch.no_grad():
        # entropies that differ from token to token, which those of a model that has hardly learnt do not
        model.head.weight.normal_(std=30, generator=torch.Generator().manual_seed(1))
    lm = type(lm)(model, lm.vocabulary.prepared(Preparation(lowercase=True, tokenise=True)), lm.config, lm.folder)
    rows = lm.surprisal("Ant's BEE")
    end = lm.vocabulary.line_end
    bits, entropies = steps(lm, lm.vocabulary.encode("ant 's bee"), [end])
    assert_rows(rows, ["Ant's", "BEE"], [bits[0] + bits[1], bits[2]], [entropies[0], entropies[2], entropies[3]])
    assert [row.unknown for row in rows] == [True, False]


@pytest.mark.parametrize("context", ["sentence", "document"])
def test_the_words_of_a_byte_model_add_up_to_the_line(letters, context):
    lines = ["ant  bée", " cat"]
    rows = letters.surprisal(lines, context=context)
    assert [row.word for row in rows] == ["ant", "bée", "cat"]
    assert {(row.frequency, row.unknown, row.entropy_bits, row.reduction_bits) for row in rows} == {
        (None, False, None, None)
    }
    total = sum(row.surprisal_bits for row in rows)
    if context == "document":
        wanted = sum(steps(letters, list("ant  bée\n cat\n".encode()), [10])[0])
    else:
        scores = score_lines(letters.model, letters.vocabulary, lines)
        wanted = sum(score.figure.nats for score in scores) / math.log(2)
    assert total == pytest.approx(wanted, **CLOSE)
    # the blank between a context and a sentence is none of the sentence's words
    (row,) = letters.surprisal("bee", after="ant")
    assert row.surprisal_bits == pytest.approx(sum(steps(letters, list(b"bee\n"), list(b"\nant "))[0]), **CLOSE)


def test_what_is_no_text_or_no_context_is_refused(lm):
    assert lm.surprisal([]) == []
    assert SurprisalRow._fields[:3] == ("sentence", "word_number", "word")
    with pytest.raises(UserError, match=r"context: must be one of sentence, document \(got 'line'\)"):
        lm.surprisal("ant", context="line")
    with pytest.raises(UserError, match="texts: must be a text or a list of texts"):
        lm.surprisal(3)
    with pytest.raises(UserError, match="after: must be a text"):
        lm.surprisal("ant", after=["bee"])
    with pytest.raises(ValueError, match="context must be"):
        list(surprisal_rows(lm.model, lm.vocabulary, [], context="word"))


def test_a_text_is_one_sentence(lm):
    wanted = list(surprisal_rows(lm.model, lm.vocabulary, ["ant bee"]))
    assert list(surprisal_rows(lm.model, lm.vocabulary, "ant bee")) == wanted
