"""Exporting: what was trained, as a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from opensearch_splade.errors import ParityError
from opensearch_splade.onnx_models import Bundle
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.query_tables import QueryTable


def export_trained(
    checkpoint: Path, out: Path, options: ExportOptions, query_weights: QueryTable | None = None
) -> Bundle:
    """A bundle in the precision wanted, or in fp32 where that is not close enough to the checkpoint.

    Raises:
        ParityError: Not even fp32 is.
    """
    try:
        return export_bundle(str(checkpoint), out, options, query_weights=query_weights)
    except ParityError:
        if options.precision == "fp32":
            raise
        # What was trained for an hour is not thrown away because it cannot be quantised.
        return export_bundle(str(checkpoint), out, replace(options, precision="fp32"), query_weights=query_weights)
