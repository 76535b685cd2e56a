"""Small checkpoints with random weights, of exactly the layouts found on the hub, made in the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_TEXT = """
the a of and to in is read write file csv json dictionary list thread wait until finish run program print result
function call number text line word . ... ## , ? ! - ( ) 0 1 2 3 einstein köln 東 京 ##s ##ing ##.
"""
WORDS = _TEXT.split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "read a csv file",
    "wait until threads finish running . . .",
    "the result of a function call is a number , and the number is 3",
    "",
    "東京",
    "write the dictionary to a json file and print each line of text " * 4,
]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LENGTH = 48


def wordpiece_tokenizer() -> Any:
    """A BERT tokenizer over a few words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: place for place, token in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    inputs = ["input_ids", "attention_mask"]
    special = {f"{name}_token": token for name, token in names.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LENGTH, model_input_names=inputs, **special
    )


def byte_tokenizer() -> Any:
    """A RoBERTa tokenizer: byte-level pairs, `<s>` and `</s>`."""
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(TEXTS * 3, vocab_size=320, special_tokens=special, show_progress=False)
    trained.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0))
    return RobertaTokenizerFast(tokenizer_object=trained._tokenizer, model_max_length=LENGTH)


def masked_lm(family: str, folder: Path, *, bias: float = 0.0, unused: int = 0) -> Path:
    """An ``AutoModelForMaskedLM`` folder with weights large enough that many features are active.

    ``bias`` moves all scores; ``unused`` columns beyond the tokenizer make the vocabulary as long as real ones.
    """
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    tokenizer = byte_tokenizer() if family == "roberta" else wordpiece_tokenizer()
    shape = (
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}
        if family == "distilbert"
        else {**SIZE, "max_position_embeddings": 66 if family == "roberta" else 64}
    )
    special = {"pad_token_id": tokenizer.pad_token_id, "initializer_range": 0.4}
    torch.manual_seed(7)
    model = AutoModelForMaskedLM.from_config(
        AutoConfig.for_model(family, vocab_size=len(tokenizer) + unused, **shape, **special)
    )
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_(mean=bias)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sparse_encoder(
    folder: Path, *, pooling: str, activation: str, query_weights: dict[str, float] | None = None
) -> Any:
    """A sentence-transformers ``SparseEncoder`` of a masked-LM folder; inference-free with query weights."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling

    transformer = Transformer(str(folder), transformer_task="fill-mask", max_seq_length=LENGTH)
    modules: list[Any] = [transformer, SpladePooling(pooling, activation_function=activation)]
    if query_weights is not None:
        path = folder / "weights.json"
        path.write_text(json.dumps(query_weights))
        static = SparseStaticEmbedding.from_json(str(path), tokenizer=transformer.tokenizer)
        modules = [Router.for_query_document(query_modules=[static], document_modules=modules)]
    return SparseEncoder(modules=modules, device="cpu")


def dense_encoder(folder: Path, out: Path, *, pooling: str, normalize: bool) -> Any:
    """A dense sentence-transformers model on the body of a masked-LM folder, saved."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    body = Transformer(str(folder), max_seq_length=LENGTH)
    modules: list[Any] = [body, Pooling(SIZE["hidden_size"], pooling_mode=pooling)]
    model = SentenceTransformer(modules=[*modules, Normalize()] if normalize else modules, device="cpu")
    model.save_pretrained(str(out))
    return model


def sequence_classifier(folder: Path, labels: int = 1, seed: int = 1) -> Path:
    """A random BERT that classifies pairs, large enough in its weights that scores differ."""
    import torch
    import transformers

    tokenizer = wordpiece_tokenizer()
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, num_labels=labels, initializer_range=0.3, **SIZE
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
