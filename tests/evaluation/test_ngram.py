"""N-gram models: their files, their probabilities, and their mixture with a network."""

import gzip
import itertools
import math
import sys
import types

import numpy as np
import pytest
import torch
from memory_text import MemoryText

from refrain import runs
from refrain.data import WordVocabulary
from refrain.errors import DataError, UserError
from refrain.evaluation import score_lines, score_prefix_tree, surprisal_rows
from refrain.evaluation.interpolation import (
    MixedStepper,
    best_weight,
    contexts_after,
    first_contexts,
    fit_weight,
    mixed_figure,
)
from refrain.evaluation.ngram.arpa import read_arpa
from refrain.evaluation.ngram.backoff import NONE
from refrain.evaluation.ngram.words import BEGIN, KENLM_START, ArpaWords, KenlmWords, read_word_model

# p(ant) = 0.5, p(bee) = 0.2, p(</s>) = 0.2, p(<unk>) = 0.1; after <s>: p(ant) = 0.8; after ant: p(bee) = 0.6;
# after <s> ant: p(bee) = 0.9; weights that make each context sum to one
UNIGRAMS = {"<s>": 0.0, "ant": 0.5, "bee": 0.2, "</s>": 0.2, "<unk>": 0.1}
WEIGHTS = {("<s>",): 0.2 / 0.5, ("ant",): 0.4 / 0.8, ("<s>", "ant"): 0.1 / 0.4}
LONGER = {("<s>", "ant"): 0.8, ("ant", "bee"): 0.6, ("<s>", "ant", "bee"): 0.9}


def arpa(longer=LONGER, unigrams=UNIGRAMS):
    def line(words, probability):
        decimal = math.log10(probability) if probability else -99
        weight = f"\t{math.log10(WEIGHTS[words])}" if words in WEIGHTS else ""
        return f"{decimal}\t{' '.join(words)}{weight}"

    sections = [[line((word,), probability) for word, probability in unigrams.items()]]
    for length in (2, 3):
        sections.append([line(words, value) for words, value in longer.items() if len(words) == length])
    counts = [f"ngram {length}={len(section)}" for length, section in enumerate(sections, 1)]
    body = [row for length, section in enumerate(sections, 1) for row in ("", f"\\{length}-grams:", *section)]
    return "\n".join(["", "\\data\\", *counts, *body, "", "\\end\\", ""])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "three.arpa"
    path.write_text(arpa())
    return path


VOCABULARY = WordVocabulary(["<eos>", "<unk>", "ant", "bee"])
WIDER = WordVocabulary(["bee", "zebra", "<unk>", "cat", "<eos>"])


def test_probabilities_worked_by_hand(file):
    model = read_arpa(file)
    assert (model.order, model.words) == (3, list(UNIGRAMS))
    by_hand = [
        # listed; backed off once: 0.25 * 0.5 * 0.2; twice, from a context that is not listed; from the beginning
        (["<s>", "ant"], "bee", 0.9),
        (["<s>", "ant"], "</s>", 0.25 * 0.5 * 0.2),
        (["bee", "bee"], "ant", 0.5),
        ([None, "ant"], "bee", 0.6),
        (["bee", "ant"], "ant", 0.5 * 0.5),
        ([None, "<s>"], "bee", 0.4 * 0.2),
    ]
    contexts = np.array([[NONE if word is None else model.index[word] for word in each] for each, _, _ in by_hand])
    words = np.array([model.index[word] for _, word, _ in by_hand])
    found = np.exp(model.log_probabilities(contexts, words))
    assert found == pytest.approx([value for _, _, value in by_hand])
    for context, word, value in zip(contexts, words, found, strict=True):
        every = np.exp(model.distribution(context))
        assert every[word] == pytest.approx(value) and every.sum() == pytest.approx(1)


