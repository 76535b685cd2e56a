"""Explaining: what gave a hit its score, in words for a terminal, as JSON, and the words that carried it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.query import Highlight, Searcher, highlights, shares, similarity
from opensearch_splade.types import Contribution, Hit, LegScore


@dataclass(frozen=True, slots=True)
class Marked:
    """A hit's text with the words that carried its sparse score.

    Attributes:
        text: Of the best passage, or the whole.
        words: In their order; none where there is no sparse ranking.
        elsewhere: Features that no word of this text carries.
    """

    text: str
    words: list[Highlight]
    elsewhere: list[Contribution]

    @property
    def pieces(self) -> Iterator[tuple[str, float]]:
        """The text in pieces, each with its share; 0 where nothing is marked."""
        end = 0
        for word in self.words:
            if word.start > end:
                yield self.text[end : word.start], 0.0
            yield self.text[word.start : word.end], word.share
            end = word.end
        if end < len(self.text):
            yield self.text[end:], 0.0


def marked(hit: Hit, searcher: Searcher) -> Marked:
    """The words of a hit that carried its sparse score.

    Words of bm25 are stems that the server's analyzer made, so they have no place here.
    """
    text = hit.passage or "\n".join(filter(None, (hit.title, hit.text)))
    encoder = _encoder(searcher)
    why = next((leg.why for leg in hit.legs if leg.leg not in {"bm25", "knn"}), ())
    if encoder is None or not why:
        return Marked(text, [], list(why))
    return Marked(text, *highlights(text, encoder.places(text), why))


def leg_sentence(leg: LegScore, hit: Hit) -> str:
    """The arithmetic of one ranking in a hit's score."""
    near = f", inner product {similarity(leg.score):.4f}" if leg.leg == "knn" and leg.score > 0 else ""
    alone = f"{leg.score:.5g}{near}"
    if len(hit.legs) == 1 and leg.normalised == leg.score and leg.weight == 1:
        return alone
    if hit.combination != "arithmetic_mean":
        return f"normalised {leg.normalised:.5g}, weight {leg.weight:.4g}; alone {alone}"
    product = f"{leg.weight:.4g} × {leg.normalised:.5g} = {leg.contribution:.6g}"
    return f"{product}{_share(leg.contribution, hit)}; alone {alone}"


def boost_sentence(boost: Contribution, hit: Hit) -> str:
    """The same of a boost."""
    return f"{boost.query_weight:.4g} × {boost.stored_weight:.5g} = {boost.score:.6g}{_share(boost.score, hit)}"


def formula(hit: Hit) -> str:
    """What a mean, which is no sum over the rankings, makes of them; with digits enough to work it out again.

    Empty for an arithmetic mean: there the score is the sum of what is told of each.
    """
    if hit.combination == "arithmetic_mean" or not hit.legs:
        return ""
    parts = [(f"{leg.weight:.8g}", f"{leg.normalised:.8g}") for leg in hit.legs]
    total = " + ".join(weight for weight, _ in parts)
    fused = hit.score - sum(boost.score for boost in hit.boosts)
    if hit.combination == "geometric_mean":
        logarithms = " + ".join(f"{weight} × ln {score}" for weight, score in parts)
        return f"exp(({logarithms}) / ({total})) = {fused:.6g}"
    return f"({total}) / ({' + '.join(f'{weight} / {score}' for weight, score in parts)}) = {fused:.6g}"


def _share(part: float, hit: Hit) -> str:
    return f" ({part / hit.score:.0%})" if hit.score else ""


def explained(hit: Hit, most: int) -> Text:
    """Each ranking on a line, and its strongest parts below."""
    cell = Text()
    for leg in hit.legs:
        cell.append(f"\n{leg.leg} ", style="bold cyan").append(leg_sentence(leg, hit), style="cyan")
        for one, share in zip(leg.why[:most], shares(leg.why), strict=False):
            name = f"+{one.feature}" if one.added else one.feature
            cell.append(f"\n  {name} {one.query_weight:.4g} × {one.stored_weight:.4g} = {one.score:.4g}")
            cell.append(f"  {share:.0%}", style="dim")
        if len(leg.why) > most:
            cell.append(f"\n  and {len(leg.why) - most} more", style="dim")
    if worked_out := formula(hit):
        cell.append(f"\n{mean_name(hit)} ", style="bold cyan").append(worked_out, style="cyan")
    for boost in hit.boosts:
        cell.append("\nboost ", style="bold cyan").append(f"{boost.feature} {boost_sentence(boost, hit)}", style="cyan")
    return cell


def mean_name(hit: Hit) -> str:
    """``geometric mean``."""
    return hit.combination.replace("_", " ")


def marked_line(found: Marked, length: int = 240) -> Text:
    """The beginning of the text, its words in bold where they carried a tenth of the score or more."""
    line = Text()
    for piece, share in found.pieces:
        line.append(piece.replace("\n", " "), style="bold green" if share >= 0.1 else "green" if share else "")
    if len(line) > length:
        line.truncate(length)
        line.append(" …")
    return line


def as_json(hit: Hit, found: Marked | None) -> dict[str, Any]:
    """A hit, with contributions and shares worked out and the marked words as places in its text."""
    whole = asdict(hit)
    for leg, told in zip(hit.legs, whole["legs"], strict=True):
        if hit.combination == "arithmetic_mean":
            told["contribution"] = leg.contribution
        if leg.leg == "knn" and leg.score > 0:
            told["similarity"] = similarity(leg.score)
        for share, one, part in zip(shares(leg.why), leg.why, told["why"], strict=True):
            part |= {"score": one.score, "share": share}
    for boost, told in zip(hit.boosts, whole["boosts"], strict=True):
        told["score"] = boost.score
    if worked_out := formula(hit):
        whole["formula"] = worked_out
    if found:
        whole["marked"] = {"text": found.text, "words": list(map(asdict, found.words))}
    return whole


def _encoder(searcher: Searcher) -> SparseEncoder | None:
    """The bundle behind a query side, whatever stands around it."""
    encoder: Any = searcher.target.sparse
    while encoder is not None and not isinstance(encoder, SparseEncoder):
        encoder = getattr(encoder, "encoder", None)
    return encoder
