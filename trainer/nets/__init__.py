"""Networks as plain classes; a recipe names the one it trains."""

from trainer.nets.base import Base
from trainer.nets.lite import Lite
from trainer.nets.quantised_lite import QuantisedLite
from trainer.recipes import Recipe

Network = Lite | Base


def build_network(recipe: Recipe) -> Network:
    """An untrained network as the recipe wants it."""
    if recipe.net == "lite":
        if recipe.quantised:
            return QuantisedLite(recipe.scale, recipe.channels, recipe.layers, recipe.tail)
        return Lite(recipe.scale, recipe.channels, recipe.layers, recipe.planes, recipe.tail)
    return Base(recipe.scale, recipe.channels, recipe.layers, recurrent=recipe.recurrent, radius=recipe.radius)


__all__ = ["Base", "Lite", "Network", "QuantisedLite", "build_network"]
