"""Cross-encoder: a teacher that reads question and document together. It knows most and costs most.

Nothing of it can be computed ahead but the pairs themselves, so they are scored when a step first needs them, and kept
(``pair_scores``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from opensearch_splade.errors import CheckpointError, MissingExtraError, TrainingError
from opensearch_splade.onnx_models import Device
from opensearch_splade.onnx_models.torch_loading import require_safetensors
from opensearch_splade.training.pair_scores import PairScores, text_key
from opensearch_splade.training.teachers import Scores

CROSS_ENCODER = "cross-encoder:"
"""Beginning of a teacher's name; a folder or hub id follows."""
_TRIED = 16  # pairs whose time is taken


class CrossEncoderTeacher:
    """See ``teachers.Teacher``.

    Args:
        name: Folder or hub id of a sequence classification model with one label, as sentence-transformers loads it.
        weight: How much its opinion counts.
        queries: Texts of the questions, by their places.
        documents: Texts of the documents.
        cache: Folder of its scores.
        device: Where it runs.

    Raises:
        CheckpointError: It is no cross-encoder.
        MissingExtraError: sentence-transformers is not installed.
    """

    def __init__(
        self, name: str, weight: float, queries: Sequence[str], documents: Sequence[str], cache: Path, device: Device
    ) -> None:
        self.weight = weight
        self._queries, self._documents = queries, documents
        self._model = _load(name, device)
        self._scores = PairScores(cache / f"{_fingerprint(self._model)}-pairs.sqlite")

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Scores:
        """Shape ``(queries, documents)``; what was never scored is scored now, and noted in one piece."""
        asked = {place: text_key(self._queries[place]) for place in queries}
        answers = {place: text_key(self._documents[place]) for place in documents}
        known = {key: self._scores.of(key) for key in asked.values()}
        new = {
            (key, answer): (self._queries[query], self._documents[document])
            for query, key in asked.items()
            for document, answer in answers.items()
            if answer not in known[key]
        }
        if new:
            made = predict(self._model, list(new.values()))
            self._scores.add((*keys, score) for keys, score in zip(new, made, strict=True))
            known = {key: self._scores.of(key) for key in asked.values()}
        return np.array([[known[asked[one]][answers[other]] for other in documents] for one in queries], np.float32)

    def best(self, depth: int, queries: Sequence[int] | None = None) -> Iterator[list[int]]:  # noqa: ARG002 - protocol
        """Not to be had.

        Raises:
            TrainingError: Always.
        """
        raise TrainingError("A cross-encoder cannot rank all documents: mine with bm25 or a bundle, and let it teach.")


def predict(model: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Raw scores (logits): a sigmoid would leave no margin between two good answers."""
    import torch

    found = model.predict(list(pairs), activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return [float(score) for score in found]


def pair_seconds(teachers: Mapping[str, float], pairs: Sequence[tuple[str, str]], device: Device) -> float:
    """Seconds that the cross-encoders among the teachers take for a pair here.

    Raises:
        CheckpointError: As ``CrossEncoderTeacher``, and likewise the others.
    """
    tried, total = pairs[:: max(1, len(pairs) // _TRIED)][:_TRIED], 0.0
    for name in teachers:
        if name.startswith(CROSS_ENCODER):
            model = _load(name, device)
            predict(model, tried[:1])
            began = time.monotonic()
            predict(model, tried)
            total += (time.monotonic() - began) / len(tried)
    return total


def _load(name: str, device: Device) -> Any:
    """The model, in evaluation mode. No code of its folder is run, no pickle opened."""
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise MissingExtraError("sentence_transformers", "train") from error
    name = name.removeprefix(CROSS_ENCODER)
    where = "cpu" if device.kind == "cpu" else f"cuda:{device.index}"
    if Path(name).is_dir():
        require_safetensors(Path(name))
    try:
        model = CrossEncoder(name, device=where, trust_remote_code=False, model_kwargs={"use_safetensors": True})
    except (ValueError, KeyError, OSError, RuntimeError, TypeError) as error:
        raise _unfit(name, str(error).splitlines()[0]) from error
    # Transformers gives any model a head; one that was not trained would teach noise.
    if not any("SequenceClassification" in one for one in model.config.architectures or ()):
        raise _unfit(name, "it has no trained head for pairs")
    if model.num_labels != 1:
        raise _unfit(name, f"it gives {model.num_labels} labels of a pair, not one score")
    return model.eval()


def _unfit(name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{name!r} is no cross-encoder: {why.rstrip('.')}. Give the folder or hub id of a sequence classification "
        f"model with one label: --teacher {CROSS_ENCODER}./ms-marco-MiniLM-L6-v2"
    )


def _fingerprint(model: Any) -> str:
    """Of what decides scores: weights, tokenizer and length."""
    import torch

    tokens = model.tokenizer
    digest = blake2b(f"{tokens.model_max_length} {sorted(tokens.get_vocab().items())}".encode(), digest_size=12)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
