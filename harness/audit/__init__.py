"""The audit: from the signals of a farm to the `attacks` table and to what the report draws of them."""

from harness.audit.challenge import challenge_rows
from harness.audit.differences import differences
from harness.audit.farm import FarmAudit, attack_rows, audit_farm
from harness.audit.further import FURTHER
from harness.audit.utility import release_accuracy

__all__ = ["FURTHER", "FarmAudit", "attack_rows", "audit_farm", "challenge_rows", "differences", "release_accuracy"]
