"""What every head keeps: its distribution is normalised, its loss is that distribution's, its gradients are exact."""

import pytest
import torch
from table import HEADS, B, H, T, V

import refrain.nn.heads
from refrain.nn import AdaptiveHead, Embedding, LowRankHead, MixtureHead, SoftmaxHead
from refrain.nn.heads import linear_cross_entropy as fused
from refrain.nn.heads.softmax_gradient import scaled, softmax_gradient_, softmax_gradient_reference_
from refrain.nn.kernels import call as calls
from refrain.nn.kernels.backend import TORCH, Backend, use_backend


@pytest.fixture(params=HEADS)
def head(request):
    torch.manual_seed(1)
    head = HEADS[request.param]().double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


@pytest.fixture
def hidden():
    return torch.randn(T, B, H, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()


@pytest.fixture
def targets():
    return torch.randint(V, (T, B), generator=torch.Generator().manual_seed(5))


def test_the_table_holds_every_exported_head():
    exported = {name for name in dir(refrain.nn.heads) if name.endswith("Head") and name != "Head"}
    assert exported == {name.partition(",")[0] for name in HEADS}


def test_probabilities_sum_to_one(head, hidden):
    total = head.log_probabilities(hidden).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_loss_is_the_sum_of_the_targets_nats(head, hidden, targets):
    wanted = -head.log_probabilities(hidden).gather(-1, targets[..., None])[..., 0]
    torch.testing.assert_close(head.token_nats(hidden, targets), wanted)
    torch.testing.assert_close(head(hidden, targets), wanted.sum())


@pytest.mark.parametrize("chunk", [1, V, 3 * V + 1, 10_000])
def test_all_gradients_equal_those_of_the_distribution(head, hidden, targets, chunk, monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_LOGITS", chunk)
    leaves = [hidden, *head.parameters()]
    plain = -head.log_probabilities(hidden).gather(-1, targets[..., None]).sum()
    # a factor that is not 1, as a loss scale would be
    wanted = torch.autograd.grad(0.37 * plain, leaves)
    got = torch.autograd.grad(0.37 * head(hidden, targets), leaves)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_fused_loss_equals_its_reference_in_float32():
    torch.manual_seed(2)
    hidden = torch.randn(9, H, requires_grad=True)
    weight, bias = torch.randn(V, H, requires_grad=True), torch.randn(V, requires_grad=True)
    targets = torch.randint(V, (9,))
    leaves = [hidden, weight, bias]
    wanted = fused.linear_cross_entropy_reference(hidden, weight, bias, targets)
    got = fused.linear_cross_entropy(hidden, weight, bias, targets)
    torch.testing.assert_close(got, wanted)
    pairs = zip(torch.autograd.grad(got, leaves), torch.autograd.grad(wanted, leaves), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_a_target_whose_probability_underflows_has_exact_nats():
    # logits 0 and 200: the nats of the first are log(1 + e^200) = 200 to the last digit of float32
    hidden, bias = torch.ones(1, 1, requires_grad=True), torch.zeros(2)
    weight = torch.tensor([[0.0], [200.0]])
    for target, nats in ((0, 200.0), (1, 0.0)):
        assert fused.linear_cross_entropy(hidden, weight, bias, torch.tensor([target])).item() == nats


def test_a_loss_refuses_a_second_pass_and_a_second_derivative_which_the_distribution_has(head, hidden, targets):
    loss = head(hidden, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="the loss of a head can be differentiated once; call the head again"):
        loss.backward()
    # without the refusal it would be missing, and for a mixture or an adaptive head wrong
    with pytest.raises(RuntimeError, match=r"has no second derivative; .*head\.log_probabilities\(hidden\)"):
        torch.autograd.grad(head(hidden, targets), hidden, create_graph=True)

    def plain(values):
        return -head.log_probabilities(values).gather(-1, targets[..., None]).sum()

    assert torch.autograd.gradgradcheck(plain, hidden)


def test_a_tied_head_shares_the_weight_and_its_gradient():
    embedding = Embedding(V, H)
    head = SoftmaxHead(H, V, weight=embedding.weight)
    assert head.weight is embedding.weight
    ids = torch.tensor([[1, 2]])
    head(embedding(ids), torch.tensor([[3, 4]])).backward()
    assert embedding.weight.grad is not None
    with pytest.raises(ValueError, match="as wide as the last layer"):
        SoftmaxHead(H + 1, V, weight=embedding.weight)


def test_an_adaptive_head_may_meet_no_word_of_a_cluster():
    torch.manual_seed(1)
    head = HEADS["AdaptiveHead"]().double()
    hidden, targets = torch.randn(5, H, dtype=torch.float64, requires_grad=True), torch.zeros(5, dtype=torch.long)
    leaves = [hidden, *head.parameters()]
    plain = -head.log_probabilities(hidden)[:, 0].sum()
    wanted = torch.autograd.grad(plain, leaves, materialize_grads=True)
    for got, expected in zip(torch.autograd.grad(head(hidden, targets), leaves), wanted, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_works_under_autocast(name):
    torch.manual_seed(1)
    head, hidden, targets = HEADS[name](), torch.randn(T, B, H, requires_grad=True), torch.randint(V, (T, B))
    wanted = head(hidden, targets).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head(hidden.bfloat16(), targets)
    loss.float().backward()
    # bfloat16 keeps 8 bits: a relative 2**-8 for each of a few roundings
    assert loss.item() == pytest.approx(wanted, rel=0.02)
    assert hidden.grad.isfinite().all()


@pytest.mark.compiler
@pytest.mark.parametrize("name", HEADS)
def test_kernels_give_the_loss_and_gradients_of_plain_operations(name, monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_LOGITS", 2 * V)
    torch.manual_seed(1)
    head, hidden, targets = HEADS[name](), torch.randn(T, B, H, requires_grad=True), torch.randint(V, (T, B))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    leaves = [hidden, *head.parameters()]
    results = {}
    for backend in (TORCH, Backend(native=True)):
        use_backend(head, backend)
        loss = head(hidden, targets)
        results[backend] = [loss, *torch.autograd.grad(0.37 * loss, leaves)]
    for got, wanted in zip(results[Backend(native=True)], results[TORCH], strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kernels", [False, pytest.param(True, marks=pytest.mark.compiler)])
@pytest.mark.parametrize("name", HEADS)
def test_in_bf16_the_loss_and_gradients_are_near_and_evaluation_is_exact(name, kernels):
    torch.manual_seed(1)
    head, hidden, targets = HEADS[name](), torch.randn(T, B, H, requires_grad=True), torch.randint(V, (T, B))
    leaves = [hidden, *head.parameters()]
    wanted = [head(hidden, targets), *torch.autograd.grad(head(hidden, targets), leaves)]
    exact = head.token_nats(hidden, targets)
    use_backend(head, Backend(native=kernels, bf16=True))
    got = [head(hidden, targets), *torch.autograd.grad(head(hidden, targets), leaves)]
    # bfloat16 keeps 8 bits: a relative 2**-8 for each of a few roundings, of entries that partly cancel
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 0.02 * other.norm() + 1e-6
    assert torch.equal(head.token_nats(hidden, targets), exact)
    head.eval()
    assert torch.equal(head(hidden, targets), wanted[0])


@pytest.mark.parametrize("name", HEADS)
def test_no_more_logits_are_held_than_a_chunk(name, monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_LOGITS", 4 * V)
    held = []

    def spy(logits, *arguments, **options):
        held.append(logits.numel())
        return softmax_gradient_(logits, *arguments, **options)

    monkeypatch.setattr(fused, "softmax_gradient_", spy)
    head = HEADS[name]()
    head(torch.randn(T, B, H), torch.randint(V, (T, B))).detach()
    assert len(held) > 3 and max(held) <= 4 * V


@pytest.mark.compiler
@pytest.mark.parametrize("words", [1, 2, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_softmax_kernel_equals_its_reference(words, kind, scale):
    generator = torch.Generator().manual_seed(3)
    logits = (scale * torch.randn(5, words, generator=generator)).to(kind)
    bias, targets = torch.randn(words, generator=generator), torch.randint(words, (5,), generator=generator)
    wanted, got = logits.clone(), logits.clone()
    wanted_totals, totals = torch.ones(words), torch.ones(words)
    nats = softmax_gradient_reference_(wanted, bias, targets, wanted_totals)
    torch.testing.assert_close(softmax_gradient_(got, bias, targets, totals, native=True), nats)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(totals, wanted_totals, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(softmax_gradient_(logits, bias, targets, native=True), nats)


@pytest.mark.parametrize("method", ["forward", "token_nats"])
def test_each_hidden_vector_needs_a_target_of_its_own(head, hidden, targets, method):
    for wrong in (targets.T, targets[:1], targets.flatten(), targets[0]):
        with pytest.raises(ValueError, match=r"need targets of shape .* \(got "):
            getattr(head, method)(hidden, wrong)


def test_a_single_hidden_vector_has_a_loss_and_a_distribution(head, hidden, targets):
    alone, target = hidden[0, 0], targets[0, 0]
    log_probabilities = head.log_probabilities(alone)
    torch.testing.assert_close(log_probabilities, head.log_probabilities(hidden)[0, 0])
    torch.testing.assert_close(head(alone, target), -log_probabilities[target])
    torch.testing.assert_close(head.token_nats(alone, target), -log_probabilities[target])


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_one_target_is_not_broadcast_over_rows(rows):
    hidden, weight, bias = torch.randn(4, 3), torch.randn(V, 3), torch.zeros(V)
    targets = torch.zeros(rows, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"targets have shape|need targets"):
        fused.linear_cross_entropy(hidden, weight, bias, targets)
    with pytest.raises(ValueError, match="targets have shape"):
        fused.mixture_cross_entropy(hidden[:, None], torch.zeros(4, 1), weight, bias, targets)
    with pytest.raises(ValueError, match="targets have shape"):
        fused.blocks_cross_entropy([hidden], [weight], bias, targets)


@pytest.mark.compiler
@pytest.mark.parametrize("count", [1, 16, 37])
def test_the_scaling_kernel_equals_torch(count):
    gradient, factor = torch.randn(count).bfloat16(), torch.tensor(0.3)
    wanted = gradient.float() * factor
    for kernels in (True, False):
        assert torch.equal(scaled(gradient, factor, native=kernels), wanted)
    alone = torch.randn(count)
    assert torch.equal(scaled(alone.clone(), factor, native=True), alone * factor)


@pytest.mark.compiler
def test_the_softmax_kernel_lets_no_bad_number_or_target_pass():
    targets = torch.tensor([0, 1, 2])
    logits = torch.tensor([[1.0, torch.nan, 2.0], [torch.inf, 0.0, 1.0], [0.0, -torch.inf, 0.0]])
    nats = softmax_gradient_(logits, None, targets, native=True)
    assert nats.isnan().tolist() == [True, True, False]
    for bad in (-1, 3):
        with pytest.raises(IndexError, match="targets must be in"):
            softmax_gradient_(torch.zeros(1, 3), None, torch.tensor([bad]), native=True)


@pytest.mark.compiler
def test_a_kernel_that_fails_is_left_out_and_said_once(monkeypatch):
    monkeypatch.setattr(calls, "_failed", {})

    def kernel(*arguments):
        return 1

    kernel.argtypes = None

    class Library:
        softmax_gradient_float32 = staticmethod(kernel)

    monkeypatch.setattr(calls, "load", lambda name: Library)
    logits, targets = torch.randn(3, V), torch.tensor([1, 2, 3])
    wanted = softmax_gradient_(logits.clone(), None, targets, native=False)
    with pytest.warns(UserWarning, match="softmax_gradient_float32 failed .no memory was left") as caught:
        for _ in range(2):
            assert torch.equal(softmax_gradient_(logits.clone(), None, targets, native=True), wanted)
    assert len(caught) == 1 and list(calls.failures()) == ["softmax_gradient_float32"]


@pytest.mark.parametrize("bad", [-1, 3])
def test_targets_are_checked_without_kernels_too(bad):
    with pytest.raises(IndexError, match="targets must be in"):
        softmax_gradient_(torch.zeros(1, 3), None, torch.tensor([bad]), native=False)


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0)])
def test_sizes_must_be_positive(sizes):
    with pytest.raises(ValueError, match="must be positive"):
        SoftmaxHead(*sizes)
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveHead(*sizes, cutoffs=[1])


@pytest.mark.parametrize("division", [0, -2.0, float("nan")])
def test_the_division_of_clusters_must_be_positive(division):
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveHead(8, 5, cutoffs=[2], division=division)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("autocast", [False, True])
def test_vectors_of_half_the_precision_are_measured_in_that_of_the_weights(name, autocast, targets):
    """As those of a recurrent layer under autocast."""
    head = HEADS[name]()
    hidden = torch.randn(T, B, H).bfloat16()
    wanted = head.token_nats(hidden.float(), targets)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = head.token_nats(hidden, targets)
        loss = head(hidden, targets)
    assert found.dtype == torch.float32
    assert head.log_probabilities(hidden).dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(loss.float(), wanted.sum(), rtol=1e-2 if autocast else 1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["SoftmaxHead", "BlockLowRankHead"])
def test_a_head_of_half_precision_adds_up_in_float32(name, dtype, monkeypatch):
    """So the loss of many chunks is off by one rounding, and not by that of every sum."""
    monkeypatch.setattr(fused, "CHUNK_LOGITS", V)
    torch.manual_seed(2)
    head = next(make for each, make in HEADS.items() if each.partition(",")[0] == name)()
    hidden, targets = torch.randn(2000, H), torch.randint(V, (2000,))
    exact = head.to(dtype).float()(hidden.to(dtype).float(), targets)
    loss = head.to(dtype)(hidden.to(dtype).requires_grad_(), targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=6e-3)


def test_heads_on_the_meta_device_have_a_loss():
    head = SoftmaxHead(H, V).to("meta")
    loss = head(torch.empty(T, B, H, device="meta"), torch.empty(T, B, dtype=torch.int64, device="meta"))
    assert loss.is_meta and loss.shape == ()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_of_half_precision_are_normalised(name, dtype):
    """Also under autocast, and the nats of the targets are those of the log-probabilities."""
    torch.manual_seed(2)
    head = HEADS[name]().to(dtype)
    hidden, targets = torch.randn(5, 3, H, dtype=dtype), torch.randint(V, (5, 3))
    for enabled in {dtype == torch.float32, False}:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found = head.log_probabilities(hidden)
            nats = head.token_nats(hidden, targets)
            empty = head.log_probabilities(hidden[:0])
        assert nats.dtype == torch.float32 and empty.shape == (0, 3, V)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(5, 3), rtol=0, atol=1e-5)
        if not enabled:
            wanted = -found.gather(-1, targets[..., None])[..., 0]
            torch.testing.assert_close(nats, wanted, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("name", HEADS)
def test_a_loss_that_float16_cannot_hold(name):
    """Nor its gradient before it is divided by the number of tokens."""
    torch.manual_seed(2)
    head = HEADS[name]().to(torch.float16)
    hidden = torch.randn(20_000, H, dtype=torch.float16, requires_grad=True)
    targets = torch.zeros(20_000, dtype=torch.int64)
    loss = head(hidden, targets)
    wanted = head.token_nats(hidden.detach(), targets).sum()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=0)
    (loss / len(targets)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", ["SoftmaxHead", "LowRankHead", "MixtureHead"])
def test_a_tied_head_needs_a_parameter(name):
    """Another tensor would be neither trained nor saved."""
    make = {
        "SoftmaxHead": lambda weight: SoftmaxHead(H, V, weight=weight),
        "LowRankHead": lambda weight: LowRankHead(H, 3, V, weight=weight),
        "MixtureHead": lambda weight: MixtureHead(H, 3, V, components=2, weight=weight),
    }[name]
    embedding = torch.nn.Embedding(V, H if name == "SoftmaxHead" else 3)
    make(embedding.weight)
    for other in (embedding, embedding.weight.data):
        with pytest.raises(ValueError, match=r"a tied head needs a parameter, such as embedding\.weight"):
            make(other)


def test_a_cluster_of_many_words_needs_no_more_memory_than_a_chunk(monkeypatch):
    monkeypatch.setattr(fused, "CHUNK_LOGITS", 3000)
    torch.manual_seed(1)
    head = AdaptiveHead(16, 1000, cutoffs=[10])
    hidden, targets = torch.randn(50, 16), torch.randint(10, 1000, (50,))
    sizes = []
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args: (found := addmm(*args), sizes.append(found.numel()))[0])
    torch.testing.assert_close(head.token_nats(hidden, targets), -head.softmax(hidden, targets).output)
    assert max(sizes) <= 3000
