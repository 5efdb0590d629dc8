"""The name of a run, with which its default folder begins, leads to no other folder on any system."""

from pathlib import Path

import pytest

from refrain.config import Experiment, TaggerExperiment
from refrain.errors import CheckpointError, UserError
from refrain.recipes import recipe
from refrain.runs.config_document import config_document, experiment_from

BAD = [
    "../../x", "/absolute", "a/b", "a\\b", "c:x", "a\0b", "a\nb", "a\x1b[31m", "\ud800", "", " ", ".", "..", "...",
    ".hidden", " a", "a ", "x" * 101, "é" * 51, "CON", "nul", "Com1.txt", "lpt9", "\u202e",
]  # fmt: skip
GOOD = ["mine", "zaremba-small 2", "x" * 100, "é" * 50, "v1.5", "a..b", "console", "com", "<b>&'\""]


@pytest.mark.parametrize("name", BAD, ids=repr)
@pytest.mark.parametrize("settings", [Experiment, TaggerExperiment])
def test_a_name_that_could_lead_elsewhere_is_refused(name, settings):
    with pytest.raises(ValueError, match="must"):
        settings(name=name)
    document = config_document(settings())
    document["experiment"]["name"] = name
    with pytest.raises(CheckpointError, match="name: must") as failure:
        experiment_from(document, Path("run"))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", GOOD)
def test_every_other_name_is_accepted(name, tmp_path):
    assert Experiment(name=name).name == name
    folder = tmp_path / f"{name}-20260101-000000"
    folder.mkdir()
    assert folder.parent == tmp_path


def test_the_line_of_a_bad_name_is_reported(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('extends = "zaremba-small"\nname = "../../x"\n')
    with pytest.raises(UserError, match=r"mine.toml:2: name: must not contain '/', '\\' or ':' \(got '../../x'\)$"):
        recipe(str(file))
    with pytest.raises(
        UserError, match=r"(command line|argument settings): name: must not be empty or dots alone \(got '\.\.'\)$"
    ):
        recipe("zaremba-small", "name='..'")
