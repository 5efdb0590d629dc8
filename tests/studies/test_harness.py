"""The adapter for lm-eval: documents are read with the state carried, and its figures are those of refrain."""

import contextlib
import io
import json
import math
import sys
import warnings

import pytest
import torch

from refrain.cli.app import main
from refrain.errors import UserError
from refrain.runs import load_language_model
from refrain.studies import harness
from refrain.studies.harness import Answers, harness_model

DOCUMENTS = ["ant bee cat\ndog ant\n", "bee bee\nant dog cat bee\nant\n" * 9]


def ours(lm, text):
    """The nats of a text after a line end, in one window."""
    ids = torch.tensor([lm.vocabulary.line_end, *lm.vocabulary.encode(text)])[:, None]
    with torch.no_grad():
        return float(lm.model(ids[:-1], ids[1:], lm.initial_state())[0])


@pytest.fixture(scope="module", params=["words", "bytes"])
def lm(request):
    return load_language_model(request.getfixturevalue("tiny_run" if request.param == "words" else "byte_run"))


@pytest.mark.parametrize("window", [5, 512])
def test_the_state_is_carried_through_a_document(lm, window, monkeypatch):
    monkeypatch.setattr(harness, "WINDOW_TOKENS", window)
    for text in DOCUMENTS:
        assert Answers(lm).document_nats(text) == pytest.approx(ours(lm, text), rel=1e-6)


def test_context_and_continuation_are_the_document(lm):
    answers = Answers(lm)
    text = DOCUMENTS[1]
    for cut in (0, 4, 40, len(text)):
        context, continuation = text[:cut], text[cut:]
        nats, _ = answers.continuation_nats(context, continuation)
        assert nats == pytest.approx(ours(lm, text) - ours(lm, context) if cut else ours(lm, text), abs=1e-4)
    assert answers.continuation_nats(text, "") == (0.0, True)


def test_the_choices_of_a_question_do_not_change_each_other(lm):
    answers = Answers(lm)
    together = [answers.continuation_nats("ant bee", choice) for choice in (" cat", " dog", " cat")]
    alone = [Answers(lm).continuation_nats("ant bee", choice) for choice in (" cat", " dog", " cat")]
    assert together == alone
    assert together[0] != together[1]


def test_greedy_is_what_the_model_would_write(lm):
    answers = Answers(lm)
    written = answers.continued("ant bee", {"until": ["\n"], "max_gen_toks": 4, "do_sample": False})
    assert "\n" not in written
    if written:
        assert answers.continuation_nats("ant bee", written)[1]
    assert not answers.continuation_nats("ant", " dog cat dog bee ant cat dog")[1]


def test_text_ends_before_any_of_the_stops_and_at_the_limit(lm):
    options = {"max_gen_toks": 30, "do_sample": True, "temperature": 1.0, "seed": 3}
    whole = Answers(lm).continued("ant", options)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert Answers(lm).continued("ant", {**options, "until": [stop, "never"]}) == whole[: whole.index(stop)]
    assert Answers(lm).continued("ant", {**options, "until": stop}) == whole[: whole.index(stop)]
    # a byte that is no character is written as U+FFFD, which has three
    assert len(lm.vocabulary.encode(whole.replace("\ufffd", "?"))) <= 30


def test_without_lm_eval_the_remedy_is_named(tiny_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(UserError, match=r"pip install 'refrain-lm\[harness\]'"):
        harness_model(tiny_run)


@pytest.fixture(scope="module")
def lm_eval():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("lm_eval")


class Documents(list):
    """What lm-eval reads of a data set, without the package that makes files of it."""

    @property
    def features(self):
        return self[0]


def task_of(name, documents, **config):
    """A task of lm-eval made of documents here, with nothing to download."""
    from lm_eval.api.task import ConfigurableTask

    class Made(ConfigurableTask):
        def download(self, dataset_kwargs=None, **more):
            self.dataset = {"test": Documents(documents)}

    return Made(config={"task": name, "dataset_path": "made", "test_split": "test", **config})


@pytest.mark.filterwarnings("ignore")
def test_figures_of_lm_eval_are_ours(lm_eval, tiny_run, byte_run):
    for run in (tiny_run, byte_run):
        lm = load_language_model(run)
        rolling = task_of(
            "documents",
            [{"text": text} for text in DOCUMENTS],
            output_type="loglikelihood_rolling",
            doc_to_text="",
            doc_to_target="{{text}}",
            metric_list=[{"metric": "bits_per_byte"}, {"metric": "byte_perplexity"}],
        )
        choice = task_of(
            "choices",
            [{"text": "ant bee", "choices": ["cat", "dog", "bee"], "gold": gold} for gold in range(3)],
            output_type="multiple_choice",
            doc_to_text="{{text}}",
            doc_to_target="gold",
            doc_to_choice="choices",
            metric_list=[{"metric": "acc"}],
        )
        written = task_of(
            "written",
            [{"text": "ant bee", "wanted": Answers(lm).continued("ant bee", {"until": ["\n"], "do_sample": False})}],
            output_type="generate_until",
            doc_to_text="{{text}}",
            doc_to_target="{{wanted}}",
            generation_kwargs={"until": ["\n"], "do_sample": False},
            metric_list=[{"metric": "exact_match"}],
        )
        tasks = {"documents": rolling, "choices": choice, "written": written}
        found = lm_eval.evaluate(harness_model(run), tasks, bootstrap_iters=0, log_samples=False)["results"]
        bits = sum(ours(lm, text) for text in DOCUMENTS) / math.log(2)
        size = sum(len(text.encode()) for text in DOCUMENTS)
        assert found["documents"]["bits_per_byte,none"] == pytest.approx(bits / size, rel=1e-6)
        # of three questions that differ in the answer that is called right, the model answers one
        assert found["choices"]["acc,none"] == pytest.approx(1 / 3)
        assert found["written"]["exact_match,none"] == 1.0


def test_a_document_of_bytes_has_the_bits_that_evaluate_reports(byte_run, tmp_path):
    text = "\n" + DOCUMENTS[1]
    (tmp_path / "text.txt").write_text(text)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["evaluate", str(byte_run), "--data", str(tmp_path / "text.txt"), "--json"]) == 0
    found = json.loads(out.getvalue())
    bits = Answers(load_language_model(byte_run)).document_nats(DOCUMENTS[1]) / math.log(2)
    assert bits / len(DOCUMENTS[1]) == pytest.approx(found["bits_per_byte"], rel=1e-6)
    assert torch.is_grad_enabled()
