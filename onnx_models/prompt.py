"""Prompt: what stands around a text before the model reads it. Decided once, at export, and kept in the manifest.

Prefixes belong to the string ("query: who"), so that the tokenizer joins them with the text as in training. An echo
(arXiv 2402.15449, arXiv 2408.11119) gives the text twice, and only the second copy is pooled: there each token of a
decoder with a causal mask has seen the whole text. The second copy is made inside the graph, from the same token ids,
so whoever feeds the graph still sees one text, one mask and one length.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from opensearch_splade.errors import CheckpointError

TEXT = "{text}"


class Prompt(BaseModel):
    """What a bundle puts around texts.

    Attributes:
        document: Prefix of documents, such as ``passage: ``.
        query: Prefix of questions, siamese bundles only: a table knows tokens, not sentences.
        special_tokens: Whether the tokenizer's own ``[CLS]``, ``<s>`` and the like are added.
        echo: Template with ``{text}`` twice, such as ``{text}{text}``; the second copy is pooled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str = ""
    query: str = ""
    special_tokens: bool = True
    echo: str | None = None

    @property
    def adds_special_tokens(self) -> bool:
        """Whether the tokenizer adds them; in an echo the graph does, around both copies."""
        return self.special_tokens and self.echo is None

    def apply(self, text: str, *, query: bool = False) -> str:
        """The string that is tokenised. In an echo, with the space that stands before each copy."""
        if self.echo is not None:
            return echo_pieces(self.echo)[0] + text if text else ""
        return (self.query if query else self.document) + text

    @property
    def changes_strings(self) -> bool:
        """Whether ``apply`` does anything."""
        return bool(self.document or self.query or (self.echo is not None and echo_pieces(self.echo)[0]))


NO_PROMPT = Prompt()


def checked(prompt: Prompt) -> Prompt:
    """The prompt, if it can be applied.

    Raises:
        CheckpointError: The echo does not hold two copies alike, or has prefixes beside it.
    """
    if prompt.echo is None:
        return prompt
    if prompt.document or prompt.query:
        raise CheckpointError("Prefixes and an echo cannot be combined; write the prefix into the echo's template.")
    echo_pieces(prompt.echo)
    return prompt


def echo_pieces(template: str) -> tuple[str, str, str, str]:
    """The space before each copy, and what stands before, between and after the copies.

    ``to: {text}, again: {text}.`` gives ``" "``, ``"to:"``, ``", again:"`` and ``"."``: tokenizers of decoders join a
    space with the word after it, so it belongs to the copy.

    Raises:
        CheckpointError: The template does not hold ``{text}`` twice, with the same space before it.
    """
    parts = template.split(TEXT)
    if len(parts) != 3:
        raise CheckpointError(f"The echo template {template!r} must hold {TEXT} exactly twice.")
    before, between, after = parts
    space = before[len(before.rstrip()) :]
    if between[len(between.rstrip()) :] != space:
        raise CheckpointError(f"The echo template {template!r} must have the same space before both copies of {TEXT}.")
    return space, before.rstrip(), between.rstrip(), after
