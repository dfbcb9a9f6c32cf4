from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_developers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK and httpx would follow these to some other server."""
    for name in ("SEAM_API_KEY", "SEAM_ENDPOINT", "SEAM_API_URL", "SEAM_PERSONAL_ACCESS_TOKEN", "SEAM_WORKSPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
