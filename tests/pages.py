"""What tests of the page share: the page without the scripts that its policy allows."""

from __future__ import annotations

import base64
import hashlib
import re

_BLOCK = re.compile(r"<script(?P<how>[^>]*)>(?P<text>.*?)</script>\n?", re.DOTALL)


def without_own_scripts(html: str) -> str:
    """The page less its scripts: each must be named by the policy with its hash, or be a block that never runs."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy

    def allowed(block: re.Match[str]) -> str:
        if block["how"]:
            assert re.fullmatch(r' type="(application/json|text/plain)" id="[\w-]+"', block["how"]), block["how"]
            assert "<" not in block["text"]
        else:
            digest = base64.b64encode(hashlib.sha256(block["text"].encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        return ""

    return _BLOCK.sub(allowed, html)
