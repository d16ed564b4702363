"""Networks as plain classes; a recipe names the one it trains."""

from trainer.nets.base import Base
from trainer.nets.lite import Lite

Network = Lite | Base

__all__ = ["Base", "Lite", "Network"]
