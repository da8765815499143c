"""Stand-in; see the package."""

from __future__ import annotations

from fastecdsa import refuse

gen_keypair = gen_private_key = get_public_key = import_key = export_key = refuse
