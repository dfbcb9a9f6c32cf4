"""How errors look in the API's description."""

from __future__ import annotations

from typing import Any

from app.api.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]


def problem(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


COMMON: Responses = {
    401: problem("No token, or one that is not valid (see WWW-Authenticate)."),
    403: problem("The token lacks the scope."),
    422: problem("The input is not valid; `errors` names each field."),
    503: problem("Storage is not available; see Retry-After."),
}
NOT_FOUND: Responses = {404: problem("There is no such thing.")}
SEAM: Responses = {
    502: problem("Seam refused, could not be reached or did not answer; `seam_type` and `seam_message` are its words."),
    503: problem("No Seam API key is configured, or storage is not available."),
}