def test_a_compressed_file_and_other_blanks_are_read_alike(file, tmp_path):
    packed = tmp_path / "three.arpa.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    other = tmp_path / "blanks.arpa"
    other.write_text(f"made by hand\n{arpa()}".replace("\t", "  ").replace("\n", "\r\n"))
    contexts, words = np.array([[NONE, 0], [0, 1]]), np.array([1, 2])
    wanted = read_arpa(file).log_probabilities(contexts, words)
    for path in (packed, other):
        assert read_arpa(path).log_probabilities(contexts, words) == pytest.approx(wanted)


DAMAGE = {
    "no ARPA": (r"\data" + "\\", "data", r"data.* is missing|ends before"),
    "a size that is no number": ("ngram 2=2", "ngram 2=two", r":4: .*'ngram 2='"),
    "a size that is missing": ("ngram 2=2\n", "", r":4: .*'ngram 2='"),
    "more announced": ("ngram 2=2", "ngram 2=999999999999", "2 n-grams of 2 words are listed, but 999,999"),
    "a section that is missing": ("\\2-grams:", "\\3-grams:", r":14: the line .2-grams: is expected"),
    "no end": ("\\end\\", "", r"ends before .end"),
    "a number that is none": ("\tant bee", "x\tant bee", r":16: .* is no number"),
    "infinity": ("0.17609125905568124", "inf", r"not finite|no number"),
    "a probability above 1": ("-0.0457", "0.0457", r":19: the probability is larger than 1"),
    "a word's above 1": (f"{math.log10(0.2)}\tbee", "0.1\tbee", r":10: the probability is larger than 1"),
    "too many words": ("ant bee\n\n", "ant bee bee bee\n\n", ":16: a number, 2 words and"),
    "a word that is unknown": ("ant bee\n\n", "ant zebra\n\n", r":16: the word 'zebra' is not among the 1-grams"),
    "a word twice": ("\tbee\n", "\tant\n", r":10: the word 'ant' is listed twice"),
    "a word in no UTF-8": ("\tbee\n", "\tbe\udcffe\n", r":10: the word 'be.e' is invalid UTF-8; convert the file"),
    "an n-gram twice": ("<s> ant bee\n", "<s> ant bee\n-1\t<s> ant bee\n", r"twice|listed, but"),
    "a beginning that is missing": ("<s> ant bee\n", "ant ant bee\n", r":19: the n-gram begins with 'ant ant'"),
    "zeros": ("ngram 1=5", "\0" * 50, r":3: "),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named_in_one_line(file, name):
    old, new, message = DAMAGE[name]
    text = arpa()
    if name == "infinity":
        text, old = text, "\t" + str(math.log10(0.4 / 0.8))
        new = "\tinf"
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=message) as caught:
        read_arpa(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_every_beginning_of_a_file_is_refused_and_none_takes_long(file):
    whole = file.read_bytes().rstrip()
    for stop in range(1, len(whole)):
        file.write_bytes(whole[:stop])
        with pytest.raises(DataError):
            read_arpa(file)


def all_contexts(vocabulary):
    ids = [*range(len(vocabulary)), NONE, BEGIN]
    return np.array([[one, other] for one, other in itertools.product(ids, ids) if other >= 0 or one == NONE])


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WIDER], ids=["the same words", "others"])
@pytest.mark.parametrize("longer", [LONGER, {}], ids=["trigrams", "listed alone"])
def test_probabilities_sum_to_one_over_the_vocabulary_of_the_network(tmp_path, vocabulary, longer):
    path = tmp_path / "model.arpa"
    text = arpa(longer) if longer else arpa().replace("<unk>", "<other>")
    path.write_text(text)
    model = ArpaWords(read_arpa(path), vocabulary, path)
    for context in all_contexts(vocabulary):
        every = model.distribution(context)
        assert np.exp(every).sum() == pytest.approx(1)
        one_by_one = model.log_probabilities(np.repeat(context[None], len(every), 0), np.arange(len(every)))
        np.testing.assert_allclose(np.exp(one_by_one), np.exp(every), atol=1e-12)


