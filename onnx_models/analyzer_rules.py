"""A bundle's query weights as an analyzer: questions without any model, in a cluster that only knows settings.

``neural_sparse`` reads the weight of a token from its payload, so four filters behind OpenSearch's own ``bert-uncased``
tokenizer are a query encoder: ``limit`` cuts a question where the bundle does, ``stop`` drops what weighs nothing,
``stemmer_override`` writes feature and weight in a token's place, ``delimited_payload`` makes the weight its payload.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import BundleError
from opensearch_splade.onnx_models.bundle import Bundle
from opensearch_splade.onnx_models.query_weights import read_table
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary

TOKENIZER = "bert-uncased"
"""Of OpenSearch: inside ML Commons, without any set-up."""
ANALYZER = "own_sparse"
DELIMITER = "␟"
"""Between a feature and its weight. In no token of BERT: with ``|``, which is one, a question that holds it fails."""
RULES_FILE = "sparse_rules.txt"
SETTINGS_FILE = "settings.json"

_BERT_UNCASED = "6c0ff67c649aa40d73d4f62db7bcbb6458120ce1c8d4bec142371ff4b79f51ba"
"""sha256 over what decides its tokens; see ``_identity``."""
_OWN_TABLE = "224e908225ac3a4d757afe01d0d8a186f1266432e1d10f6be4376ee1d2fd7881"
"""The same over the weights that OpenSearch's own analyzer gives; see ``_table_identity``."""
_APART = re.compile(r",|=>")
"""What a rule cannot hold, and nothing escapes it: such tokens have a filter each."""


@dataclass(frozen=True, slots=True)
class AnalyzerRules:
    """The analyzer of a bundle's query weights.

    Attributes:
        rules: Lines of ``stemmer_override``: token to feature and weight.
        apart: Token to feature and weight of those that no rule can hold (``,``).
        dropped: Tokens that weigh nothing.
        max_length: Tokens that are kept of a question.
        fingerprint: Of the document vectors that its questions may be matched with.
    """

    rules: list[str]
    apart: dict[str, str]
    dropped: list[str]
    max_length: int
    fingerprint: str

    def settings(self, rules_path: str | None = None) -> dict[str, Any]:
        """The index settings.

        Args:
            rules_path: Where the rules lie on every node, in its ``config`` folder; ``None`` puts them into the
                settings, and so half a megabyte or more into the cluster state for each index.
        """
        override = {"rules_path": rules_path} if rules_path else {"rules": self.rules}
        apart = {
            f"own_token_{number}": {
                "type": "pattern_replace",
                "pattern": f"^{_java(token)}$",
                "replacement": _java(new),
            }
            for number, (token, new) in enumerate(sorted(self.apart.items()))
        }
        filters = {
            "own_length": {"type": "limit", "max_token_count": self.max_length},
            "own_nothing": {"type": "stop", "stopwords": self.dropped},
            **apart,
            "own_rules": {"type": "stemmer_override", **override},
            "own_weight": {"type": "delimited_payload", "delimiter": DELIMITER, "encoding": "float"},
        }
        analyzer = {"type": "custom", "tokenizer": TOKENIZER, "filter": [*filters]}
        return {"analysis": {"filter": filters, "analyzer": {ANALYZER: analyzer}}}

    def write(self, folder: Path, rules_path: str | None) -> list[Path]:
        """Writes ``settings.json`` and, where they are not in it, the rules. Gives what was written.

        Raises:
            BundleError: The folder cannot be written.
        """
        files = {SETTINGS_FILE: orjson.dumps(self.settings(rules_path), option=orjson.OPT_INDENT_2)}
        if rules_path:
            files[RULES_FILE] = "".join(f"{rule}\n" for rule in self.rules).encode()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)
        except OSError as error:
            raise BundleError(f"{folder} cannot be written: {error.strerror}") from error
        return [folder / name for name in files]


def is_servers_own(bundle: Bundle) -> bool:
    """Whether OpenSearch's own analyzer ``bert-uncased`` weighs tokens as the bundle does, so that no other is needed.

    It cuts no question, and gives special tokens that a question spells out, such as ``[MASK]``, a weight of 1.
    """
    return (
        bundle.query_weights is not None
        and bundle.manifest.query_weights != "bm25"
        and _identity(bundle) == _BERT_UNCASED
        and _table_identity(read_table(bundle.query_weights)) == _OWN_TABLE
    )


def analyzer_rules(bundle: Bundle) -> AnalyzerRules:
    """A bundle's query weights as an analyzer.

    Raises:
        BundleError: It has no table, or one that counts repeated tokens, or another tokenizer than ``bert-uncased``;
            says what to do.
    """
    manifest = bundle.manifest
    if bundle.query_weights is None or manifest.query_weights == "bm25":
        have = "counts repeated tokens (bm25)" if bundle.query_weights else "has no query weights"
        raise BundleError(
            f"{manifest.name} {have}; an analyzer weighs each token by a table. Export the checkpoint with "
            "--query-weights, e.g. idf:COLLECTION"
        )
    if _identity(bundle) != _BERT_UNCASED:
        raise BundleError(
            f"{manifest.name}'s tokenizer is not OpenSearch's {TOKENIZER}: in the cluster its tokens would be others. "
            "Take its own tokenizer there: `osplade bundle pack --for ml-commons --what queries`"
        )
    tokenizer = Tokenizer(bundle.tokenizer, manifest.max_length)
    features = Vocabulary(tokenizer.vocabulary, manifest.dimension, frozenset(manifest.special_tokens)).features
    table = read_table(bundle.query_weights)
    weighed: dict[str, str] = {}
    for token, token_id in tokenizer.vocabulary.items():
        feature = features[token_id] if token_id < len(features) else ""
        if (weight := table.get(feature, 0.0)) > 0:
            weighed[token] = f"{feature}{DELIMITER}{weight:.9g}"
    return AnalyzerRules(
        rules=sorted(_rule(token, new) for token, new in weighed.items() if not _APART.search(token)),
        apart={token: new for token, new in weighed.items() if _APART.search(token)},
        dropped=sorted(tokenizer.vocabulary.keys() - weighed.keys()),
        max_length=manifest.max_length,
        fingerprint=manifest.fingerprint,
    )


def _rule(token: str, new: str) -> str:
    """A line that begins with ``#`` is a comment, but a rule may have several tokens: the first one never comes."""
    return f"{f'{DELIMITER},' if token.startswith('#') else ''}{token} => {new}"


def _java(text: str) -> str:
    """A literal in Java's regular expressions, and in their replacements."""
    return re.sub(r"([^\w\s␟])", r"\\\1", text)


def _identity(bundle: Bundle) -> str:
    """What decides a tokenizer's tokens, whatever it truncates or pads."""
    told: Mapping[str, Any] = orjson.loads(bundle.tokenizer.read_bytes())
    kept = {name: told.get(name) for name in ("normalizer", "pre_tokenizer", "model")}
    kept["added"] = sorted((added["id"], added["content"]) for added in told.get("added_tokens") or ())
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _table_identity(table: Mapping[str, float]) -> str:
    """Over features and weights as an analyzer gives them: four bytes each, none that weighs nothing."""
    digest = hashlib.sha256()
    for feature, weight in sorted(table.items()):
        if weight > 0:
            digest.update(feature.encode() + struct.pack(">f", weight))
    return digest.hexdigest()
