"""Arguments for engines that have no field: whatever they take, but for secrets."""

import re
from itertools import zip_longest
from typing import Annotated

from pydantic import AfterValidator

from compiler.kinds.values import Text, refuse

_OF_A_SECRET = re.compile(
    r"--?(.*-)?(api-?key|(hf|api|auth|access)-?token|password|passphrase|secret|(secret|access)-key)\Z"
)
"""With dashes for underscores. Not `--ssl-keyfile`, a path, nor what counts or chooses tokens."""


def _without_secrets(arguments: tuple[str, ...]) -> tuple[str, ...]:
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue="-"):
        flag, said, _ = argument.partition("=")
        # The value is not repeated: reports end up in logs.
        if (said or not following.startswith("-")) and _OF_A_SECRET.match(flag.replace("_", "-")):
            hint = "leave it out: an engine's arguments are no secret"
            raise refuse("P110", f"a secret's value in policy, for {flag}", hint)
    return arguments


EngineArguments = Annotated[tuple[Text, ...], AfterValidator(_without_secrets)]