def test_words_that_only_one_of_the_models_has(file):
    """Those that the n-gram model lacks share `<unk>`, and what only it has is left to the network's `<unk>`."""
    model = ArpaWords(read_arpa(file), WIDER, file)
    found = np.exp(model.distribution(np.array([NONE, WIDER.index["bee"]])))
    assert dict(zip(WIDER.words, found, strict=True)) == pytest.approx(
        {"bee": 0.2, "zebra": 0.1 / 3, "cat": 0.1 / 3, "<unk>": 0.1 / 3 + 0.5, "<eos>": 0.2}
    )


@pytest.fixture
def kenlm(monkeypatch, file):
    """A stand-in for the package kenlm, which computes with our own reader."""
    model = read_arpa(file)

    class State:
        words = (NONE, NONE)

    class Model:
        order = 3

        def __init__(self, path):
            if "damaged" in path:
                raise OSError("Cannot read model\nthere")

        def __contains__(self, word):
            return word in model.index

        def BeginSentenceWrite(self, state):
            state.words = (NONE, model.index["<s>"])

        def NullContextWrite(self, state):
            state.words = (NONE, NONE)

        def BaseScore(self, state, word, after):
            number = model.index.get(word, model.index["<unk>"])
            after.words = (state.words[1], number)
            found = model.log_probabilities(np.array([state.words]), np.array([number]))
            return float(found[0]) / math.log(10)

    monkeypatch.setitem(sys.modules, "kenlm", types.SimpleNamespace(State=State, Model=Model))


@pytest.mark.parametrize("vocabulary", [VOCABULARY, WIDER], ids=["the same words", "others"])
def test_a_binary_file_of_kenlm_is_equal(kenlm, file, vocabulary, tmp_path):
    binary = tmp_path / "model.binary"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0" * 3)
    model, other = ArpaWords(read_arpa(file), vocabulary, file), read_word_model(binary, vocabulary)
    assert isinstance(other, KenlmWords) and other.order == model.order
    for context in all_contexts(vocabulary):
        np.testing.assert_allclose(np.exp(other.distribution(context)), np.exp(model.distribution(context)), atol=1e-12)
    contexts, words = np.array([[BEGIN, 0], [NONE, BEGIN]]), np.array([1, 2])
    np.testing.assert_allclose(
        other.log_probabilities(contexts, words), model.log_probabilities(contexts, words), atol=1e-9
    )


