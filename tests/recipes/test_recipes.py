"""Every recipe has the settings that were published, and works when it is shrunk."""

import math
import signal

import pytest
import torch
from short_runs import Stopping, quiet

from refrain import assembly, recipe, runs
from refrain.config import Experiment
from refrain.errors import UserError
from refrain.recipes import RECIPES, description
from refrain.training import Interrupted

SHRINK = (
    "model.embedding_size=8",
    "training.batch_size=3",
    "training.window_steps=4",
    "training.epochs=2",
    "training.log_windows=2",
    "training.sample_tokens=3",
    "training.validation='exact'",
)


# taggers train shrunk in tests/runs/test_tagger_runs.py
LANGUAGE_MODELS = [name for name, build_recipe in RECIPES.items() if isinstance(build_recipe(), Experiment)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for split, lines in (("train", 12), ("valid", 4), ("test", 4)):
        (folder / f"ptb.{split}.txt").write_text(" a b c d \n b c <unk> \n" * lines)
    return folder


def test_a_recipe_takes_a_path_and_refuses_settings_that_are_no_text(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "quickstart"\nname = "mine"\n', encoding="utf-8")
    assert recipe(file).name == "mine"
    assert recipe("quickstart", {"training.epochs": 1}) == recipe("quickstart", "training.epochs=1")
    with pytest.raises(UserError, match=r"each setting is a text such as 'training.epochs=3', or a mapping .*got 3"):
        recipe("quickstart", 3)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_trains_stops_resumes_evaluates_and_loads(name, corpus, tmp_path):
    layers = len(recipe(name).model.hidden_sizes)
    stop = ["training.stop_window=1"] if recipe(name).training.stop_window else []
    trigger = ["training.optimizer.trigger_window=1"] if recipe(name).training.optimizer.kind == "nt-asgd" else []
    words = recipe(name).data.unit == "word"
    order = ["data.order='first-seen'"] if words else []
    aim = recipe(name).sparsity.target
    # of the shrunken model a little less
    size = [f"sparsity.target.{aim.chosen()[0]}=900"] if aim else []
    size += ["model.embedding.blocks=2"] if recipe(name).model.embedding.kind == "sparse" else []
    changes = [*SHRINK, f"model.hidden_sizes={[8] * layers}", *order, *stop, *trigger, *size]
    experiment = recipe(name, *changes, data=str(corpus))
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "run", progress=Stopping(2, signal.SIGINT))
    summary = runs.resume(tmp_path / "run", progress=quiet())
    assert summary["recipe"] == name and summary["epochs"] == 2
    assert math.isfinite(summary["test"]["perplexity"])
    lm = runs.load(tmp_path / "run")
    assert lm.config["training"]["epochs"] == 2
    assert lm.score("a b c").tokens == (4 if words else 6)


@pytest.mark.parametrize("name", RECIPES)
def test_says_what_it_is_and_survives_json(name):
    experiment = recipe(name)
    assert experiment.name == name
    assert "Published" in description(name) and "Ours" in description(name)
    assert type(experiment).model_validate_json(experiment.model_dump_json()) == experiment


def test_byte_mlstms_have_the_parameters_of_the_references():
    sizes = {"mlstm-bytes-reference": 174_080, "mlstm-bytes": 174_080, "mlstm-small": 717_440}
    for name, wanted in {**sizes, "mlstm-reviews": 86_319_360}.items():
        with torch.device("meta"):
            model = assembly.build_model(recipe(name).model, 256)
        assert sum(parameter.numel() for parameter in model.parameters()) == wanted


def test_the_reference_of_byte_mlstms_has_the_defaults_of_its_source():
    """The flags of train_mLSTM.py: rnn_size, embedding_size, seq_length, batch_size, num_epochs, init_lr, wn."""
    model, training = recipe("mlstm-bytes-reference").model, recipe("mlstm-bytes-reference").training
    assert (model.cell.kind, model.hidden_sizes, model.embedding_size) == ("multiplicative-lstm", (128,), 64)
    assert (model.weight_norm, model.dropout, model.tied) == (True, 0, False)
    assert (model.init.kind, model.init.truncated) == ("glorot", True)
    assert (training.window_steps, training.batch_size, training.epochs, training.learning_rate) == (32, 32, 1, 5e-4)
    assert (training.optimizer.kind, training.schedule.kind, training.state) == ("adam", "linear", "carry")
    assert training.max_norm is None and training.weight_decay == 0
    assert (training.sample_windows, training.sample_tokens) == (100, 250)


def test_the_recipe_for_bytes_clips_and_learns_faster_than_the_reference():
    reference, ours = recipe("mlstm-bytes-reference").training, recipe("mlstm-bytes").training
    assert ours.max_norm == 1 and ours.learning_rate >= 10 * reference.learning_rate
    assert recipe("mlstm-bytes").model.init.kind == "standard"


def test_the_plain_lstm_beside_the_multiplicative_one_is_as_large():
    with torch.device("meta"):
        counts = [
            sum(parameter.numel() for parameter in assembly.build_model(recipe(name).model, 256).parameters())
            for name in ("mlstm-bytes", "char-lstm")
        ]
    assert abs(counts[1] / counts[0] - 1) < 0.005


# the tutorial's presets: init_scale, max_grad_norm, num_steps, hidden_size, max_epoch, max_max_epoch, keep_prob,
# lr_decay
PRESETS = {
    "small": (0.1, 5, 20, 200, 4, 13, 1.0, 0.5),
    "medium": (0.05, 5, 35, 650, 6, 39, 0.5, 0.8),
    "large": (0.04, 10, 35, 1500, 14, 55, 0.35, 1 / 1.15),
}
# (V + 2 * 4 * 2 * H) * H + 2 * 4 * H + (H + 1) * V with one bias a layer; two biases give 8 * H more
PARAMETERS = {"small": (4_651_600, 4_653_200), "medium": (19_775_200, 19_780_400), "large": (66_022_000, 66_034_000)}


@pytest.mark.parametrize("size", PRESETS)
def test_zaremba_has_the_settings_of_the_tutorial(size):
    scale, norm, steps, width, hold, epochs, keep, decay = PRESETS[size]
    experiment = recipe(f"zaremba-{size}")
    model, training = experiment.model, experiment.training
    assert (model.init.kind, model.init.scale) == ("uniform", scale)
    assert (model.embedding_size, model.hidden_sizes) == (width, (width, width))
    assert model.dropout == pytest.approx(1 - keep) and not model.tied
    assert (training.max_norm, training.window_steps, training.epochs, training.batch_size) == (norm, steps, epochs, 20)
    assert (training.optimizer.kind, training.learning_rate, training.loss_scale) == ("sgd", 1.0, "sum-over-time")
    schedule = training.schedule
    assert (schedule.kind, schedule.hold_epochs, schedule.decay) == ("exponential", hold, decay)
    assert training.windows.tail == "drop" and training.validation == "zaremba"


@pytest.mark.parametrize("size", PRESETS)
def test_zaremba_has_the_parameters_of_the_tutorial(size):
    with torch.device("meta"):
        model = assembly.build_model(recipe(f"zaremba-{size}").model, 10_000)
    count = sum(parameter.numel() for parameter in model.parameters())
    one_bias, two_biases = PARAMETERS[size]
    width = PRESETS[size][3]
    assert count == one_bias == two_biases - 2 * 4 * width


# one bias a layer: 4 * H less for each layer of H than with two
AWD = {
    # V 10,000: 10,000 * 400 + 10,000 + 4 * 1150 * (400 + 1150 + 1) + 4 * 1150 * 2301 + 4 * 400 * 1551, +10,800
    "awd-lstm-ptb": (10_000, 24_210_800, 24_221_600),
    "awd-lstm-ptb-finetune": (10_000, 24_210_800, 24_221_600),
    "awd-lstm-wikitext2": (33_278, 33_545_278, 33_556_078),
    "awd-lstm-mos-ptb": (10_000, 21_490_460, 21_500_620),
}


@pytest.mark.parametrize("name", AWD)
def test_awd_has_the_parameters_of_the_paper(name):
    words, one_bias, two_biases = AWD[name]
    settings = recipe(name).model
    with torch.device("meta"):
        model = assembly.build_model(settings, words)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == one_bias == two_biases - 4 * sum(settings.hidden_sizes)


def test_second_stages_have_the_windows_and_the_stop_rule_of_their_code():
    # awd-lstm-lm: windows up to bptt + 10, and no fewest epochs; SparseSeqModels: bptt + 40, and more than 100 earlier
    # validations before one may end the run
    awd, sparse = (recipe(f"{name}-finetune").training for name in ("awd-lstm-ptb", "sparse-awd-ptb"))
    assert (awd.windows.cap, awd.stop_window, awd.stop_min_epochs) == (80, 5, 0)
    assert (sparse.windows.cap, sparse.stop_window, sparse.stop_min_epochs) == (110, 5, 102)


def test_awd_has_the_settings_of_its_code():
    experiment = recipe("awd-lstm-ptb")
    model, training = experiment.model, experiment.training
    assert (model.embedding_dropout, model.between_dropout, model.output_dropout) == (0.4, 0.25, 0.4)
    assert (model.word_dropout, model.weight_drop, model.tied, model.dropout_mask) == (0.1, 0.5, True, "locked")
    assert (training.learning_rate, training.max_norm, training.weight_decay) == (30.0, 0.25, 1.2e-6)
    assert (training.activation_penalty, training.temporal_penalty, training.optimizer.trigger_window) == (2.0, 1.0, 5)
    assert (training.batch_size, training.window_steps, training.loss_scale) == (20, 70, "mean-over-tokens")


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'zaremba-small'"):
        recipe("zaremba-smal")
    with pytest.raises(UserError, match="did you mean 'quickstart'"):
        description("quikstart")
