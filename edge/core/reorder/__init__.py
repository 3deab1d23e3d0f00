"""Reorder: demand learned from sales, policies, one trigger for each replenishment cycle."""

from edge.core.reorder.part import Reorder
from edge.core.reorder.policy import Policy, PolicyKind

__all__ = ["Policy", "PolicyKind", "Reorder"]
