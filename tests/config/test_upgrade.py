"""Settings that version 0.1 wrote are read as what they were."""

import copy
import json
import pathlib

import pytest

from refrain.config import upgraded
from refrain.config.upgrade import FORMAT
from refrain.recipes import RECIPES, recipe

# written by version 0.1: every recipe, and recipes with every other kind of setting changed
CASES = json.loads((pathlib.Path(__file__).parents[1] / "golden" / "configs_0.1.json").read_text())
ONE_BIAS = ("model.init.biases=1",)
PLAIN = ("mlstm-bytes-reference", "model.init.truncated=false")
TAGGERS = dict.fromkeys(("pos-dense", "pos-sparse"), ONE_BIAS) | {
    "pos-sparse-descending": (*ONE_BIAS, "data.ties=none")
}
# what recipes had in version 0.1, where it has changed
SINCE = {
    **dict.fromkeys(("awd-lstm-ptb", "awd-lstm-wikitext2", "awd-lstm-mos-ptb", "awd-lstm-ptb-iss"), ONE_BIAS),
    **dict.fromkeys(("recite-dense", "recite-dense-reduced", "recite-sparse1", "recite-sparse2"), ONE_BIAS),
    "awd-lstm-ptb-finetune": (*ONE_BIAS, "training.windows.cap=none"),
    "sparse-awd-ptb": ONE_BIAS,
    "sparse-awd-ptb-finetune": (*ONE_BIAS, "training.stop_min_epochs=0"),
    **TAGGERS,
    "pos-default": (
        *("data.prefixes=3", "data.feature_min_count=2", "model.dropout=0.33"),
        *("training.learning_rate=0.002", "training.unknown_rate=0.5"),
    ),
}
# recipes that are other ones now, and what gives those of version 0.1
REPLACED = {
    "mlstm-bytes": PLAIN,
    "char-lstm": (*PLAIN, "model.cell=lstm", "model.hidden_sizes=[144]", "model.weight_norm=false"),
}

# of the recipes whose target is a percentage now
SIZES = {
    "zaremba-small-iss": ["sparsity.target.multiply_adds=1370000"],
    "awd-lstm-ptb-iss": ["sparsity.target.parameters=12000000"],
}


def test_there_is_a_document_of_every_recipe_of_version_0_1():
    plain = [case["recipe"] for case in CASES if not case["settings"]]
    assert len(plain) == 29 and set(plain) <= set(RECIPES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join([case["recipe"], *case["settings"]])[:60])
def test_a_document_of_version_0_1_is_the_experiment_that_it_was(case):
    document = case["config"]
    kept = copy.deepcopy(document)
    new = upgraded(document)
    assert document == kept and (document["format"], new["format"]) == (1, FORMAT)
    name, *changes = REPLACED.get(case["recipe"], (case["recipe"], *SINCE.get(case["recipe"], ())))
    words = [*changes, *case["settings"], *SIZES.get(case["recipe"], [])]
    wanted = recipe(name, *words).model_copy(update={"name": case["recipe"]})
    assert type(wanted).model_validate(new["experiment"]) == wanted
    # and it says all that is to be said, without help from defaults
    assert json.loads(json.dumps(new["experiment"])) == wanted.model_dump(mode="json")
