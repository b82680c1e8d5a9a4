"""What every router that ends TLS offers."""

from __future__ import annotations

from typing import Final

TLS_CIPHERS: Final = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)
"""For TLS 1.2, as OpenSSL names them: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""
