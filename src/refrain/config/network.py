"""Widths and dropout, which every network has."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .values import Rate, Settings, Width

Mask = Literal["plain", "locked"]


class Network(Settings):
    """Widths of a network and its dropout rates."""

    embedding_size: Width = Field(200, description="Width of the word vectors.")
    hidden_sizes: Annotated[tuple[Width, ...], Field(min_length=1)] = Field(
        (200, 200), description="Width of each recurrent layer, from the bottom up."
    )
    dropout: Rate = Field(0.0, description="Default dropout rate; the rates below override it.")
    embedding_dropout: Rate | None = Field(None, description="Dropout rate after the embedding; none: dropout.")
    between_dropout: Rate | None = Field(None, description="Dropout rate between recurrent layers; none: dropout.")
    output_dropout: Rate | None = Field(None, description="Dropout rate after the last layer; none: dropout.")
    dropout_mask: Mask = Field(
        "plain",
        description="How masks are drawn: a new one for every step (plain), or one for all steps of a sequence of the "
        "batch (locked).",
    )
    embedding_dropout_mask: Mask | None = Field(
        None, description="How masks are drawn after the embedding; none: dropout_mask."
    )
    between_dropout_mask: Mask | None = Field(
        None, description="How masks are drawn between recurrent layers; none: dropout_mask."
    )
    output_dropout_mask: Mask | None = Field(
        None, description="How masks are drawn after the last layer; none: dropout_mask."
    )
    word_dropout: Rate = Field(0.0, description="Rate at which whole words are dropped from the embedding.")
    weight_drop: Rate = Field(
        0.0, description="Rate at which recurrent weights are dropped, with one mask for all steps of a batch."
    )

    def rates(self) -> list[float | None]:
        """The rate at each of the network's dropout layers; None where `dropout` applies."""
        between = [self.between_dropout] if len(self.hidden_sizes) > 1 else []
        return [self.embedding_dropout, *between, self.output_dropout]

    @model_validator(mode="after")
    def _dropout_takes_effect(self) -> Self:
        if len(self.hidden_sizes) == 1 and self.between_dropout:
            raise ValueError("between_dropout: cannot take effect with a single layer")
        rates = self.rates()
        if self.dropout and None not in rates:
            raise ValueError("dropout: cannot take effect where every place has a rate of its own; set it to 0")
        if self.dropout_mask == "locked" and not self.dropout and not any(rates):
            raise ValueError("dropout_mask: cannot take effect where nothing is dropped")
        for place in ("embedding", "between", "output"):
            own = getattr(self, f"{place}_dropout")
            rate = self.dropout if own is None else own
            absent = place == "between" and len(self.hidden_sizes) == 1
            if getattr(self, f"{place}_dropout_mask") is not None and (absent or not rate):
                raise ValueError(f"{place}_dropout_mask: cannot take effect where {place}_dropout is 0")
        return self
