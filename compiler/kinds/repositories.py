"""Git repositories as policy writes them."""

import re
from typing import Annotated

from pydantic import AfterValidator

from compiler.kinds.values import Shape, Text, refuse


def _without_password(text: str) -> str:
    # It is not repeated: reports end up in logs.
    if re.match(r"[a-z+]+://[^/@]*:[^/@]*@", text):
        raise refuse(
            "P110", "a secret's value in policy", "a Secret: Argo CD has its own, and repository.secretRef names one"
        )
    return text


RepositoryText = Annotated[
    Text,
    AfterValidator(_without_password),
    Shape(r"^[!-~]+\Z", "no address of a repository", "https://git.example.com/policy.git"),
]
