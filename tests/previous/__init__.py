"""The ledger of the previous version, whole, as processes that are not restarted yet still run it.

Not to be changed; replaced by the present one when a release raises ``RECORD_VERSION``.
"""
