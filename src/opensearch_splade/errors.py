"""Every error this package raises on purpose.

    OspladeError
      CheckpointError      a model folder or hub id that cannot be exported
      ParityError          an exported graph that does not equal its torch reference
      BundleError          a bundle that is damaged, foreign or of the wrong kind
      DeviceError          a device the installed ONNX Runtime cannot use
      SourceError          a document source that cannot be opened or read
      DocumentError        one document that cannot be indexed (goes to the dead letters)
      LedgerError          a ledger that is in use, damaged, foreign or cannot be written
      ClusterError         the cluster cannot be reached or refused a request
        MlCommonsError     ML Commons refused a request, or a model of the cluster failed
      SpecError            a cluster's file that cannot be read, or what it declares cannot be put there
      TargetError          an index whose mapping does not fit what is to be written or asked
      CapabilityError      the connected server cannot do what was asked for
      QueryError           a query that would be refused or silently misread
      TrainingError        a model that cannot be trained, or not with these documents
      MeasureError         a measure, threshold or comparison that cannot be computed
      NodeError            the local OpenSearch node cannot be started or stopped
      MissingExtraError    an optional dependency is not installed

Messages say what is wrong, where (file, line, document), and what to do next.
"""

from __future__ import annotations


class OspladeError(Exception):
    """Base of all errors raised on purpose; the command line prints it without a traceback and exits with 1."""


class CheckpointError(OspladeError):
    """A checkpoint folder or hub id cannot be read or is of a family that is not supported."""


class ParityError(OspladeError):
    """The exported graph and the torch reference disagree by more than the tolerance."""


class BundleError(OspladeError):
    """A bundle folder is missing, damaged (hash mismatch), foreign, or of the wrong kind for the call."""


class DeviceError(OspladeError):
    """The requested device is not available in the installed ONNX Runtime."""


class SourceError(OspladeError):
    """A document source cannot be opened or is not of a known layout."""


class DocumentError(OspladeError):
    """One document cannot be indexed. The run goes on; the document goes to the dead letters."""


class LedgerError(OspladeError):
    """The ledger is in use by another run, damaged, of another index, or cannot be written."""


class ClusterError(OspladeError):
    """The cluster cannot be reached, or refused a request that must not be retried."""


class MlCommonsError(ClusterError):
    """ML Commons refused a request, or a model in the cluster failed; the message ends with the remedy if one is known.

    Attributes:
        reason: What the server said, without our words.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message

    def __reduce__(self) -> tuple[type[MlCommonsError], tuple[str, str]]:
        """Errors travel between processes by their arguments, of which the base class knows one."""
        return type(self), (str(self), self.reason)


class SpecError(OspladeError):
    """The file of ``osplade cluster`` is wrong, or what it declares does not go together or cannot be put there."""


class TargetError(OspladeError):
    """The index does not exist, or its mapping or fingerprint does not fit the bundle."""


class CapabilityError(OspladeError):
    """The connected server's version or plugins cannot do what was asked for."""


class QueryError(OspladeError):
    """A query that the server would refuse or silently misread."""


class MigrationError(OspladeError):
    """A step of a migration cannot be taken, or not now; says what to do first."""


class TrainingError(OspladeError):
    """A model cannot be trained: too few questions, or a state of another run; says what to do."""


class MeasureError(OspladeError):
    """A measure that is not known, was not computed, or would be compared with what it cannot be compared with."""


class NodeError(OspladeError):
    """The local OpenSearch node cannot be resolved, started or stopped."""


class MissingExtraError(OspladeError):
    """An optional dependency is needed and not installed.

    Args:
        what: The importable name that is missing, e.g. ``onnxruntime``.
        extras: The extras that bring it, any one of which is enough, e.g. ``("cpu", "gpu")``.
    """

    def __init__(self, what: str, *extras: str) -> None:
        choice = " or ".join(f"pip install 'opensearch-splade[{extra}]'" for extra in extras)
        super().__init__(f"{what} is not installed. To install: {choice}")
        self._arguments = (what, *extras)

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, ...]]:
        """Errors travel between processes by their arguments, which are not the message here."""
        return type(self), self._arguments
