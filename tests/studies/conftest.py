import pytest
from kinds_of_runs import KINDS, QUIET, SMALL

from refrain import recipe, train


@pytest.fixture(scope="module")
def runs(tiny_corpus, tmp_path_factory):
    """Runs of each kind, made when they are first used."""
    folder = tmp_path_factory.mktemp("runs")

    def run(kind):
        if not (folder / kind).exists():
            train(recipe("zaremba-small", *SMALL, *KINDS[kind], data=str(tiny_corpus)), folder / kind, progress=QUIET)
        return folder / kind

    return run
