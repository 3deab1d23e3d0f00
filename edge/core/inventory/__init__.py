"""Stock: tags, weight and books fused into one explained count for each (shelf, product)."""

from edge.core.inventory.part import Inventory

__all__ = ["Inventory"]