@pytest.mark.parametrize("content", [b"ant bee cat\n", b"\0" * 100, b""])
def test_a_file_of_something_else(content, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(DataError, match="neither an ARPA file nor a binary file of KenLM"):
        read_word_model(other, VOCABULARY)


def test_without_kenlm_or_with_a_damaged_file_of_it(kenlm, monkeypatch, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.write_bytes(KENLM_START + b" 5\n\0" + b"\0" * 100)
    with pytest.raises(DataError, match=r"KenLM cannot read this binary file \(.*Cannot read model there"):
        read_word_model(damaged, VOCABULARY)
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UserError, match="pip install kenlm"):
        read_word_model(damaged, VOCABULARY)


@pytest.fixture(scope="module")
def lm(tiny_run):
    return runs.load(tiny_run)


@pytest.fixture
def mixture(lm, file):
    return MixedStepper(lm.stepper, read_word_model(file, lm.vocabulary), lm.vocabulary, 0.3)


LINES = ["ant bee cat", "", "ant", "zebra bee ant bee", "ant bee", "bee <unk>"]


def test_a_line_costs_what_its_steps_cost(lm, mixture):
    """The probabilities of each step sum to one, and are 0.7 and 0.3 times those of the models."""
    scores = list(score_lines(mixture, lm.vocabulary, LINES))
    ngrams = mixture._ngrams
    for line, score in zip(LINES, scores, strict=True):
        ids = lm.vocabulary.encode(line + "\n")
        state, other, nats = mixture.initial_state(1), lm.initial_state(), 0.0
        history = [NONE, BEGIN]
        for before, target in zip([lm.vocabulary.line_end, *ids], ids, strict=False):
            found, state = mixture.step(torch.tensor([before]), state)
            network, other = lm.step(torch.tensor([before]), other)
            assert float(found.exp().sum()) == pytest.approx(1, abs=1e-5)
            listed = np.exp(ngrams.distribution(np.array(history[-2:])))
            wanted = 0.7 * network[0].exp().numpy() + 0.3 * listed
            np.testing.assert_allclose(found[0].exp().numpy(), wanted, atol=1e-6)
            nats -= float(found[0, target])
            history.append(target)
        assert score.figure.nats == pytest.approx(nats, rel=1e-5)
    tree = score_prefix_tree(mixture, lm.vocabulary, LINES).lines
    assert [each.figure.nats for each in tree] == pytest.approx([each.figure.nats for each in scores], rel=1e-5)
    assert mixture.shares_prefixes
    many = list(score_lines(mixture, lm.vocabulary, LINES * 20))
    assert [each.figure.nats for each in many] == pytest.approx([each.figure.nats for each in scores] * 20, rel=1e-5)
    rows = [row for row in surprisal_rows(mixture, lm.vocabulary, LINES[:1]) if row.sentence == 1]
    end = scores[0].figure.nats / math.log(2) - sum(row.surprisal_bits for row in rows)
    assert len(rows) == 3 and end > 0


def test_a_weight_of_zero_is_the_network(lm, file):
    mixture = MixedStepper(lm.stepper, read_word_model(file, lm.vocabulary), lm.vocabulary, 0.0)
    found, wanted = (list(score_lines(each, lm.vocabulary, LINES)) for each in (mixture, lm.stepper))
    assert [each.figure.nats for each in found] == pytest.approx([each.figure.nats for each in wanted])
    with pytest.raises(ValueError, match="less than 1"):
        MixedStepper(lm.stepper, mixture._ngrams, lm.vocabulary, 1.0)


def test_contexts_end_at_the_beginning_of_a_line():
    """Two sequences, whose line end is 0, in one window and in two."""
    read = torch.tensor([[0, 7], [5, 0], [6, 8], [0, 9]])
    wanted = [
        [[NONE, NONE, BEGIN], [NONE, BEGIN, 7]],
        [[NONE, BEGIN, 5], [NONE, NONE, BEGIN]],
        [[BEGIN, 5, 6], [NONE, BEGIN, 8]],
        [[NONE, NONE, BEGIN], [BEGIN, 8, 9]],
    ]
    assert contexts_after(read, first_contexts(2, 3), 0).tolist() == wanted
    middle = contexts_after(read[:2], first_contexts(2, 3), 0)[-1]
    assert contexts_after(read[2:], middle, 0).tolist() == wanted[2:]
    assert contexts_after(read, first_contexts(2, 0), 0).shape == (4, 2, 0)


def test_the_weight_is_that_of_the_best_mixture_of_the_text(lm, mixture):
    text = MemoryText(lm.vocabulary.encode("\n".join(["", *LINES * 30, "ant bee", ""])))
    fitted = fit_weight(mixture, text)
    assert 0 < fitted.weight < 1
    best = mixed_figure(MixedStepper(lm.stepper, mixture._ngrams, lm.vocabulary, fitted.weight), text, lm.vocabulary)
    assert best.nats == pytest.approx(fitted.mixed.nats, rel=1e-5)
    for weight in (fitted.weight - 0.02, fitted.weight + 0.02):
        if 0 <= weight < 1:
            other = mixed_figure(MixedStepper(lm.stepper, mixture._ngrams, lm.vocabulary, weight), text, lm.vocabulary)
            assert other.nats > best.nats
    assert fitted.mixed.nats <= min(fitted.network.nats, fitted.ngrams.nats) * (1 + 1e-6)


def test_expectation_maximisation_finds_the_largest_likelihood():
    draw = np.random.default_rng(1)
    one, other = np.log(draw.uniform(0.01, 1, (2, 400)))
    other[:5] = -np.inf
    weights = np.linspace(0.001, 0.999, 999)
    likelihoods = [np.logaddexp(one + np.log1p(-weight), other + np.log(weight)).sum() for weight in weights]
    assert best_weight(one, other) == pytest.approx(weights[int(np.argmax(likelihoods))], abs=2e-3)
    assert best_weight(one, one - 1) < 1e-3 and best_weight(one - 1, one) > 1 - 1e-3
