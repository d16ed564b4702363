"""Networks as plain classes; a recipe names the one it trains."""

from trainer.nets.base import Base
from trainer.nets.lite import Lite
from trainer.recipes import Recipe

Network = Lite | Base


def build_network(recipe: Recipe) -> Network:
    """An untrained network as the recipe wants it."""
    if recipe.net == "lite":
        return Lite(recipe.scale, recipe.channels, recipe.layers)
    return Base(recipe.scale, recipe.channels, recipe.layers, recurrent=recipe.recurrent, radius=recipe.radius)


__all__ = ["Base", "Lite", "Network", "build_network"]
