"""Networks as plain classes; a recipe names the one it trains."""

from trainer.nets.lite import Lite

__all__ = ["Lite"]
