"""Loading weights: what a process holds then, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import masked_lm

pytestmark = pytest.mark.export


def test_scikit_learn_stays_out_and_can_still_be_had(tmp_path: Path) -> None:
    """Transformers would import it for a way of generating text that nothing here uses; whoever wants it has it."""
    checkpoint = masked_lm("bert", tmp_path / "bert")
    code = (
        "import sys\nfrom opensearch_splade.training.trainable import TrainableEncoder\n"
        f"TrainableEncoder({str(checkpoint)!r}, 16)\n"
        "assert 'transformers' in sys.modules and 'sklearn' not in sys.modules\n"
        "import sklearn.metrics\nassert sklearn.metrics.roc_curve"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
