"""What ML Commons and neural-search say when they refuse, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal that is known.

    Attributes:
        says: Regular expression that finds it in the server's words.
        remedy: What to do next, as the end of a sentence.
    """

    says: str
    remedy: str


_SET = "set this cluster setting to true (ml_settings.settings_for_local_models finds out what else is needed)"

REFUSALS = (
    # Connectors and remote models
    Refusal("credential is null or empty", "a connector needs a `credential`, even one that nothing reads"),
    Refusal(
        "not matching the trusted connector endpoint regex",
        "add the encoder's address to plugins.ml_commons.trusted_connector_endpoints_regex, beside what stands there",
    ),
    Refusal(
        "has private ip address",
        "set plugins.ml_commons.connector.private_ip_enabled to true, then undeploy the model and deploy it again: the "
        "setting is read when a model is deployed",
    ),
    Refusal(
        "Error communicating with remote model|Connection reset|Connection refused",
        "look whether the encoder runs at the connector's address and keeps up (a backlog for 30 connections at once); "
        "documents of that request were not indexed, send them again",
    ),
    Refusal(
        "Error from remote service.*(unauthor|forbidden|token|credential)",
        "give the connector the encoder's token (ml_connectors.update_connector), then undeploy and deploy the model",
    ),
    Refusal(
        "Error from remote service",
        "look at the encoder: that is its own answer, and ML Commons does not ask again, also not for a 429 or 503; "
        "documents of that request were not indexed, send them again",
    ),
    Refusal(
        "Invalid payload",
        "predict by the algorithm's name (_predict/sparse_encoding/<model>), which fills in the connector's input",
    ),
    Refusal("models? (is|are) still using this connector", "undeploy or delete these models first"),
    Refusal(
        "Pruned values must be positive",
        "make the encoder leave out weights that are not above 0, also after rounding; the whole batch was lost, send "
        "its documents again",
    ),
    # Registering local models
    Refusal("allow_registering_model_via_local_file", _SET),
    Refusal("allow_registering_model_via_url", f"upload the file in chunks instead, or {_SET}"),
    Refusal("Hash code need to be provided|hash code", "give the zip's sha256 as model_content_hash_value"),
    Refusal(
        "model content changed|content hash",
        "the zip is not the one that was announced: pack it again and register it anew",
    ),
    Refusal("Fail to find model chunk", "the upload is not complete: delete the model and register it again"),
    Refusal(r"Content-Type header \[[^]]*\] is not supported", "send chunks as application/json, which they are not"),
    Refusal("(name you provided|model name).*already", "delete the model or group of that name, or take another name"),
    # Deploying local models
    Refusal("No eligible node found", "set plugins.ml_commons.only_run_on_ml_node to false, or add nodes of role ml"),
    Refusal(
        "Native Memory Circuit Breaker",
        "free memory on the nodes, or raise plugins.ml_commons.native_memory_threshold",
    ),
    Refusal(
        "Memory Circuit Breaker", "give the nodes more heap, or raise plugins.ml_commons.jvm_heap_memory_threshold"
    ),
    Refusal(
        "Disk Circuit Breaker",
        "free disk space on the nodes, or lower plugins.ml_commons.disk_free_space_threshold (5 GB by default)",
    ),
    Refusal(
        "OrtNDManager|pytorch index file|UnknownHostException|^[a-z0-9-]+(\\.[a-z0-9-]+)+$",
        "ONNX models need PyTorch's native libraries, which the node wants to download: docs/ml-commons.md says how to "
        "put them into its ml_cache; a remote model by `osplade serve` needs nothing, and is faster",
    ),
    Refusal(
        "Unsupported model IR version", "make the zip by `osplade bundle pack`: IR version 9 is the newest it takes"
    ),
    Refusal("multiple models", "the zip holds several model files: make it by `osplade bundle pack`"),
    Refusal(
        "Invalid input tensor name", "the graph's inputs are not called as ML Commons calls them: `osplade bundle pack`"
    ),
    Refusal("cannot be deleted in deploying or deployed state", "undeploy the model first"),
    Refusal(
        "not (ready|deployed) yet|Model not ready|model is not deployed", "deploy the model first, and wait for it"
    ),
    # Asking and the semantic field
    Refusal(r"Cannot use both \[model_id", "name the model or the analyzer in a neural_sparse query, not both"),
    Refusal(
        "Model config is null for the remote model",
        'register the remote model with model_config {"model_type": "sparse_encoding"} to use it in a semantic field',
    ),
    Refusal(
        "can only support TextDocsInputDataSet",
        "a rerank processor needs a cross-encoder (text similarity) model, which no sparse encoder is",
    ),
)


def remedy_for(reason: str) -> str | None:
    """What to do about a refusal, by the server's words; ``None`` where it is not known.

    Also for the errors of single documents in a bulk response, and of searches.
    """
    return next((known.remedy for known in REFUSALS if re.search(known.says, reason, re.IGNORECASE)), None)
