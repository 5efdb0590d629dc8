import pytest
import torch
from table import MODELS


@pytest.fixture(params=MODELS)
def model(request):
    """Each model under the laws, with random weights in float64."""
    torch.manual_seed(1)
    model = MODELS[request.param]().double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model
