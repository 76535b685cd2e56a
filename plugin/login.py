"""Login: what a client proves itself with, apart from its certificate."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from opensearch_splade.errors import ClusterError, MissingExtraError
from opensearch_splade.types import Json


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """User and password, by HTTP basic authentication."""

    user: str
    password: str = field(repr=False)

    said = "the user or password"
    remedy = "set OPENSEARCH_USER and OPENSEARCH_PASSWORD (or OPENSEARCH_PASSWORD_FILE)"

    def options(self) -> Json:
        """Of ``OpenSearch(...)``."""
        # Not http_auth: that encodes latin-1 and fails on any other password; the server reads UTF-8.
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")
        return {"headers": {"authorization": f"Basic {token}"}}


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A bearer token, such as a JSON web token."""

    token: str = field(repr=False)

    said = "the token"
    remedy = "it may have expired: give a new one by OPENSEARCH_TOKEN or OPENSEARCH_TOKEN_FILE"

    def options(self) -> Json:
        """Of ``OpenSearch(...)``."""
        return {"headers": {"authorization": f"Bearer {self.token}"}}


@dataclass(frozen=True, slots=True)
class AwsLogin:
    """AWS Signature Version 4 by the credentials that boto3 finds: its environment, profile or role."""

    region: str
    service: str = "es"

    said = "the AWS signature"
    remedy = (
        "the identity that `aws sts get-caller-identity` shows needs es:ESHttp* (aoss:APIAccessAll) on this domain, "
        "and OPENSEARCH_AWS_REGION and OPENSEARCH_AWS_SERVICE must be its own"
    )

    def options(self) -> Json:
        """Of ``OpenSearch(...)``.

        Raises:
            MissingExtraError: boto3 is not installed.
            ClusterError: It finds no credentials.
        """
        try:
            import boto3
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise MissingExtraError(error.name or "boto3", "aws") from error
        from opensearchpy import Urllib3AWSV4SignerAuth

        try:
            credentials = boto3.Session().get_credentials()
        except BotoCoreError as error:
            msg = f"the AWS credentials cannot be read: {error}"
            raise ClusterError(msg) from error
        if credentials is None:
            msg = (
                f"OPENSEARCH_AWS_REGION={self.region} asks for signed requests, and there are no AWS credentials: set "
                "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached"
            )
            raise ClusterError(msg)
        return {"http_auth": Urllib3AWSV4SignerAuth(credentials, self.region, self.service)}


Login = PasswordLogin | TokenLogin | AwsLogin
