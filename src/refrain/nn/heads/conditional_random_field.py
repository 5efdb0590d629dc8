"""A linear-chain conditional random field over the tags of a sentence.

Lafferty, McCallum & Pereira (2001); above a bidirectional LSTM: Huang, Xu & Yu (2015). The score of a tag sequence
y_1 ... y_L is

    start[y_1] + sum over t of scores[t, y_t] + sum over t > 1 of transitions[y_(t-1), y_t] + end[y_L],

and its probability is exp(score) divided by the sum over all tag sequences. All computations are in the log domain and
take one step for each word of the longest sentence. They are in float32 where scores or weights have half precision.

T words in the longest sentence, B sentences, K tags. Sentences end at their own lengths (B,); what is after the end of
a sentence does not matter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.ids import check_ids, checked_lengths
from refrain.nn.precision import widened


class ConditionalRandomField(nn.Module):
    """The distribution over the tag sequences of a sentence, given scores of each word's tags.

    With weights of zero, it is an independent softmax for each word.

    Args:
        num_tags: K.

    Raises:
        ValueError: when K is not positive.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        if num_tags < 1:
            raise ValueError(f"ConditionalRandomField needs at least one tag, got {num_tags=}")
        self.num_tags = num_tags
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.start = nn.Parameter(torch.empty(num_tags))
        self.end = nn.Parameter(torch.empty(num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all weights to zero. Changes them in place."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, scores: Tensor, lengths: Tensor | Sequence[int], tags: Tensor) -> Tensor:
        """The sum of the nats of the tag sequences of all sentences, a scalar with a gradient.

        Args:
            scores: (T, B, K).
            lengths: (B,), at least 1.
            tags: (T, B), smaller than K. A negative tag is not known: the probabilities of all tags are summed there.

        Raises:
            IndexError: when a tag of a sentence on a CPU is K or larger.
            ValueError: when the scores have another shape, or lengths on a CPU are out of range.
        """
        scores, lengths = self._checked(scores, lengths)
        inside = _inside(scores, lengths)
        tags = tags.masked_fill(~inside, 0)
        check_ids("tags", tags.clamp(min=0), self.num_tags)
        if bool((tags < 0).any()):
            excluded = (tags[..., None] >= 0) & (torch.arange(self.num_tags, device=tags.device) != tags[..., None])
            # a large negative number, because the gradient of a sum of infinities is not a number
            numerator = self.log_partition(scores.masked_fill(excluded, torch.finfo(scores.dtype).min / 4), lengths)
        else:
            numerator = self.sequence_scores(scores, lengths, tags)
        return (self.log_partition(scores, lengths) - numerator).sum()

    def sequence_scores(self, scores: Tensor, lengths: Tensor | Sequence[int], tags: Tensor) -> Tensor:
        """The score of one tag sequence of each sentence (B,).

        Args:
            scores: (T, B, K).
            lengths: (B,), at least 1.
            tags: (T, B), not negative within the sentences.
        """
        scores, lengths = self._checked(scores, lengths)
        inside = _inside(scores, lengths)
        tags = tags.masked_fill(~inside, 0).clamp(min=0)
        words = scores.gather(2, tags[..., None])[..., 0].masked_fill(~inside, 0.0).sum(dim=0)
        pairs = widened(self.transitions)[tags[:-1], tags[1:]].masked_fill(~inside[1:], 0.0).sum(dim=0)
        last = tags.gather(0, lengths[None] - 1)[0]
        return self.start[tags[0]] + words + pairs + self.end[last]

    def log_partition(self, scores: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """The logarithm of the sum of exp(score) over all tag sequences, for each sentence (B,).

        Args:
            scores: (T, B, K).
            lengths: (B,), at least 1.
        """
        scores, lengths = self._checked(scores, lengths)
        return (self._prefixes(scores, lengths)[-1] + self.end).logsumexp(dim=1)

    def _checked(self, scores: Tensor, lengths: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
        """The scores in float32 at least, zero after the end of each sentence, and the lengths as int64.

        Raises a ValueError where scores are not (T, B, K), or lengths do not fit.
        """
        if scores.ndim != 3 or scores.shape[2] != self.num_tags:
            raise ValueError(f"scores must be (T, B, {self.num_tags}) (got {tuple(scores.shape)})")
        if not len(scores):
            raise ValueError("scores have no step")
        lengths = checked_lengths(scores, lengths)
        inside = _inside(scores, lengths)
        # in the backward pass, zero times NaN is NaN
        return widened(scores).masked_fill(~inside[..., None], 0.0), lengths

    def _prefixes(self, scores: Tensor, lengths: Tensor) -> list[Tensor]:
        """For each word and tag (B, K), the log of the sum over all sequences that end there with this tag.

        After the end of a sentence, the value at its end is repeated.
        """
        prefixes = [self.start + scores[0]]
        for step in range(1, len(scores)):
            # (B, K before, 1) + (K before, K): the sum over the tag before
            after = (prefixes[-1][:, :, None] + self.transitions).logsumexp(dim=1) + scores[step]
            prefixes.append(torch.where((step < lengths)[:, None], after, prefixes[-1]))
        return prefixes

    def marginals(self, scores: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """The log-probability of each tag of each word (T, B, K); undefined after the end of a sentence.

        Args:
            scores: (T, B, K).
            lengths: (B,), at least 1.
        """
        scores, lengths = self._checked(scores, lengths)
        prefixes = self._prefixes(scores, lengths)
        # for each word and tag, the log of the sum over all continuations of the sentence after this word
        suffix = widened(self.end).expand_as(scores[0])
        found = [prefixes[-1] + suffix]
        for step in reversed(range(len(scores) - 1)):
            before = (self.transitions + (scores[step + 1] + suffix)[:, None, :]).logsumexp(dim=2)
            suffix = torch.where((step + 1 < lengths)[:, None], before, suffix)
            found.append(prefixes[step] + suffix)
        return torch.stack(found[::-1]).log_softmax(dim=-1)

    @torch.no_grad()
    def best_tags(self, scores: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """The most probable tag sequence of each sentence (T, B), by the algorithm of Viterbi (1967).

        Tags after the end of a sentence repeat its last tag.

        Args:
            scores: (T, B, K).
            lengths: (B,), at least 1.
        """
        scores, lengths = self._checked(scores, lengths)
        best = self.start + scores[0]
        stay = torch.arange(self.num_tags, device=scores.device).expand_as(best)
        origins = []
        for step in range(1, len(scores)):
            after, origin = (best[:, :, None] + self.transitions).max(dim=1)
            inside = (step < lengths)[:, None]
            best = torch.where(inside, after + scores[step], best)
            origins.append(torch.where(inside, origin, stay))
        tags = [(best + self.end).argmax(dim=1)]
        for origin in reversed(origins):
            tags.append(origin.gather(1, tags[-1][:, None])[:, 0])
        return torch.stack(tags[::-1])

    def axes(self, tag_width: str) -> AxisTable:
        """The axes of each parameter, under the width name that the model chose."""
        tags = Axis(tag_width, removable=False)
        shifts = tags._replace(role="shifts")
        return {"transitions": (tags._replace(role="reads"), tags), "start": (shifts,), "end": (shifts,)}


def _inside(scores: Tensor, lengths: Tensor) -> Tensor:
    """Whether each step of scores (T, B, K) is within its sentence (T, B)."""
    return torch.arange(len(scores), device=scores.device)[:, None] < lengths
